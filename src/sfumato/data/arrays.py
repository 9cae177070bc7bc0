"""What Arrow arrays of any type spell: numbers, or the texts of levels."""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

_NUMBER = r"^[+-]?(\d+\.?\d*([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?|[nN][aA][nN]|[iI][nN][fF])$"


def flatten(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    """One array of what may come in chunks."""
    import pyarrow as pa

    if not isinstance(array, pa.ChunkedArray):
        return array
    if array.num_chunks == 1:
        return array.chunk(0)
    if pa.types.is_dictionary(array.type):
        array = array.unify_dictionaries()
    return array.combine_chunks() if array.num_chunks else pa.array([], array.type)


def read_numbers(
    array: pa.Array, name: str
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Numbers, where they are absent, and where a text spells none; never NaN.

    Raises:
        InputError: If the array's type has nothing to do with numbers.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    unreadable = np.zeros(len(array), np.bool_)
    if is_text(array.type):
        array = pc.utf8_trim_whitespace(array)
        readable = pc.fill_null(pc.match_substring_regex(array, _NUMBER), True)
        unreadable = ~readable.to_numpy(zero_copy_only=False)
        if unreadable.any():
            array = pc.if_else(readable, array, pa.scalar("0", array.type))
        # Arrow does not read a leading plus.
        array = pc.replace_substring_regex(array, r"^\+", "")
    elif pa.types.is_temporal(array.type) or pa.types.is_nested(array.type):
        raise InputError(
            f"column {name!r} holds {array.type}, not numbers", "Convert it to numbers or levels."
        )
    floats = pc.cast(array, pa.float64(), safe=False)
    values = pc.fill_null(floats, np.nan).to_numpy(zero_copy_only=False)
    absent = np.isnan(values)
    return np.where(absent, 0.0, values), absent, unreadable


def refuse_nested(array: pa.Array, name: str, wanted: str) -> None:
    """Refuses lists, structures and maps, which spell no single value.

    Raises:
        InputError: Naming the column and its type.
    """
    import pyarrow as pa

    if pa.types.is_nested(array.type):
        raise InputError(
            f"column {name!r} holds {array.type}, not {wanted}",
            "Take its parts out into columns of their own, or list it under drop:.",
        )


def spelt(array: pa.Array, dtype: str) -> pa.Array:
    """Values as they are spelt in levels."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = array.type
    if is_text(kind):
        if dtype == "bool":
            return _spell_truth(array)
        # string_view and the like have no index_in kernel
        return array if kind in (pa.string(), pa.large_string()) else pc.cast(array, pa.string())
    if dtype == "bool" and (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        other = pc.cast(array, pa.string())
        return pc.if_else(
            pc.equal(array, 1), "true", pc.if_else(pc.equal(array, 0), "false", other)
        )
    if pa.types.is_floating(kind) and dtype == "int64":
        # pandas turns integers with gaps into floats: 1.0 is the level "1" of an integer column.
        whole = pc.equal(pc.floor(array), array)
        texts = pc.cast(pc.cast(array, pa.int64(), safe=False), pa.string())
        return pc.if_else(whole, texts, pc.cast(array, pa.string()))
    if pa.types.is_floating(kind) and dtype == "float64":
        return _spell_floats(array)
    if pa.types.is_time(kind):  # as fine as engines have it, which differ
        array = pc.cast(array, pa.time64("us"), safe=False)
    return pc.cast(array, pa.string())


_TRUTHS = {
    "true": ("true", "t", "yes", "y", "on", "1", "1.0"),
    "false": ("false", "f", "no", "n", "off", "0", "0.0"),
}


def _spell_truth(array: pa.Array) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    lower = pc.utf8_lower(pc.utf8_trim_whitespace(array))
    for level, words in _TRUTHS.items():
        means = pc.is_in(lower, value_set=pa.array(words, lower.type))
        lower = pc.if_else(means, pa.scalar(level, lower.type), lower)
    return lower


def _spell_floats(array: pa.Array) -> pa.Array:
    import pyarrow as pa

    return pa.array(
        [None if x is None or x != x else repr(x) for x in array.to_pylist()], pa.string()
    )


def is_text(kind: pa.DataType) -> bool:
    """Whether an Arrow type is one of those that hold text."""
    import pyarrow as pa

    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def show(array: pa.Array, at: int) -> str:
    """A value as an error names it, cut where it is long.

    Of several lines only their number is named: a quote that nobody closed makes one value of the
    rest of its row and of the rows that follow, which are other people's.
    """
    value = array[at].as_py()
    if isinstance(value, str) and (lines := len(value.splitlines())) > 1:
        return f"a text of {lines} lines (is a quote not closed?)"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def of_frame(frame: Any, wanted: Container[str]) -> pa.Table:
    """The wanted columns of a data frame; NaN, None and NaT are missing values.

    Args:
        frame: A pandas data frame with names that are each there once.
        wanted: Names.
    """
    import pyarrow as pa

    arrays = {}
    for place, name in enumerate(map(str, frame.columns)):
        if name not in wanted:
            continue
        series = frame.iloc[:, place]
        try:
            arrays[name] = pa.array(series, from_pandas=True)
        except (pa.ArrowException, TypeError):
            # Mixed types: what they spell is compared with the declared facts.
            spelt = [
                None if gone else str(x) for x, gone in zip(series, series.isna(), strict=True)
            ]
            arrays[name] = pa.array(spelt, pa.string())
    return pa.table(arrays)
