"""Codes in their narrowest type, a batch at a time: what passes over rows work on.

:meth:`Column.encode` says what a value's code is, and what is wrong with one that has none. Here
it is asked once for each *distinct* value of a batch wherever values repeat, which is what makes a
pass fast; where anything is refused the whole batch is encoded in order, so that errors name the
right row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.data.arrays import flatten, is_text
from sfumato.data.columns import Column, Numeric, narrowest
from sfumato.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

Narrow = NDArray[np.unsignedinteger[Any]]

_REPEATED = 4  # values are looked up once where each occurs at least so often on average


def narrow(
    column: Column,
    array: pa.Array | pa.ChunkedArray,
    tokens: Sequence[str] = (),
    *,
    first_row: int | None = 0,
) -> Narrow:
    """Codes of an Arrow array, (n,), in the narrowest type that holds them.

    Args:
        column: The public facts.
        array: (n,) values.
        tokens: Texts that mean "missing", unless the column declares them as levels.
        first_row: Rows before this array, so that an error names the right row; None where rows
            have no order.

    Raises:
        InputError: As :meth:`Column.encode`.
    """
    kind = narrowest(column.size)
    flat = flatten(array)
    found = _of_integers(column, flat, kind)
    if found is None:
        found = _of_distinct(column, flat, tokens, kind)
    if found is None:
        found = column.encode(blank(flat, column, tokens), first_row=first_row).astype(kind)
    return found


def _of_integers(column: Column, array: pa.Array, kind: Any) -> Narrow | None:
    """Codes of whole numbers on a whole grid; None where the array or the grid is no such thing."""
    import pyarrow as pa

    if not isinstance(column, Numeric) or not pa.types.is_integer(array.type):
        return None
    lower, upper = column.lower, column.upper
    if column.granularity != 1 or lower != int(lower) or array.null_count or not len(array):
        return None
    values: NDArray[Any] = array.to_numpy()
    if int(values.min()) < lower or int(values.max()) > upper:
        return None
    if lower == 0:
        return values.astype(kind)
    return (values.astype(np.int64) - int(lower)).astype(kind)


def _of_distinct(
    column: Column, array: pa.Array, tokens: Sequence[str], kind: Any
) -> Narrow | None:
    """Codes through those of the distinct values; None where that is no gain, or one is refused."""
    import pyarrow as pa

    if not pa.types.is_dictionary(array.type):
        if not (is_text(array.type) or pa.types.is_integer(array.type)):
            return None
        if pa.types.is_string_view(array.type):
            array = array.cast(pa.string())
        array = array.dictionary_encode()
    values = array.dictionary
    if len(values) * _REPEATED > len(array):
        return None
    try:
        codes = column.encode(blank(values, column, tokens)).astype(kind)
    except InputError:
        return None  # it may not even occur; if it does, the caller's pass names its row
    places = array.indices
    if places.null_count:
        if not column.missing:
            return None
        codes = np.append(codes, np.asarray(column.cardinality, kind))
        places = places.fill_null(len(values))
    taken: Narrow = codes.take(places.to_numpy())
    return taken


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


def checked(codes: Mapping[str, NDArray[Any]], columns: Sequence[Column]) -> dict[str, Narrow]:
    """Codes that somebody computed, copied into their narrowest types.

    Args:
        codes: (n,) integers a column.
        columns: Their public facts.

    Raises:
        InputError: If there are none, lengths differ, or a code is none of the column's.
    """
    lengths = {name: len(values) for name, values in codes.items()}
    if len(set(lengths.values())) != 1:
        raise InputError(f"columns have different lengths: {lengths}", "Give one code a row.")
    kept = {}
    for column in columns:
        values = np.asarray(codes[column.name])
        if values.ndim != 1 or values.dtype.kind not in "iu":
            raise InputError(f"codes of {column.name!r} are no row of integers", "Convert them.")
        if len(values) == 0:
            raise InputError("the table has no rows", "Give at least one.")
        if values.min() < 0 or values.max() >= column.size:
            raise InputError(
                f"codes of {column.name!r} reach {values.min()}..{values.max()}",
                f"They must lie in 0..{column.size - 1}.",
            )
        kept[column.name] = values.astype(narrowest(column.size))
    return kept
