"""Closed forms for Gaussian differential privacy: no grid, no search over orders.

``mu`` is the distance between the means of two neighbours in standard deviations of the noise.
Composition adds ``mu^2``. Source: Dong, Roth, Su 2019, Corollaries 2.13 and 3.3; Balle, Wang 2018.
"""

from __future__ import annotations

import math
from collections.abc import Callable

_STEPS = 200  # halvings: far more than the 53 bits that a bracket of floats can give


def log_delta(epsilon: float, mu: float) -> float:
    """``ln delta`` at ``epsilon``: ``Phi(-eps/mu + mu/2) - e^eps Phi(-eps/mu - mu/2)``.

    Both terms are kept as logarithms, so that a delta of 1e-300 has all its digits.
    """
    from scipy.special import log_ndtr

    if mu == 0:
        return -math.inf
    first = float(log_ndtr(-epsilon / mu + mu / 2))
    second = epsilon + float(log_ndtr(-epsilon / mu - mu / 2))
    return first + _log1mexp(second - first)


def delta(epsilon: float, mu: float) -> float:
    """The smallest delta at ``epsilon`` of a mu-GDP mechanism."""
    return math.exp(log_delta(epsilon, mu))


def epsilon(delta: float, mu: float) -> float:
    """The smallest epsilon at ``delta`` of a mu-GDP mechanism, rounded up."""
    if mu == 0:
        return 0.0
    if delta == 0:
        return math.inf
    target = math.log(delta)
    if log_delta(0.0, mu) <= target:
        return 0.0
    high = mu * mu / 2 + mu * math.sqrt(2 * -target)  # from Phi(-t) <= exp(-t^2 / 2)
    return _smallest(lambda value: log_delta(value, mu) <= target, 0.0, high)


def mu(epsilon: float, delta: float) -> float:
    """The largest mu whose delta at ``epsilon`` is at most ``delta``, rounded down."""
    target = math.log(delta)
    high = 1.0
    while log_delta(epsilon, high) <= target:
        high *= 2
    low = high
    while log_delta(epsilon, low) > target:
        low /= 2
    # _smallest looks for the least x = -mu; its answer always meets the condition.
    return -_smallest(lambda value: log_delta(epsilon, -value) <= target, -high, -low)


def _smallest(meets: Callable[[float], bool], low: float, high: float) -> float:
    """The least ``x`` in ``(low, high]`` with ``meets(x)``, for a monotone condition.

    The value returned has been tried, or is ``high``: it never errs on the unsafe side.
    """
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if meets(middle):
            high = middle
        else:
            low = middle
    return high


def _log1mexp(x: float) -> float:
    """``ln(1 - e^x)`` for ``x <= 0``."""
    if x >= 0:
        return -math.inf
    return math.log(-math.expm1(x)) if x > -math.log(2) else math.log1p(-math.exp(x))
