"""What the gradient of one example gives away: its label, and the picture itself.

Who trains with others, or lets a server take the steps, sends gradients. These attacks get one of
them, as it is or with noise, and the model that it was taken of. They work on gradients and not on
releases, so they are functions and not entries of the list of attacks.

- :mod:`~sfumato.attack.gradients.labels`: the label and, behind a first linear layer, the input,
  in closed form;
- :mod:`~sfumato.attack.gradients.inversion`: pictures by optimisation (DLG, inverting gradients);
- :mod:`~sfumato.attack.gradients.likeness`: how much of a picture was recovered.
"""
