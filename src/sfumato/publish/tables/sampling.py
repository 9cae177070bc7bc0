"""Which of its attributes a row reports, where it cannot afford to report all of them.

A row that reports ``s`` of ``d`` attributes gives each of them ``1 / s`` of the budget in place of
``1 / d``. What randomised response can say of a level grows faster than in proportion to its
budget, so a few good reports can tell more than many poor ones. The attributes are drawn with
public probabilities (importance that is public or paid for decides them), by coins that know
nothing of the rows: whatever is drawn, the row's reports cost ``s`` parts, and the coins may be
published. Nothing is claimed for their being secret.

What a row does not report is released as missing where the schema declares that values may be; as
the middle of the public range for an ordered value that may not, which moves no average; and else
as a level drawn uniformly, which is what randomised response says of a row when it says nothing.
All three follow from the schema and the coins.

Source: perturbation.md A.1, step 7 (Nguyen et al. 2016 and Wang et al., ICDE 2019, for numbers).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sfumato.data import Column, Table

WORTH = 2.5
"""About the epsilon from which one report is better shared between two attributes."""


def automatic(epsilon: float, attributes: int) -> int:
    """How many attributes to report: one for each 2.5 of epsilon, at least one.

    >>> [automatic(epsilon, 14) for epsilon in (1.0, 6.0, 100.0)]
    [1, 2, 14]
    """
    return max(1, min(attributes, int(epsilon / WORTH)))


def inclusion(shares: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """The probability of each attribute to be among ``count`` reported ones.

    In proportion to the shares, but for those that would be above 1: they are reported always.

    Args:
        shares: (d,) positive.
        count: At most d.

    Returns:
        (d,) float64 in (0, 1], summing to ``count``.

    >>> inclusion(np.array([0.7, 0.1, 0.1, 0.1]), 2).round(2).tolist()
    [1.0, 0.33, 0.33, 0.33]
    """
    certain = np.zeros(len(shares), np.bool_)
    while True:
        left = count - int(certain.sum())
        rest = np.where(certain, 0.0, shares)
        chances = np.where(certain, 1.0, left * rest / max(rest.sum(), 1e-300))
        over = (chances >= 1) & ~certain
        if not over.any():
            return np.asarray(np.minimum(chances, 1.0), np.float64)
        certain |= over


def chosen(chances: NDArray[np.float64], rows: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Which attributes each row reports: as many in every row, each with its probability.

    Systematic sampling in an order of its own for every row.

    Args:
        chances: (d,) from :func:`inclusion`.
        rows: How many.
        rng: Coins; they are no privacy noise and may be published.

    Returns:
        (rows, d) bool with ``round(chances.sum())`` True in each row.
    """
    return _picked(chances, rng.random((rows, len(chances) + 1)))


def _picked(chances: NDArray[np.float64], coins: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The choice by (rows, d + 1) uniform coins."""
    d, count = len(chances), round(float(chances.sum()))
    order = np.argsort(coins[:, :d], axis=1)
    reached = np.cumsum(chances[order], axis=1)
    reached[:, -1] = count  # whatever rounding made of the sum
    steps = np.floor(reached + coins[:, d:])
    taken = np.diff(steps, axis=1, prepend=0.0) > 0
    picked = np.zeros((len(coins), d), np.bool_)
    np.put_along_axis(picked, order, taken, axis=1)
    return picked


def otherwise(column: Column) -> str:
    """What a cell of this column is released as where it is not reported, in words."""
    if column.missing:
        return "missing"
    return "the middle of the range" if column.ordered else "a uniform level"


def stand_ins(column: Column, coins: NDArray[np.float64]) -> NDArray[np.int64]:
    """Codes that say nothing of a row, one for each uniform coin."""
    if column.missing:
        return np.full(len(coins), column.cardinality, np.int64)
    if column.ordered:
        return np.full(len(coins), column.cardinality // 2, np.int64)
    return np.minimum((coins * column.size).astype(np.int64), column.size - 1)


class SampledTable:
    """A private table whose cells that are not to be reported hold ``size`` plus a stand-in.

    Args:
        table: The private rows.
        names: Attributes that are sampled.
        chances: (attributes,) of each to be reported.
        seed: Of the coins: the same seed chooses the same cells, whatever the batches.
    """

    def __init__(
        self, table: Table, names: Sequence[str], chances: NDArray[np.float64], seed: int
    ) -> None:
        self._table = table
        self._names = tuple(names)
        self._chances = chances
        self._seed = seed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._table, name)

    def codes_batches(self, *given: Any, **named: Any) -> Iterator[dict[str, NDArray[np.int64]]]:
        """The table's batches, cells that are not reported blotted out."""
        rng = np.random.default_rng(self._seed)
        d = len(self._names)
        for batch in self._table.codes_batches(*given, **named):
            rows = len(next(iter(batch.values())))
            coins = rng.random((rows, 2 * d + 1))
            picked = _picked(self._chances, coins[:, : d + 1])
            blotted = {}
            for j, name in enumerate(self._names):
                column = self._table.schema[name]
                hidden = column.size + stand_ins(column, coins[:, d + 1 + j])
                blotted[name] = np.where(picked[:, j], batch[name], hidden)
            yield {name: blotted.get(name, codes) for name, codes in batch.items()}
