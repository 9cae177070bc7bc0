"""Contingency tables over codes in memory, however many in one pass."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.data import wide
from sfumato.data.axes import Axis
from sfumato.errors import InputError

if TYPE_CHECKING:
    from sfumato.data.schema import Schema

Counts = NDArray[np.int64]

_LARGEST_TABLE = 1 << 27
_CACHED = 1 << 13  # cells of a table taken for several narrower ones; 64 KiB stay in the cache
_ROWS = 1 << 15  # rows counted at a time, so that their codes stay in the cache too


def shape_of(axes: Sequence[Axis], schema: Schema) -> tuple[int, ...]:
    """The shape of a contingency table.

    Raises:
        InputError: If an axis does not fit its column, or the table would not fit in memory.
    """
    if not axes:
        raise InputError("a contingency table without axes", "Name at least one column.")
    shape = tuple(axis.size(schema[axis.column]) for axis in axes)
    if math.prod(shape) > _LARGEST_TABLE:
        raise InputError(
            f"a table over {', '.join(a.column for a in axes)} has {math.prod(shape):.3g} cells",
            "Count over fewer columns, or give bins.",
        )
    return shape


class Tally:
    """Several contingency tables, filled batch by batch.

    Args:
        requests: The axes of each table.
        schema: The public facts.
        budget: Cells of a table that stands for several narrower ones.

    Raises:
        InputError: If an axis does not fit its column, or a table would not fit in memory.
    """

    def __init__(
        self, requests: Sequence[Sequence[Axis]], schema: Schema, budget: int = _CACHED
    ) -> None:
        for request in requests:
            shape_of(request, schema)
        self._schema = schema
        self._requests = requests
        axes = dict.fromkeys(axis for request in requests for axis in request)
        self._sizes = {axis: axis.size(schema[axis.column]) for axis in axes}
        self.groups, self._holder = wide.cover(requests, self._sizes, budget)
        self._totals = [np.zeros(self._cells(group), np.int64) for group in self.groups]

    def add(self, codes: Mapping[str, NDArray[Any]]) -> None:
        """Counts rows, (b,) codes a column."""
        height = len(next(iter(codes.values())))
        for start in range(0, height, _ROWS):
            places = {
                axis: np.asarray(
                    axis.index(codes[axis.column][start : start + _ROWS], self._schema[axis.column])
                )
                for axis in self._sizes
            }
            for total, group in zip(self._totals, self.groups, strict=True):
                self._count(total, [places[axis] for axis in group], group)

    def add_cells(self, number: int, places: Sequence[NDArray[Any]], records: Counts) -> None:
        """Adds an engine's counts: (k,) places on each axis of a group, and (k,) records."""
        group = self.groups[number]
        flat = np.zeros(len(records), np.int64)
        for axis, place in zip(group, places, strict=True):
            flat = flat * self._sizes[axis] + place
        np.add.at(self._totals[number], flat, records)

    def tables(self) -> list[Counts]:
        """The tables asked for, in their order."""
        shaped = [
            total.reshape([self._sizes[axis] for axis in group])
            for total, group in zip(self._totals, self.groups, strict=True)
        ]
        return [
            wide.summed(shaped[held], self.groups[held], request)
            for held, request in zip(self._holder, self._requests, strict=True)
        ]

    def _count(self, total: Counts, places: Sequence[Counts], group: wide.Group) -> None:
        flat = places[0]
        if len(group) > 1:
            flat = flat * self._sizes[group[1]]
            flat += places[1]
            for axis, place in zip(group[2:], places[2:], strict=True):
                flat *= self._sizes[axis]
                flat += place
        if len(total) <= len(flat):
            total += np.bincount(flat, minlength=len(total))
        else:  # a table of that many cells is not walked through for each few rows
            np.add.at(total, flat, 1)

    def _cells(self, group: Iterable[Axis]) -> int:
        return math.prod(self._sizes[axis] for axis in group)
