"""The verbs: publish, attack, audit, measure, compare. The command line is thin on these."""

from __future__ import annotations

from sfumato.api.auditing import Audit, audit
from sfumato.api.comparing import Comparison, compare
from sfumato.api.judging import attack, measure
from sfumato.api.publishing import plan, publish, train

__all__ = [
    "Audit",
    "Comparison",
    "attack",
    "audit",
    "compare",
    "measure",
    "plan",
    "publish",
    "train",
]
