"""Public cells of a column: where a numeric grid is cut, chosen from the schema alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InputError
from sfumato.publish import checks

if TYPE_CHECKING:
    from sfumato.data import Axis, Column

Binning = Literal["refined", "equal", "log"]
BINNINGS: tuple[str, ...] = get_args(Binning)

_FINEST = 1 << 20  # cells of a table of exact counts, before they are summed into bins


@dataclass(frozen=True)
class Cells:
    """A column's cells.

    Args:
        column: The column.
        axis: What is counted: every code, or fine equal bins of a very long grid.
        cuts: (cells + 1,) positions on the axis, ascending; the missing level, where there is one,
            is a cell of its own after the last.
        edges: (cells + 1,) the same cuts as codes.
    """

    column: Column
    axis: Axis
    cuts: NDArray[np.int64]
    edges: NDArray[np.int64]

    @classmethod
    def of(cls, column: Column, bins: int, binning: str, classes: int = 1) -> Cells:
        """Cells of a column: each level, or each of some bins of a numeric grid.

        Args:
            column: Its public facts.
            bins: How many bins a numeric grid is cut into, before refinement.
            binning: ``"equal"`` widths; ``"refined"``, which also halves the first bin down to its
                lowest value and sets the highest apart (a pile of zeros or of capped values is
                kept as such); ``"log"``, widths that grow geometrically from the lower bound.
            classes: How many columns the table of counts has.
        """
        from sfumato.data import Axis, Numeric

        if not isinstance(column, Numeric):
            every = np.arange(column.cardinality + 1, dtype=np.int64)
            return cls(column, Axis(column.name), every, every)
        if binning == "equal":
            axis = Axis(column.name, bins)
            return cls(column, axis, np.arange(axis.groups(column) + 1), axis.edges(column))
        finest = max(bins, _FINEST // classes)
        axis = Axis(column.name, finest if column.cardinality > finest else None)
        cuts = cut(axis.groups(column), bins, binning)
        edges = axis.edges(column)[cuts] if axis.bins is not None else cuts
        return cls(column, axis, cuts, edges)

    def __len__(self) -> int:
        return len(self.cuts) - 1 + self.column.missing

    def sum(self, counts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Counts over the axis, (axis, classes), as counts over the cells, (cells, classes)."""
        starts = self.cuts[:-1]
        if self.column.missing:
            starts = np.append(starts, self.cuts[-1])
        return np.asarray(np.add.reduceat(counts, starts, axis=0), dtype=np.int64)

    def place(self, codes: NDArray[np.integer]) -> NDArray[np.int64]:
        """(n,) cells of (n,) codes."""
        if len(self.edges) == self.column.cardinality + 1:
            return codes.astype(np.int64, copy=False)
        # The missing code, equal to cardinality, is the last edge: it lands on the cell after.
        return np.searchsorted(self.edges, codes, side="right") - 1

    def draw(self, cells: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """Codes of rows that lie in given cells: uniform among the cell's grid points.

        Args:
            cells: (n,) in ``[0, len(self))``.
            rng: Not privacy noise.
        """
        codes = np.full(len(cells), self.column.cardinality, np.int64)
        known = cells < len(self.cuts) - 1
        codes[known] = rng.integers(self.edges[cells[known]], self.edges[cells[known] + 1])
        return codes


def cut(length: int, bins: int, binning: str) -> NDArray[np.int64]:
    """Cuts ``0..length`` into bins, each of at least one position.

    Returns:
        (at most bins + 1, or a few more if refined) ascending positions from 0 to ``length``.

    Raises:
        InputError: If ``binning`` is unknown or ``bins`` is below 1.

    >>> cut(100, 4, "equal").tolist()
    [0, 25, 50, 75, 100]
    >>> cut(100, 4, "refined").tolist()
    [0, 1, 2, 4, 8, 16, 25, 50, 75, 99, 100]
    >>> cut(100, 4, "log").tolist()
    [0, 1, 5, 22, 100]
    """
    check_binning(bins, binning)
    if binning == "log":
        grown = np.rint(np.geomspace(1, length, bins)).astype(np.int64)
        return np.unique(np.concatenate(([0], grown, [length])))
    bins = min(bins, length)
    equal = -(-np.arange(bins + 1, dtype=np.int64) * length // bins)
    if binning == "equal":
        return equal
    doubling = 1 << np.arange(max(1, int(equal[1]).bit_length()), dtype=np.int64)
    refined = np.concatenate((equal, doubling[doubling < equal[1]], [length - 1]))
    return np.unique(refined)


def check_binning(bins: int, binning: str) -> None:
    """Refuses bins that cannot be.

    Raises:
        InputError: If ``binning`` is unknown or ``bins`` is no whole number of at least 1.
    """
    if binning not in BINNINGS:
        raise InputError(f"binning is {binning!r}", f"Use one of {', '.join(BINNINGS)}.")
    checks.whole("bins", bins, 1)
