"""The verbs: publish, attack, measure, compare. The command line is thin on these."""

from __future__ import annotations

from sfumato.api.comparing import Comparison, compare
from sfumato.api.judging import attack, measure
from sfumato.api.points import PointsComparison, compare_points
from sfumato.api.publishing import plan, publish, train

__all__ = [
    "Comparison",
    "PointsComparison",
    "attack",
    "compare",
    "compare_points",
    "measure",
    "plan",
    "publish",
    "train",
]
