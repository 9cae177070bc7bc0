"""What a privacy loss distribution lets an attacker do: error rates, and GDP as a summary.

Source: Gomez, Kulynych, Kaissis, Hayes, Balle, Honkela 2025 (arXiv 2503.10945).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sfumato.privacy.accounting.pld import Array, Pair

FLOOR = 1e-8
"""Error rates below this are not resolved by ``mu``: it may be exceeded on an event this rare."""


def pure_tpr(epsilon: float, fpr: float) -> float:
    """The best true positive rate against an ``epsilon``-DP mechanism."""
    if epsilon > 700:
        return 1.0
    return min(1.0, math.exp(epsilon) * fpr, 1 - math.exp(-epsilon) * (1 - fpr))


@dataclass(frozen=True)
class Lines:
    """The bounds that every ``(epsilon, delta)`` of a pair puts on the true positive rate.

    For each: ``delta + e^eps fpr`` and ``1 - e^-eps (1 - delta - fpr)``. The curve is piecewise
    linear with its slopes on the grid, so the grid holds the least.

    Args:
        deltas: (k,) of the epsilons on the grid.
        steep: (k,) ``e^eps``.
        level: (k,) ``1 - e^-eps (1 - delta)``.
        flat: (k,) ``e^-eps``.
    """

    deltas: Array
    steep: Array
    level: Array
    flat: Array

    @classmethod
    def of(cls, pair: Pair) -> Lines:
        """The bounds of a pair, to ask for many rates."""
        losses, deltas = profile(pair)
        flat = np.exp(-losses)
        with np.errstate(over="ignore"):
            return cls(deltas, np.exp(losses), 1 - flat * (1 - deltas), flat)

    def at(self, fpr: float) -> float:
        """The least of the bounds at ``fpr``."""
        steep = self.deltas + self.steep * fpr if fpr > 0 else self.deltas
        return float(min(1.0, steep.min(), (self.level + self.flat * fpr).min()))


def max_tpr(pair: Pair, fpr: float) -> float:
    """The best true positive rate of a test between the two, at ``fpr``."""
    return Lines.of(pair).at(fpr)


def profile(pair: Pair) -> tuple[Array, Array]:
    """Losses of at least 0 on the grid, and the larger delta of the two directions at each."""
    longest = max(pair.directions, key=lambda loss: loss.lowest + len(loss.masses))
    top = max(longest.lowest + len(longest.masses), 1)
    losses = np.arange(top, dtype=np.float64) * longest.interval
    deltas = np.zeros(top)
    for loss in pair.directions:
        own = np.full(top, loss.infinity)
        at, above, below = loss.tails
        if len(at):
            start = round(float(at[0]) / loss.interval)
            gaps = above - np.exp(np.minimum(at, 700.0)) * below
            own[start : start + len(at)] = np.maximum(gaps, loss.infinity)
            own[:start] = above[0] - np.exp(np.minimum(losses[:start], 700.0)) * below[0]
        deltas = np.maximum(deltas, own)
    return losses, np.minimum(deltas, 1.0)


def gdp_mu(pair: Pair) -> float | None:
    """The smallest mu whose trade-off curve lies below the pair's, for error rates from ``FLOOR``.

    The curve between two corners is a chord, the Gaussian one is convex: it suffices to look at
    the corners, and at where the curve leaves the region. None where that leaves nothing: an
    attacker has both error rates below ``FLOOR``, or an event above it reveals everything.
    """
    from scipy.special import ndtri

    edge = max_tpr(pair, FLOOR)
    if edge >= 1 - FLOOR or max(loss.infinity for loss in pair.directions) > FLOOR:
        return None
    worst = max(0.0, float(ndtri(edge) - ndtri(FLOOR)))
    for loss in pair.directions:
        fpr, tpr = loss.vertices()
        held = (fpr > FLOOR) & (tpr < 1 - FLOOR)
        if held.any():
            worst = max(worst, float(np.max(ndtri(tpr[held]) - ndtri(fpr[held]))))
    return worst


def regret(pair: Pair, mu: float) -> float:
    """The least shift that brings the pair's trade-off curve ``f`` below the Gaussian one.

    The smallest ``d`` with ``f(x + d) - d <= G_mu(x)`` for all ``x``: how much ``mu`` overstates
    what an attacker can do, in error rates.
    """
    from scipy.special import ndtr, ndtri

    fpr = np.concatenate([loss.vertices()[0] for loss in pair.directions])
    fnr = 1 - np.concatenate([loss.vertices()[1] for loss in pair.directions])
    x = np.concatenate([[0.0], fpr, fnr, [1.0]])  # the curve is its own mirror image
    y = np.concatenate([[1.0], fnr, fpr, [0.0]])
    order = np.lexsort((-y, x))
    x, y = x[order], np.minimum.accumulate(y[order])
    at = np.unique(np.concatenate([np.geomspace(1e-12, 0.5, 2000), np.linspace(0, 1, 4001)]))
    target = ndtr(-ndtri(at) - mu)
    low, high = 0.0, 1.0
    for _ in range(50):
        shift = (low + high) / 2
        above = np.interp(np.minimum(at + shift, 1.0), x, y) - shift
        low, high = (low, shift) if (above <= target).all() else (shift, high)
    return high
