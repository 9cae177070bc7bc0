"""One axis of a contingency table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfumato.data.columns import Categorical, Column
from sfumato.errors import InputError


@dataclass(frozen=True)
class Axis:
    """A column to count over, grouped into public bins where it is numeric.

    Args:
        column: The column's name.
        bins: Number of equal-width bins of a numeric (or ordinal) grid: code ``c`` falls in bin
            ``c * bins // cardinality``, with no more bins than values. None keeps every code. A
            missing level, where the column has one, is the last index in any case.
    """

    column: str
    bins: int | None = None

    def groups(self, column: Column) -> int:
        """Number of groups of values, the missing level not counted.

        Raises:
            InputError: If the bins do not fit the column.
        """
        if self.bins is None:
            return column.cardinality
        if isinstance(column, Categorical) and not column.ordered:
            raise InputError(
                f"column {column.name!r} is categorical, it cannot be cut into {self.bins} bins",
                "Leave bins out.",
            )
        if self.bins < 1:
            raise InputError(f"column {column.name!r}: {self.bins!r} bins", "Use at least one bin.")
        return min(self.bins, column.cardinality)

    def size(self, column: Column) -> int:
        """Length of the axis, the missing level included."""
        return self.groups(column) + column.missing

    def index(self, codes: NDArray[Any], column: Column) -> NDArray[np.int64]:
        """(n,) positions on the axis of (n,) codes."""
        wide = codes.astype(np.int64, copy=False)
        if self.bins is None:
            return wide
        # The missing code, equal to cardinality, lands exactly on the index after the last bin.
        return wide * self.groups(column) // column.cardinality

    def edges(self, column: Column) -> NDArray[np.int64]:
        """(groups + 1,) codes: group ``i`` holds ``edges[i] <= code < edges[i + 1]``."""
        groups = self.groups(column)
        starts = np.arange(groups + 1, dtype=np.int64) * column.cardinality
        return -(-starts // groups)
