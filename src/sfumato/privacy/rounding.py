"""Printed bounds: rounded so that what is printed is still a bound."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, Context


def up(value: float, digits: int = 4) -> str:
    """A bound with ``digits`` significant digits, rounded up.

    >>> up(0.99996), up(1.23451), up(12.0)
    ('1.0', '1.235', '12.0')
    """
    if value <= 0 or not math.isfinite(value):
        return "0" if value <= 0 else "∞"
    # A double that stands for 0.1 lies a little above it: that is not a reason to print 0.1001.
    raised = Context(prec=digits, rounding=ROUND_CEILING).create_decimal_from_float(
        value * (1 - 1e-9)
    )
    shown = f"{float(raised):.{digits}g}"
    return shown if "." in shown or "e" in shown else f"{shown}.0"
