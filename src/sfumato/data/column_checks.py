"""Checks that columns of every kind share, and what their errors say."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

    from sfumato.data.reading import Reading

Policy = Literal["error", "clamp", "missing"]
Codes = NDArray[np.int64]

_PROVENANCE = re.compile(r"public(: \S.*)?|ledger:\S+")

_NOTHING = frozenset(
    (
        "",
        "-",
        "--",
        "?",
        ".",
        "n/a",
        "#n/a",
        "na",
        "nan",
        "nil",
        "none",
        "null",
        "missing",
        "unknown",
    )
)


def narrowest(size: int) -> type[np.unsignedinteger[Any]]:
    """The smallest unsigned integer type that holds codes below ``size``."""
    return np.uint8 if size <= 1 << 8 else np.uint16 if size <= 1 << 16 else np.uint32


def check_common(name: str, missing: bool, outside: str, provenance: str) -> None:
    """Refuses facts that no column can have."""
    if not isinstance(name, str) or not name:
        raise InputError(f"a column is named {name!r}", "Give it a name.")
    if not isinstance(missing, bool):
        raise InputError(f"column {name!r}: missing is {missing!r}", "Use true or false.")
    if outside not in get_args(Policy):
        raise InputError(
            f"column {name!r}: outside is {outside!r}", f"Use {', '.join(get_args(Policy))}."
        )
    if outside == "missing" and not missing:
        raise InputError(
            f"column {name!r}: outside is missing, but the column has no missing level",
            "Add missing: true.",
        )
    check_provenance(f"column {name!r}", provenance)


def check_reading(name: str, reading: Reading | None, *, numbers: bool, dates: bool) -> None:
    """Refuses a way of reading that a column of this kind has no use for."""
    if reading is None:
        return
    if reading.numbers and not numbers:
        raise InputError(
            f"column {name!r}: levels are texts, and decimal, thousands or strip is given",
            "Make the type integer or number, or list the levels as they stand.",
        )
    if reading.how == "date" and not dates:
        raise InputError(f"column {name!r}: dates are days", "Make the type date.")


def check_provenance(where: str, provenance: str) -> None:
    """Refuses a fact that says neither that it is public nor how it was paid for."""
    if not _PROVENANCE.fullmatch(provenance):
        raise InputError(
            f"{where}: provenance is {provenance!r}",
            "Use public, public: SOURCE or ledger:ENTRY.",
        )


def unless_nothing(value: object, remedy: str) -> str:
    """A remedy for a value that does not fit; one that seems to say "none" may be declared so."""
    if str(value).strip().casefold() not in _NOTHING:
        return remedy
    return (
        f"{remedy} If it means that there is none, list it under na_values: in the schema, beside "
        "'' and NA, which that replaces."
    )


def row_of(first_row: int | None, at: int) -> str:
    """Where a value is, in words; nothing where rows have no order."""
    return "" if first_row is None else f" in row {first_row + at + 1}"


def missing_value(
    name: str, array: pa.Array, absent: NDArray[np.bool_], first_row: int | None
) -> InputError:
    """What to say of a value that is missing and may not be."""
    at = int(np.argmax(absent))
    what = "NaN" if array[at].is_valid else "no value"
    return InputError(
        f"column {name!r}: {what}{row_of(first_row, at)}",
        "Fill it in, or declare missing: true in the schema.",
    )


def checked(codes: NDArray[Any], size: int, name: str) -> Codes:
    """Codes below ``size`` as int64.

    Raises:
        InputError: If they are none.
    """
    codes = np.asarray(codes)
    if codes.size and (codes.dtype.kind not in "iu" or codes.min() < 0 or codes.max() >= size):
        raise InputError(
            f"column {name!r}: codes are not integers from 0 to {size - 1}",
            "Give codes as the column's encode() returns them.",
        )
    return codes.astype(np.int64)
