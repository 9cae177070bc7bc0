"""Columns of levels: texts, numbers or truth values from a public list, ordered or not."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sfumato.data.arrays import flatten, refuse_nested, show, spelt
from sfumato.data.column_checks import (
    Codes,
    Policy,
    check_common,
    check_reading,
    checked,
    missing_value,
    row_of,
    unless_nothing,
)
from sfumato.data.personal import looks_personal
from sfumato.data.reading import Reading
from sfumato.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

_SPELLINGS: dict[str, Callable[[str], Any]] = {
    "string": str,
    "int64": int,
    "float64": float,
    "bool": {"false": False, "true": True}.__getitem__,
}


@dataclass(frozen=True)
class Categorical:
    """One of the declared levels, in no order.

    Args:
        name: The column's name in the data.
        levels: All values there can be, as text; code ``i`` is ``levels[i]``.
        missing: Whether values may be missing.
        outside: What becomes of an undeclared value: ``"error"`` or ``"missing"``.
        dtype: What levels decode to: ``"string"``, ``"int64"``, ``"float64"`` or ``"bool"``, which
            also reads yes and no, y and n, t and f, on and off, 1 and 0, in any case.
        provenance: ``"public"``, ``"public: SOURCE"`` or ``"ledger:ENTRY"``.
        reading: How values are read from the data; None: as they stand there.

    Raises:
        InputError: If the facts contradict each other.

    >>> Categorical("sex", ("Female", "Male"), missing=True).size
    3
    """

    name: str
    levels: tuple[str, ...]
    missing: bool = False
    outside: Policy = "error"
    dtype: str = "string"
    provenance: str = "public"
    reading: Reading | None = None

    ordered: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_common(self.name, self.missing, self.outside, self.provenance)
        check_reading(self.name, self.reading, numbers=False, dates=False)
        object.__setattr__(self, "levels", tuple(self.levels))
        if self.outside == "clamp":
            raise InputError(
                f"column {self.name!r}: outside is clamp, but levels have no nearest one",
                "Use error or missing.",
            )
        if not self.levels:
            raise InputError(f"column {self.name!r} has no levels", "Declare every public level.")
        seen: set[str] = set()
        for level in self.levels:
            if isinstance(level, str) and "@" in level and "." in level.partition("@")[2]:
                raise InputError(
                    f"column {self.name!r}: level {level!r} looks like an e-mail address",
                    "Contact details are not published: list the column under drop:.",
                )
            if not isinstance(level, str):
                raise InputError(f"column {self.name!r}: level {level!r} is no text", "Quote it.")
            if level in seen:
                raise InputError(
                    f"column {self.name!r}: level {level!r} is there twice", "Drop one."
                )
            seen.add(level)
        if self.dtype not in _SPELLINGS:
            raise InputError(
                f"column {self.name!r}: dtype is {self.dtype!r}", f"Use {', '.join(_SPELLINGS)}."
            )
        for level in self.levels:
            if not _spells(level, self.dtype):
                raise InputError(
                    f"column {self.name!r}: level {level!r} does not spell a value of {self.dtype}",
                    "Write the level as the value is printed, or make the dtype string.",
                )

    @property
    def cardinality(self) -> int:
        """Number of levels, without the missing one."""
        return len(self.levels)

    @property
    def size(self) -> int:
        """Number of codes, the missing level included."""
        return self.cardinality + self.missing

    def encode(self, array: pa.Array | pa.ChunkedArray, *, first_row: int | None = 0) -> Codes:
        """Codes of an Arrow array of texts, integers or truth values.

        Args:
            array: (n,) values; nulls (and NaN) are missing.
            first_row: Rows before this array, so that an error names the right row; None where rows
                have no order, and an error names none.

        Returns:
            (n,) codes in ``[0, size)``.

        Raises:
            InputError: Naming column, value and row (counted from 1), as ``outside`` demands.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        flat = flatten(array)
        refuse_nested(flat, self.name, "levels")
        if pa.types.is_dictionary(flat.type):
            words = spelt(flat.dictionary, self.dtype)
            places = pc.index_in(words, value_set=pa.array(self.levels, words.type))
            found = pc.take(places, flat.indices)
        else:
            words = spelt(flat, self.dtype)
            found = pc.index_in(words, value_set=pa.array(self.levels, words.type))
        codes: Codes = pc.fill_null(found, -1).to_numpy(zero_copy_only=False).astype(np.int64)
        if not found.null_count:
            return codes
        absent: NDArray[np.bool_] = pc.is_null(flat, nan_is_null=True).to_numpy(
            zero_copy_only=False
        )
        unknown = (codes < 0) & ~absent
        if absent.any() and not self.missing:
            raise missing_value(self.name, flat, absent, first_row)
        if unknown.any() and self.outside == "error":
            at = int(np.argmax(unknown))
            value = str(flat[at].as_py())
            remedy = unless_nothing(
                value, "Correct the value, declare the level, or declare outside: missing."
            )
            key = _key(value)
            like = next((level for level in self.levels if _key(level) == key), None)
            if like is not None:
                remedy = (
                    f"It is {like!r} but for blanks, case or the form of its letters: write the "
                    "two alike, or declare outside: missing."
                )
            elif looks_personal(value):
                remedy = (
                    "Names, contact details and free text are not published: list the column "
                    "under drop:. If it is a level all the same, declare it."
                )
            raise InputError(
                f"column {self.name!r}: {self._shown(flat, at)}{row_of(first_row, at)} is none of "
                f"its {self.cardinality} declared levels",
                remedy,
            )
        codes[codes < 0] = self.cardinality
        return codes

    def _shown(self, array: pa.Array, at: int) -> str:
        """A value as an error names it: times and dates in the words that a level would have."""
        import pyarrow as pa

        if pa.types.is_temporal(array.type):
            return show(spelt(array.slice(at, 1), self.dtype), 0)
        return show(array, at)

    def decode(self, codes: NDArray[Any]) -> pa.Array:
        """The Arrow array that codes stand for, in the column's dtype; null where missing."""
        import pyarrow as pa
        import pyarrow.compute as pc

        codes = checked(codes, self.size, self.name)
        typed = pa.array([_SPELLINGS[self.dtype](level) for level in self.levels], self._arrow_type)
        return pc.take(typed, pa.array(codes, mask=codes == self.cardinality))

    @property
    def _arrow_type(self) -> pa.DataType:
        import pyarrow as pa

        return pa.bool_() if self.dtype == "bool" else pa.type_for_alias(self.dtype)


@dataclass(frozen=True)
class Ordinal(Categorical):
    """One of the declared levels, listed from lowest to highest."""

    ordered: ClassVar[bool] = True


def _key(text: str) -> str:
    """What two texts have in common that look alike."""
    return unicodedata.normalize("NFKC", text).strip().casefold()


def _spells(level: str, dtype: str) -> bool:
    try:
        value = _SPELLINGS[dtype](level)
    except (KeyError, ValueError):
        return False
    return dtype != "int64" or str(value) == level
