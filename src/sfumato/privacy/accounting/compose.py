"""From terms to one privacy loss distribution, on a grid that fits them."""

from __future__ import annotations

import math

from sfumato.privacy.accounting.pld import INTERVAL, Loss, Pair, TooWideError, compose
from sfumato.privacy.accounting.resolve import Terms

MANY = 16
"""Repetitions from which the rounding of each loss is worth a finer grid."""
SPREAD = 8
"""Intervals that the standard deviation of a repeated loss should span. Splitting a loss between
two grid points adds about ``interval^2 / 6`` to its variance: here one part in 400."""
FINEST = INTERVAL / 128
WORK = 1 << 22
"""Grid points of all different losses together from which a coarser grid is looked for: noise that
falls over hundreds of steps, at an epsilon of several hundred, has a hundred times as many."""
SHARE = 400
"""Intervals that the root mean square spread of the losses then spans, at least: what the grid
adds to their variance is one part in a million, and to their means about half of that part."""
_ROUGH = 128 * INTERVAL


def loss_of(terms: Terms, interval: float | None = None) -> Pair:
    """The privacy loss of everything in ``terms``.

    Args:
        terms: What was run; nothing of it unprotected.
        interval: The grid; by default :data:`INTERVAL`, or finer for many small losses. One that
            would not fit in memory, or take minutes for many different losses, is made coarser: the
            result stays an upper bound.
    """
    grid = _affordable(terms, interval or _fitting(terms))
    while True:
        try:
            return compose([(term.pair(grid), n) for term, n in terms.counts.items()], grid)
        except TooWideError:
            grid *= 4


def _fitting(terms: Terms) -> float:
    spreads = [term.spread for term, count in terms.counts.items() if count >= MANY]
    grid = INTERVAL
    while spreads and min(spreads) < SPREAD * grid and grid > FINEST:
        grid /= 2
    return grid


def _affordable(terms: Terms, grid: float) -> float:
    """The grid, or a coarser one where many different and wide losses would take minutes."""
    if len(terms.counts) < MANY:
        return grid
    try:
        pairs = [(term.pair(_ROUGH), n) for term, n in terms.counts.items()]
    except TooWideError:
        return grid
    width = _ROUGH * sum(len(loss.masses) for pair, _ in pairs for loss in pair.directions)
    count = sum(n for _, n in pairs)
    spread = max(
        math.sqrt(math.fsum(n * _variance(loss) for loss, n in losses) / count)
        for losses in (
            [(pair.remove, n) for pair, n in pairs],
            [(pair.add, n) for pair, n in pairs],
        )
    )
    while width / grid > WORK and 2 * grid * SHARE <= spread:
        grid *= 2
    return grid


def _variance(loss: Loss) -> float:
    """Of the loss, where it is finite."""
    total = float(loss.masses.sum())
    if total == 0:
        return 0.0
    mean = float(loss.masses @ loss.losses) / total
    return float(loss.masses @ (loss.losses - mean) ** 2) / total
