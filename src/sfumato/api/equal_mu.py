"""A method calibrated to a mu of Gaussian differential privacy, whatever kind of noise it has.

Methods are calibrated to an (epsilon, delta). One that is Gaussian has the mu of the Gaussian with
that (epsilon, delta); another has a larger one, for its trade-off curve lies lower elsewhere. So
its epsilon is looked for at which its own curve is nowhere below that of the mu asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from sfumato.errors import InputError

if TYPE_CHECKING:
    from sfumato.publish.method import Calibrated

CLOSE = 1e-3
"""Two mu no further apart than this, relatively, are the same: accountants round."""
_NARROW = 1e-3
_FURTHEST = 2.0**12


def within(own: float | None, mu: float) -> bool:
    """Whether a method's own mu is no more than what was asked for."""
    return own is not None and own <= mu * (1 + CLOSE)


def at_mu(calibrate: Callable[[float], Calibrated], mu: float, start: float) -> Calibrated:
    """The run of the largest epsilon up to ``start`` whose own mu is ``mu`` at most.

    Whatever is mu-GDP has the epsilon of the Gaussian at most, so none is looked for above it.

    Args:
        calibrate: The run at an epsilon; its mu must not fall as epsilon grows. One without a mu
            counts as one of more than any.
        mu: What is asked for.
        start: The epsilon of a Gaussian of that mu.

    Returns:
        The run; the one at ``start`` if those at all smaller epsilons have no mu either.

    Raises:
        InputError: If the method refuses every epsilon that is small enough.
    """
    first = calibrate(start)
    own = first.guarantee.gdp_mu()
    if within(own, mu):
        return first
    low, high, best, known = 0.0, start, first, own is not None
    while high > low * (1 + _NARROW) and start < high * _FURTHEST:
        epsilon = math.sqrt(low * high) if low else high / 2
        made = calibrate(epsilon)
        own = made.guarantee.gdp_mu()
        known = known or own is not None
        if within(own, mu):
            low, best = epsilon, made
        else:
            high = epsilon
    if known and not low:
        raise InputError(f"no epsilon from {high:.2g} on is mu {mu:g} here", "Give a larger mu.")
    return best
