"""Shadow models: many small networks trained at once, each on its own records.

An attacker who can train models like the one that is attacked learns from them what membership
looks like. The networks are those of :mod:`sfumato.measure.cnn`, trained as they are there; what
differs is that a group of them is one computation, that groups run on several cores, and that a
trained group can be kept on disk.
"""

from __future__ import annotations

from sfumato.attack.shadows.bank import Bank
from sfumato.attack.shadows.design import halves
from sfumato.attack.shadows.job import Cost, Job
from sfumato.attack.shadows.training import Recipe

__all__ = ["Bank", "Cost", "Job", "Recipe", "halves"]
