"""Exact tables over two features and the target: all of them in one pass over the rows.

Rows are read once, turned into cells once, and counted for every pair that is asked for, a batch
at a time; what is held is the tables, whatever the number of rows. Where all tables together are
too large for that, the pairs are taken in parts, each with a pass of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sfumato.publish.tables.bins import Cells
from sfumato.publish.tables.groups import Groups

if TYPE_CHECKING:
    from sfumato.data import Table

Pair = tuple[int, int]
Counts = NDArray[np.int64]

_HELD = 1 << 25  # cells of the tables that are counted in one pass, 8 bytes each


@dataclass(frozen=True)
class Pairs:
    """What rows are counted by.

    Args:
        features: The groups of each feature's cells.
        target: Cells of the target; None where there is none.
    """

    features: tuple[Groups, ...]
    target: Cells | None

    @property
    def classes(self) -> int:
        """How many cells the target has; 1 without one."""
        return 1 if self.target is None else len(self.target)

    def all(self) -> list[Pair]:
        """Every pair of features, the lower number first."""
        d = len(self.features)
        return [(i, j) for i in range(d) for j in range(i + 1, d)]

    def shape(self, pair: Pair) -> tuple[int, int, int]:
        """Of a pair's table."""
        return len(self.features[pair[0]]), len(self.features[pair[1]]), self.classes

    def count(self, table: Table, pairs: Sequence[Pair]) -> Iterator[tuple[Pair, Counts]]:
        """The exact tables, (groups, groups, classes) each: private, for the noise alone."""
        for part in self._parts(pairs):
            yield from zip(part, self._pass(table, part), strict=True)

    def _parts(self, pairs: Sequence[Pair]) -> Iterator[list[Pair]]:
        part: list[Pair] = []
        held = 0
        for pair in pairs:
            size = int(np.prod(self.shape(pair)))
            if part and held + size > _HELD:
                yield part
                part, held = [], 0
            part.append(pair)
            held += size
        if part:
            yield part

    def _pass(self, table: Table, pairs: Sequence[Pair]) -> list[Counts]:
        totals = [np.zeros(int(np.prod(self.shape(pair))), np.int64) for pair in pairs]
        used = sorted({i for pair in pairs for i in pair})
        names = [self.features[i].cells.column.name for i in used]
        if self.target is not None:
            names.append(self.target.column.name)
        for codes in table.codes_batches(columns=names):
            placed = {
                i: self.features[i].place(codes[self.features[i].cells.column.name]) for i in used
            }
            if self.target is None:
                by_class = placed
            else:
                label = self.target.place(codes[self.target.column.name])
                by_class = {i: groups * self.classes + label for i, groups in placed.items()}
            for total, (i, j) in zip(totals, pairs, strict=True):
                width = len(self.features[j]) * self.classes
                total += np.bincount(placed[i] * width + by_class[j], minlength=len(total))
        return [total.reshape(self.shape(pair)) for total, pair in zip(totals, pairs, strict=True)]
