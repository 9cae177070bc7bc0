"""Membership inference: whether a person's record was among those that a model was trained on.

One attack, one file. They share the game (:mod:`.game`: who is attacked, what the model says, how
scores become a finding), the scores (:mod:`.scores`), and, where shadow models are trained, the
settings of that (:mod:`.shadowed`).
"""
