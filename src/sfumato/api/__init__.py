"""The verbs: publish, attack, measure, compare. The command line is thin on these."""

from __future__ import annotations

from sfumato.api.compare import Comparison, compare
from sfumato.api.evaluate import attack, measure
from sfumato.api.publish import plan, publish

__all__ = ["Comparison", "attack", "compare", "measure", "plan", "publish"]
