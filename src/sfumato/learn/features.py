"""Rows of codes as sparse features whose norm is bounded by construction.

A row of ``d`` columns becomes ``d`` entries, one for each column, and a constant: a level's
one-hot entry, or a number scaled to ``[-1, 1]`` by its public bounds (a missing number is a level
of its own). Each entry is at most 1 in magnitude, so dividing by ``sqrt(d + 1)``, a public
constant, puts every row in the unit ball: no norm depends on the data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


@dataclass(frozen=True)
class Column:
    """One column's public shape.

    Args:
        size: How many codes there are, a missing value included.
        grid: For numbers, how many codes are numbers (code ``grid`` is a missing value); None
            for levels.
    """

    size: int
    grid: int | None = None

    @property
    def slots(self) -> int:
        """How many weights the column has."""
        return self.size if self.grid is None else 1 + (self.size > self.grid)


@dataclass(frozen=True)
class Features:
    """The features of a row of codes.

    Args:
        columns: Public shapes, in the order of the codes.
    """

    columns: tuple[Column, ...]

    @property
    def offsets(self) -> tuple[int, ...]:
        """Where each column's weights begin; the last entry is the constant's."""
        starts = [0]
        for column in self.columns:
            starts.append(starts[-1] + column.slots)
        return tuple(starts)

    @property
    def width(self) -> int:
        """How many features there are, the constant included."""
        return self.offsets[-1] + 1

    @property
    def norm(self) -> float:
        """What every row is divided by: ``sqrt(d + 1)``."""
        return float(np.sqrt(len(self.columns) + 1))

    def matrix(self, codes: NDArray[np.integer]) -> csr_matrix:
        """The features of rows; every row's L2 norm is at most 1.

        Args:
            codes: (n, d) integers, column ``j`` in ``[0, columns[j].size)``.

        Returns:
            (n, width) sparse float64.
        """
        from scipy.sparse import csr_matrix

        rows, d = codes.shape
        index = np.empty((rows, d + 1), dtype=np.int32)
        value = np.ones((rows, d + 1), dtype=np.float64)
        for j, (column, start) in enumerate(zip(self.columns, self.offsets, strict=False)):
            if column.grid is None:
                index[:, j] = start + codes[:, j]
                continue
            missing = codes[:, j] >= column.grid
            index[:, j] = start + missing
            value[:, j] = np.where(missing, 1.0, self.scaled(j, codes[:, j]))
        index[:, d] = self.offsets[-1]
        value /= self.norm
        pointers = np.arange(rows + 1, dtype=np.int64) * (d + 1)
        return csr_matrix((value.ravel(), index.ravel(), pointers), shape=(rows, self.width))

    def scaled(self, j: int, codes: NDArray[np.integer]) -> NDArray[np.float64]:
        """Codes of number column ``j`` as values in ``[-1, 1]``; 0 is the public centre."""
        steps = (self.columns[j].grid or 1) - 1
        return np.asarray(2 * codes / steps - 1 if steps else 0.0 * codes, dtype=np.float64)
