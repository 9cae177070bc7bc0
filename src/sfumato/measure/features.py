"""Records as arrays, on public scales: what measures and attacks share.

Nothing here learns from private rows: codes and pixels come on public grids already. A model
that standardises does so on what it is trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InputError

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from sfumato.data.columns import Column
    from sfumato.data.imageset import ImageSet
    from sfumato.data.table import Table
    from sfumato.release.model import Model

Codes = NDArray[np.int32]
Pixels = NDArray[np.float32]

_WHOLE = 1 << 25  # cells of a table that may be read whole, so that it keeps its codes

LEVELS = 256
"""A categorical column with more levels than this is folded into as many one-hot features."""


def size(data: Table | ImageSet) -> int:
    """The number of records of a table or image set."""
    return len(data)


def check_alike(data: Table | ImageSet | Model, other: Table | ImageSet, what: str) -> None:
    """Refuses to compare data sets whose records do not mean the same.

    Args:
        data: What the release holds.
        other: What it is compared with.
        what: What ``other`` is, for the message.

    Raises:
        InputError: If the kinds, columns, image shapes or classes differ.
    """
    kind = getattr(data, "takes", data.kind)
    if kind != other.kind:
        raise InputError(
            f"the release is about {kind}, the {what} are {other.kind}", "Give data of one kind."
        )
    if kind == "table":
        alike = data.schema.encodes_like(other.schema)  # type: ignore[union-attr, arg-type]
    else:
        alike = data.schema.looks_like(other.schema)  # type: ignore[union-attr, arg-type]
    if not alike:
        raise InputError(
            f"the {what} have other columns, levels, bounds or shapes than the release",
            "Read them with the release's own schema.",
        )


def choose(total: int, limit: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """At most ``limit`` distinct row numbers below ``total``, in rising order."""
    if total <= limit:
        return np.arange(total, dtype=np.int64)
    return np.sort(rng.choice(total, size=limit, replace=False)).astype(np.int64)


def codes(table: Table, rows: NDArray[np.int64] | None = None) -> Codes:
    """Rows of a table as integers; a large table is streamed past, not kept.

    Args:
        table: Any table.
        rows: Row numbers in rising order; None takes all.

    Returns:
        (n, d) codes, columns in the schema's order.
    """
    names = table.schema.names
    total = table.num_rows if rows is None else len(rows)
    matrix = np.empty((total, len(names)), dtype=np.int32)
    if table.num_rows * len(names) <= _WHOLE:
        for j, name in enumerate(names):
            column = table.codes([name])[name]
            matrix[:, j] = column if rows is None else column[rows]
        return matrix
    start = filled = 0
    for batch in table.codes_batches():
        height = len(batch[names[0]])
        if rows is None:
            picked = np.arange(height)
        else:
            first, last = np.searchsorted(rows, [start, start + height])
            picked = rows[first:last] - start
        for j, name in enumerate(names):
            matrix[filled : filled + len(picked), j] = batch[name][picked]
        start, filled = start + height, filled + len(picked)
    return matrix


def pixels(data: ImageSet, rows: NDArray[np.int64] | None = None) -> Pixels:
    """Images, all or at row numbers, as (n, c * h * w) rows in [0, 1]."""
    images = (data if rows is None else data.select(rows)).images
    return images.reshape(len(images), -1)


@dataclass(frozen=True)
class Design:
    """Codes as the columns of a linear model: one-hot levels and numbers.

    Args:
        columns: Of the codes, in order.
        centre: What is subtracted from each number column, by position.
        scale: What each number column is then divided by.
    """

    columns: tuple[Column, ...]
    centre: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()

    @classmethod
    def fitted(cls, columns: Sequence[Column], rows: Codes) -> Design:
        """A design that standardises numbers by the rows a model is trained on."""
        centre, scale = [], []
        for j, column in enumerate(columns):
            known = rows[rows[:, j] < column.cardinality, j]
            spread = float(known.std()) if known.size else 0.0
            centre.append(float(known.mean()) if known.size else 0.0)
            scale.append(spread if spread > 0 else 1.0)
        return cls(tuple(columns), tuple(centre), tuple(scale))

    def matrix(self, rows: Codes) -> csr_matrix:
        """The features of rows.

        Args:
            rows: (n, d) codes.

        Returns:
            (n, p) sparse float64: for a number or rank, its scaled value and whether it is
            missing; for levels, one column each.
        """
        from scipy.sparse import csr_matrix

        n, d = rows.shape
        index = np.empty((n, d), dtype=np.int32)
        value = np.ones((n, d), dtype=np.float64)
        offset = 0
        for j, column in enumerate(self.columns):
            code = rows[:, j]
            if column.ordered:
                absent = code == column.cardinality
                index[:, j] = offset + absent
                value[:, j] = np.where(absent, 1.0, self._scaled(j, code))
                offset += 2
            else:
                width = min(column.size, LEVELS)
                index[:, j] = offset + code % width
                offset += width
        pointers = np.arange(n + 1, dtype=np.int64) * d
        return csr_matrix((value.ravel(), index.ravel(), pointers), shape=(n, offset))

    def _scaled(self, j: int, code: NDArray[Any]) -> NDArray[np.float64]:
        if self.scale:
            return np.asarray((code - self.centre[j]) / self.scale[j], dtype=np.float64)
        return np.asarray(code / max(1, self.columns[j].cardinality - 1), dtype=np.float64)
