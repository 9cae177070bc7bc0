"""Contingency tables: one aggregate in the query engine, or a count over codes in memory."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.data.axes import Axis
from sfumato.data.columns import Column, Numeric
from sfumato.errors import InputError

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from sfumato.data.schema import Schema

_LARGEST_TABLE = 1 << 27
Counts = NDArray[np.int64]


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


def from_codes(codes: Mapping[str, NDArray[Any]], axes: Sequence[Axis], schema: Schema) -> Counts:
    """Counts (n,) codes a column into a table of ``shape_of(axes)``."""
    shape = shape_of(axes, schema)
    flat: NDArray[np.int64] | None = None
    for axis, size in zip(axes, shape, strict=True):
        column = schema[axis.column]
        index = axis.index(codes[axis.column], column)
        flat = index if flat is None else flat * size + index
    assert flat is not None
    return np.bincount(flat, minlength=math.prod(shape)).astype(np.int64).reshape(shape)


def from_parquet(
    files: Sequence[Path], axes_lists: Sequence[Sequence[Axis]], schema: Schema
) -> list[Counts] | None:
    """One aggregate a table, in DuckDB through Ibis; only group counts leave the engine.

    Returns:
        A table for each list of axes, or None if a value lies outside the declared facts (the
        caller's pass over the rows then names it).
    """
    import ibis

    connection = ibis.duckdb.connect()
    try:
        rows = connection.read_parquet([str(path) for path in files])
        tables = [_aggregate(rows, axes, schema) for axes in axes_lists]
    finally:
        connection.disconnect()
    found = [table for table in tables if table is not None]
    return found if len(found) == len(tables) else None


def _aggregate(rows: ir.Table, axes: Sequence[Axis], schema: Schema) -> Counts | None:
    import pyarrow as pa

    shape = shape_of(axes, schema)
    keys = {
        f"axis{i}": _key(rows[axis.column], axis, schema[axis.column])
        for i, axis in enumerate(axes)
    }
    groups: pa.Table = rows.group_by(**keys).aggregate(records=rows.count()).to_pyarrow()
    flat = np.zeros(groups.num_rows, np.int64)
    for i, (axis, size) in enumerate(zip(axes, shape, strict=True)):
        index = _index(groups.column(f"axis{i}"), axis, schema[axis.column], schema)
        if index is None:
            return None
        flat = flat * size + index
    counts = np.zeros(math.prod(shape), np.int64)
    np.add.at(counts, flat, groups.column("records").to_numpy())
    return counts.reshape(shape)


def _key(value: ir.Value, axis: Axis, column: Column) -> ir.Value:
    """What the engine groups by: a number's place on the axis, any other value as it stands."""
    import ibis

    if not isinstance(column, Numeric):
        return value
    number = (
        value.strip().try_cast("float64") if value.type().is_string() else value.cast("float64")
    )
    place = (number.clip(column.lower, column.upper) - column.lower) / column.granularity + 0.5
    code = place.floor().cast("int64")
    if axis.bins is not None:
        code = code * axis.groups(column) // column.cardinality
    missing = ibis.literal(axis.groups(column) if column.missing else -1, "int64")
    inside = number.between(column.lower - column.tolerance, column.upper + column.tolerance)
    if column.outside == "clamp":
        outside = code
    elif column.outside == "missing":
        outside = missing
    else:
        outside = ibis.literal(-1, "int64")
    absent = number.isnull() | number.isnan()
    unreadable = number.isnull() & value.notnull()
    bad = ibis.literal(-1, "int64") if column.outside == "error" else missing
    return ibis.cases((unreadable, bad), (absent, missing), (inside, code), else_=outside)


def _index(keys: Any, axis: Axis, column: Column, schema: Schema) -> NDArray[np.int64] | None:
    if isinstance(column, Numeric):
        places: NDArray[np.int64] = keys.to_numpy()
        return None if (places < 0).any() else places
    try:
        codes = column.encode(blank(keys, column, schema.na_values or ()))
    except InputError:
        return None
    return axis.index(codes, column)


def blank(array: Any, column: Column | None, tokens: Sequence[str]) -> Any:
    """Nulls in place of the texts that mean "missing", unless they are declared levels."""
    import pyarrow as pa
    import pyarrow.compute as pc

    levels = () if column is None or isinstance(column, Numeric) else column.levels
    tokens = [token for token in tokens if token not in levels]
    if not tokens:
        return array
    if pa.types.is_dictionary(array.type):
        array = pc.cast(array, array.type.value_type)
    if not (pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
        return array
    means_missing = pc.is_in(array, value_set=pa.array(tokens, array.type))
    return pc.if_else(means_missing, pa.scalar(None, array.type), array)
