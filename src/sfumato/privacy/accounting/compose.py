"""From terms to one privacy loss distribution, on a grid that fits them."""

from __future__ import annotations

from sfumato.privacy.accounting.pld import INTERVAL, Pair, TooWideError, compose
from sfumato.privacy.accounting.resolve import Terms

MANY = 16
"""Repetitions from which the rounding of each loss is worth a finer grid."""
SPREAD = 8
"""Intervals that the standard deviation of a repeated loss should span. Splitting a loss between
two grid points adds about ``interval^2 / 6`` to its variance: here one part in 400."""
FINEST = INTERVAL / 128


def loss_of(terms: Terms, interval: float | None = None) -> Pair:
    """The privacy loss of everything in ``terms``.

    Args:
        terms: What was run; nothing of it unprotected.
        interval: The grid; by default :data:`INTERVAL`, or finer for many small losses. One that
            would not fit in memory is made coarser: the result stays an upper bound.
    """
    grid = interval or _fitting(terms)
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
