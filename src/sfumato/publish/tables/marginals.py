"""From noisy contingency tables to consistent ones, and from those to rows.

Everything here is post-processing of noisy counts: it costs nothing and knows no private row.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_COLUMN = "by_class/"


def _named(column: int) -> str:
    return f"{_COLUMN}{column:05d}"


def combine(
    tables: Sequence[NDArray[np.floating] | NDArray[np.integer]],
    variances: Sequence[float] | None = None,
) -> Floats:
    """One estimate of the counts by class that several noisy tables share.

    Each table's column sums estimate the same counts, with a variance in proportion to its number
    of rows; inverse-variance weights give the best linear combination.

    Args:
        tables: (cells_j, classes) noisy counts, every cell of a table under noise of one variance.
        variances: Of the noise of each table, up to a factor; None where all are the same.

    Returns:
        (classes,) float64; may be negative.
    """
    precision = np.array([1 / len(table) for table in tables])
    if variances is not None:
        precision /= np.asarray(variances)
    sums = np.stack([np.sum(table, axis=0) for table in tables]).astype(np.float64)
    return np.asarray(precision @ sums / precision.sum(), dtype=np.float64)


def total_stddev(cells: Sequence[int], classes: int, variance: float) -> float:
    """The standard deviation of the number of records that :func:`combine`'s estimate adds up to.

    A function of the noise alone, and public.

    Args:
        cells: Rows of each of the tables.
        classes: Their columns.
        variance: Of the noise in a cell.

    >>> total_stddev([4, 4], 2, 9.0)
    6.0
    """
    return math.sqrt(classes * variance / sum(1 / count for count in cells))


def onto_simplex(values: Floats, total: float) -> Floats:
    """The nearest non-negative vector with the given sum, in the Euclidean norm.

    Noisy zeros become zeros: what is negative is cut off and every other cell pays the same for
    it. This is the most likely count vector under Gaussian noise.

    Args:
        values: (k,) any numbers.
        total: At least 0.

    Returns:
        (k,) float64, at least 0, summing to ``total``.

    >>> onto_simplex(np.array([5.0, -2.0, 1.0]), 4.0)
    array([4., 0., 0.])
    """
    if total <= 0:
        return np.zeros(len(values))
    # Measured from the largest value, so that huge values cost no precision.
    ordered = np.sort(values)[::-1] - values.max()
    excess = np.cumsum(ordered) - total
    kept = int(np.flatnonzero(ordered > excess / np.arange(1, len(values) + 1))[-1])
    cut = np.maximum(values - values.max() - excess[kept] / (kept + 1), 0.0)
    return np.asarray(cut * (total / cut.sum()), dtype=np.float64)


@dataclass(frozen=True)
class Independent:
    """Columns that are independent given the class.

    Args:
        classes: (classes,) counts, at least 0, with a positive sum.
        conditionals: For each column (cells_j, classes) counts whose columns sum to ``classes``.
    """

    classes: Floats
    conditionals: tuple[Floats, ...]

    @classmethod
    def fit(
        cls,
        tables: Sequence[NDArray[np.integer] | Floats],
        variances: Sequence[float] | None = None,
    ) -> Independent:
        """The consistent counts nearest to noisy ones.

        Args:
            tables: (cells_j, classes) noisy counts, every cell of a table under noise of one
                variance.
            variances: Of the noise of each table, up to a factor; None where all are the same.
        """
        shared = combine(tables, variances)
        total = max(1.0, float(shared.sum()))
        classes = onto_simplex(shared, total)
        conditionals = tuple(
            np.stack(
                [onto_simplex(column, size) for column, size in zip(noisy.T, classes, strict=True)],
                axis=1,
            )
            for noisy in (np.asarray(table, dtype=np.float64) for table in tables)
        )
        return cls(classes, conditionals)

    @property
    def records(self) -> int:
        """The estimated number of records, at least 1."""
        return max(1, round(float(self.classes.sum())))

    @property
    def tensors(self) -> dict[str, Floats]:
        """All of it by name, as a release keeps it."""
        named = {_named(j): table for j, table in enumerate(self.conditionals)}
        return {"classes": self.classes, **named}

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, NDArray[Any]]) -> Independent:
        """What :attr:`tensors` gave.

        Raises:
            KeyError: If a part is missing.
        """
        features = sum(name.startswith(_COLUMN) for name in tensors)
        return cls(tensors["classes"], tuple(tensors[_named(j)] for j in range(features)))

    def sample(
        self, rows: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
        """Classes and cells of synthetic rows, in random order.

        Args:
            rows: How many.
            rng: Not privacy noise: its seed may be published.

        Returns:
            (rows,) classes and for each column (rows,) cells.
        """
        labels = rng.permutation(spread(self.classes, rows, rng))
        members = [np.flatnonzero(labels == label) for label in range(len(self.classes))]
        columns = []
        for table in self.conditionals:
            cells = np.empty(rows, np.int64)
            for label, at in enumerate(members):
                if len(at):
                    cells[at] = rng.permutation(spread(table[:, label], len(at), rng))
            columns.append(cells)
        return labels, columns


def spread(weights: Floats, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """``n`` outcomes in order, each as often as its weight asks for, to within one.

    Systematic sampling: the expected number of each outcome is exactly proportional to its weight,
    with less variance than independent draws.

    Args:
        weights: (k,) at least 0, not all 0.
        n: How many.
        rng: Draws the offset.

    Returns:
        (n,) int64 outcomes in ``[0, k)``, ascending.
    """
    steps = (np.arange(n) + rng.random()) / n * weights.sum()
    outcomes = np.searchsorted(np.cumsum(weights), steps, side="right")
    # The last step can reach the sum in the last digit; it belongs to the last possible outcome.
    return np.asarray(np.minimum(outcomes, np.flatnonzero(weights)[-1]), dtype=np.int64)
