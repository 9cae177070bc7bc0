"""Groups of a column's cells: rare ones counted together, as noisy counts have shown them rare.

A table over two columns has a cell for each pair of theirs, and each cell gets noise of its own.
Levels that hardly anybody has only add noise to it; merged, they cost one cell. Which are merged
is decided on counts that have been released, so it costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sfumato.publish.tables.bins import Cells


@dataclass(frozen=True)
class Groups:
    """A partition of a column's cells.

    Args:
        cells: The column's public cells.
        of: (cells,) the group of each cell, in ``[0, len(self))``.
    """

    cells: Cells
    of: NDArray[np.int64]

    @classmethod
    def fine(cls, cells: Cells) -> Groups:
        """Every cell by itself."""
        return cls(cells, np.arange(len(cells), dtype=np.int64))

    @classmethod
    def merged(cls, cells: Cells, noisy: NDArray[np.float64], least: float, most: int) -> Groups:
        """Cells merged until a group holds a count that stands out of the noise.

        Neighbours in order are merged where there is an order; other levels, all into one group
        of the rest. A missing value stays by itself.

        Args:
            cells: The public cells.
            noisy: (cells,) released counts.
            least: What a group should hold.
            most: How many groups there may be, at least 3.
        """
        from sfumato.data import Numeric

        ordered = isinstance(cells.column, Numeric) or cells.column.ordered
        known = len(cells) - cells.column.missing
        counts = np.maximum(noisy[:known], 0.0)
        room = most - cells.column.missing
        while True:
            of = _runs(counts, least) if ordered else _rest(counts, least)
            if known == 0 or of.max() < room:
                break
            least = 1.5 * least + 1.0
        if cells.column.missing:
            of = np.append(of, of.max(initial=-1) + 1)
        return cls(cells, of)

    def __len__(self) -> int:
        return int(self.of[-1] if self.cells.column.missing else self.of.max()) + 1

    def place(self, codes: NDArray[np.integer]) -> NDArray[np.int64]:
        """(n,) groups of (n,) codes."""
        if self._by_code is not None:
            return np.asarray(self._by_code[codes], np.int64)
        return np.asarray(self.of[self.cells.place(codes)], np.int64)

    def sum(self, table: NDArray[np.float64]) -> NDArray[np.float64]:
        """Counts by cell, (cells, classes), as counts by group, (groups, classes)."""
        total = np.zeros((len(self), table.shape[1]))
        np.add.at(total, self.of, table)
        return total

    @cached_property
    def _by_code(self) -> NDArray[np.int64] | None:
        """The group of every code, where the grid is short enough to write them all down."""
        if self.cells.column.size > 1 << 20:
            return None
        return np.asarray(self.of[self.cells.place(np.arange(self.cells.column.size))], np.int64)


def _runs(counts: NDArray[np.float64], least: float) -> NDArray[np.int64]:
    """Neighbours merged from the first on; what is left over joins the last group."""
    of = np.empty(len(counts), np.int64)
    group, held, start = 0, 0.0, 0
    for i, count in enumerate(counts):
        of[i] = group
        held += count
        if held >= least:
            group, held, start = group + 1, 0.0, i + 1
    if start < len(counts) and group:
        of[start:] = group - 1
    return of


def _rest(counts: NDArray[np.float64], least: float) -> NDArray[np.int64]:
    """Each common level by itself, in order, and all rare ones together at the end."""
    common = counts >= least
    of = np.full(len(counts), int(common.sum()), np.int64)
    of[common] = np.arange(int(common.sum()))
    return of
