"""A few columns of a row as one vector of length at most 1, and back.

A level is a one-hot block, a number its position on the public grid in ``[-1, 1]`` (a missing
number is an entry of its own). Each column adds at most 1 in length, so dividing by the square
root of their number, a public constant, puts every row in the unit ball: nothing is clipped, and no
norm depends on the data. Entries are rounded toward zero to multiples of 2**-9, so that sums of
them and of their products are exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.publish.tables.reports import is_number

if TYPE_CHECKING:
    from sfumato.data import Column


STEP = 2.0**-9
"""What the entries of a vector are multiples of."""

PLANE_STEP = 2.0**-20
"""What the entries of a hyperplane's direction are multiples of."""


@dataclass(frozen=True)
class Embedding:
    """The vector space of some columns.

    Args:
        columns: Their public facts, at least one.
    """

    columns: tuple[Column, ...]

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """Where each column's entries begin; the last is the width."""
        starts = [0]
        for column in self.columns:
            starts.append(starts[-1] + _slots(column))
        return tuple(starts)

    @property
    def width(self) -> int:
        """Entries of a vector."""
        return self.starts[-1]

    @property
    def centre(self) -> NDArray[np.float64]:
        """(width,) the middle of the domain: of numbers 0, of levels equal parts."""
        centre = np.zeros(self.width)
        for column, start in zip(self.columns, self.starts, strict=False):
            if not is_number(column):
                centre[start : start + column.size] = 1 / column.size
        return np.asarray(centre / np.sqrt(len(self.columns)))

    def vectors(self, codes: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
        """(n, width) vectors, each of length at most 1, of (n,) codes a column."""
        n = len(codes[self.columns[0].name])
        made = np.zeros((n, self.width))
        rows = np.arange(n)
        for column, start in zip(self.columns, self.starts, strict=False):
            given = codes[column.name]
            if not is_number(column):
                made[rows, start + given] = 1.0
                continue
            known = given < column.cardinality
            made[known, start] = 2 * given[known] / (column.cardinality - 1) - 1
            if column.missing:
                made[~known, start + 1] = 1.0
        scaled = made / np.sqrt(len(self.columns))
        return np.asarray(np.trunc(scaled / STEP) * STEP)

    def codes(self, vectors: NDArray[np.float64]) -> dict[str, NDArray[np.int64]]:
        """The nearest codes of (n, width) vectors of any length: post-processing."""
        scaled = vectors * np.sqrt(len(self.columns))
        found = {}
        for column, start in zip(self.columns, self.starts, strict=False):
            if not is_number(column):
                found[column.name] = scaled[:, start : start + column.size].argmax(axis=1)
                continue
            steps = column.cardinality - 1
            place = np.clip((scaled[:, start] + 1) / 2 * steps, 0, steps)
            code = np.floor(place + 0.5).astype(np.int64)
            if column.missing:
                code = np.where(scaled[:, start + 1] > 0.5, column.cardinality, code)
            found[column.name] = code
        return found


def directions(width: int, bits: int, seed: int) -> NDArray[np.float64]:
    """(width, bits) public random directions: hyperplanes that know nothing of the rows.

    Entries are multiples of 2**-20, so that products with vectors are exact; see :func:`sides`.
    """
    drawn = np.random.default_rng(seed).standard_normal((width, bits))
    return np.asarray(np.rint(drawn / PLANE_STEP) * PLANE_STEP)


def sides(
    embedding: Embedding, vectors: NDArray[np.float64], planes: NDArray[np.float64]
) -> NDArray[np.int64]:
    """(n,) which of the ``2 ** bits`` pieces of space each vector is in.

    Sums of multiples of 2**-29 below 2**24 are exact in any order: a record's piece is a function
    of the record, whatever batch it comes in.
    """
    above = vectors @ planes > embedding.centre @ planes
    weights = 1 << np.arange(planes.shape[1], dtype=np.int64)
    return np.asarray(above @ weights, dtype=np.int64)


def groups(columns: Sequence[Column], size: int) -> tuple[tuple[Column, ...], ...]:
    """Neighbouring columns of a schema, ``size`` at a time: chosen by their place alone."""
    return tuple(tuple(columns[i : i + size]) for i in range(0, len(columns), size))


def _slots(column: Column) -> int:
    return 1 + column.missing if is_number(column) else column.size
