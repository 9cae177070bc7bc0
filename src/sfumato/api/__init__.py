"""The verbs: publish, attack, audit, measure, compare. The command line is thin on these."""

from __future__ import annotations

from sfumato.api.auditing import Audit, audit
from sfumato.api.comparing import Comparison, compare
from sfumato.api.exporting import export
from sfumato.api.judging import attack, measure, prepare
from sfumato.api.points import PointsComparison, compare_points
from sfumato.api.publishing import plan, publish, train
from sfumato.api.sampling import sample
from sfumato.api.selecting import select

__all__ = [
    "Audit",
    "Comparison",
    "PointsComparison",
    "attack",
    "audit",
    "compare",
    "compare_points",
    "export",
    "measure",
    "plan",
    "prepare",
    "publish",
    "sample",
    "select",
    "train",
]
