"""Columns as integers on a public grid: the one encoding that every method shares.

A column's facts (bounds, levels, whether values may be missing) are public; its values are
arguments. Code ``cardinality`` stands for a missing value, which is a level like any other.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from sfumato.data.arrays import flatten, read_numbers, show, spelt
from sfumato.data.personal import looks_personal
from sfumato.data.reading import Reading, day
from sfumato.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

Policy = Literal["error", "clamp", "missing"]
Codes = NDArray[np.int64]

_LARGEST_GRID = 2**31 - 1
_EXACT = 2.0**53  # whole numbers beyond are not all told apart by float64
_EPOCH = datetime.date(1970, 1, 1)
_PROVENANCE = re.compile(r"public(: \S.*)?|ledger:\S+")


@dataclass(frozen=True)
class Numeric:
    """A number on the grid ``lower, lower + granularity, ..., upper``.

    Values between two grid points are rounded to the nearer one (halves upwards), so the
    granularity is the published precision.

    Args:
        name: The column's name in the data.
        lower: Smallest value, inclusive.
        upper: Largest value, inclusive.
        granularity: Step of the grid; divides ``upper - lower``.
        missing: Whether values may be missing.
        outside: What becomes of a value outside the bounds: ``"error"``, ``"clamp"`` to the
            nearer bound, or ``"missing"`` (which needs ``missing=True``). Text that spells no
            number has no nearer bound: it is missing where values may be, else an error.
        integer: Whether values are decoded as integers.
        provenance: ``"public"``, ``"public: SOURCE"`` or ``"ledger:ENTRY"``.
        reading: How values are read from the data; None: as they stand there.

    Raises:
        InputError: If the facts contradict each other.

    >>> age = Numeric("age", 0, 90, 1, integer=True)
    >>> age.cardinality, age.size
    (91, 91)
    """

    name: str
    lower: float
    upper: float
    granularity: float
    missing: bool = False
    outside: Policy = "error"
    integer: bool = False
    provenance: str = "public"
    reading: Reading | None = None

    ordered: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_common(self.name, self.missing, self.outside, self.provenance)
        _check_reading(self)
        for key in ("lower", "upper", "granularity"):
            value = getattr(self, key)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not math.isfinite(value):
                raise InputError(f"column {self.name!r}: {key} is {value!r}", "Give a number.")
            if abs(value) > _EXACT and self.integer:
                raise InputError(
                    f"column {self.name!r}: {key} is {value:.6g}, and whole numbers beyond 2^53 "
                    "are not told apart exactly",
                    "They are ids as a rule: list the column under drop:, or make it a unit.",
                )
            if self.integer and value != round(value):
                raise InputError(
                    f"column {self.name!r}: {key} is {value!r} but the type is integer",
                    "Give a whole number, or make the type number.",
                )
        if self.lower >= self.upper:
            raise InputError(
                f"column {self.name!r}: lower {self.lower:g} is not below upper {self.upper:g}",
                "Give public bounds with lower < upper.",
            )
        if self.granularity <= 0:
            raise InputError(
                f"column {self.name!r}: granularity is {self.granularity:g}",
                "Give the step of the published values, above 0.",
            )
        steps = (self.upper - self.lower) / self.granularity
        if abs(steps - round(steps)) > 1e-6 or round(steps) < 1:
            above = self.lower + max(1, math.ceil(steps)) * self.granularity
            raise InputError(
                f"column {self.name!r}: granularity {self.granularity:g} does not divide "
                f"{self.lower:g}..{self.upper:g}",
                f"Make upper {above:g}, or choose another granularity.",
            )
        if steps >= _LARGEST_GRID:
            raise InputError(
                f"column {self.name!r}: the grid has {steps:.3g} values", "Coarsen granularity."
            )

    @cached_property
    def cardinality(self) -> int:
        """Number of grid values, without the missing level."""
        return round((self.upper - self.lower) / self.granularity) + 1

    @property
    def size(self) -> int:
        """Number of codes, the missing level included."""
        return self.cardinality + self.missing

    @property
    def tolerance(self) -> float:
        """How far past a bound a value may lie before it counts as outside (rounding error)."""
        return 1e-9 * self.granularity

    def encode(self, array: pa.Array | pa.ChunkedArray, *, first_row: int | None = 0) -> Codes:
        """Codes of an Arrow array of numbers, or of texts that spell numbers.

        Args:
            array: (n,) values; nulls and NaN are missing.
            first_row: Rows before this array, so that an error names the right row; None where rows
                have no order, and an error names none.

        Returns:
            (n,) codes in ``[0, size)``.

        Raises:
            InputError: Naming column, value and row (counted from 1), as ``outside`` demands.
        """
        flat = flatten(array)
        values, absent, unreadable = read_numbers(flat, self.name)
        outside = (values < self.lower - self.tolerance) | (values > self.upper + self.tolerance)
        outside = (outside & ~absent) | unreadable
        if not self.missing and absent.any():
            # A NaN that stands in the data is named as such, a null as missing.
            raise _missing(self.name, flat, absent, first_row)
        if self.missing and self.outside == "clamp":
            absent, outside = absent | unreadable, outside & ~unreadable
        refused = outside if self.outside == "error" else unreadable & ~absent
        if self.outside != "missing" and refused.any():
            at = int(np.argmax(refused))
            raise InputError(
                f"column {self.name!r}: {show(flat, at)}{_row(first_row, at)} is not a "
                f"number within the declared {self.lower:g}..{self.upper:g}",
                "Correct the value, widen the public bounds, or declare outside: clamp.",
            )
        bounded = np.clip(values, self.lower, self.upper)
        codes = np.floor((bounded - self.lower) / self.granularity + 0.5)
        if self.outside == "missing":
            absent = absent | outside
        codes[absent] = self.cardinality
        return codes.astype(np.int64)

    def values(self, codes: NDArray[Any]) -> NDArray[np.float64]:
        """(n,) numbers that codes stand for; NaN where missing."""
        codes = _checked(codes, self.size, self.name)
        numbers = np.round(self.lower + codes * self.granularity, self._digits)
        return np.where(codes == self.cardinality, np.nan, numbers)

    def decode(self, codes: NDArray[Any]) -> pa.Array:
        """The Arrow array that codes stand for, int64 or float64; null where missing."""
        import pyarrow as pa

        codes = _checked(codes, self.size, self.name)
        absent = codes == self.cardinality
        if self.integer:
            whole = int(self.lower) + codes * int(self.granularity)
            return pa.array(whole, pa.int64(), mask=absent)
        return pa.array(self.values(codes), pa.float64(), mask=absent)

    @cached_property
    def _digits(self) -> int:
        """Decimals that the grid needs, so that 3 * 0.1 decodes as 0.3."""
        parts = (Decimal(repr(float(x))) for x in (self.lower, self.granularity))
        return max(0, *(-int(part.normalize().as_tuple().exponent) for part in parts))


@dataclass(frozen=True)
class Date(Numeric):
    """A day on the grid ``lower, lower + granularity days, ..., upper``; decoded as a date.

    Args:
        name: The column's name in the data.
        lower: First day, inclusive: a date, its ISO text, or days since 1970-01-01.
        upper: Last day, inclusive.
        granularity: Days between two grid points.
        missing: As for :class:`Numeric`.
        outside: As for :class:`Numeric`.
        integer: Always true: days are whole.
        provenance: As for :class:`Numeric`.
        reading: How texts spell dates; None: ISO 8601.

    Raises:
        InputError: If the facts contradict each other.

    >>> visit = Date("visit", "2020-01-01", "2020-12-31")
    >>> visit.cardinality, visit.day(1).isoformat()
    (366, '2020-01-02')
    """

    lower: Any
    upper: Any
    granularity: float = 1
    integer: bool = True

    def __post_init__(self) -> None:
        for key in ("lower", "upper"):
            value = getattr(self, key)
            if isinstance(value, datetime.date | str):
                object.__setattr__(
                    self, key, (day(value, f"column {self.name!r}: {key} ") - _EPOCH).days
                )
        if not self.integer:
            raise InputError(f"column {self.name!r}: dates are whole days", "Leave integer out.")
        if self.reading is None:
            object.__setattr__(self, "reading", Reading(how="date"))
        elif self.reading.how != "date":
            raise InputError(
                f"column {self.name!r}: a date is read as {self.reading.how!r}",
                "Make the type integer for ages, years, months and weekdays.",
            )
        super().__post_init__()

    def day(self, code: int) -> datetime.date:
        """The day that a code stands for."""
        return _EPOCH + datetime.timedelta(days=int(self.lower + code * self.granularity))

    def decode(self, codes: NDArray[Any]) -> pa.Array:
        """The Arrow array of dates that codes stand for; null where missing."""
        import pyarrow as pa

        days = super().decode(codes)
        return days.cast(pa.int32()).cast(pa.date32())


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
        _check_common(self.name, self.missing, self.outside, self.provenance)
        _check_reading(self)
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
            raise _missing(self.name, flat, absent, first_row)
        if unknown.any() and self.outside == "error":
            at = int(np.argmax(unknown))
            remedy = "Correct the value, declare the level, or declare outside: missing."
            if looks_personal(str(flat[at].as_py())):
                remedy = (
                    "Names, contact details and free text are not published: list the column "
                    "under drop:. If it is a level all the same, declare it."
                )
            raise InputError(
                f"column {self.name!r}: {show(flat, at)}{_row(first_row, at)} is none of "
                f"its {self.cardinality} declared levels",
                remedy,
            )
        codes[codes < 0] = self.cardinality
        return codes

    def decode(self, codes: NDArray[Any]) -> pa.Array:
        """The Arrow array that codes stand for, in the column's dtype; null where missing."""
        import pyarrow as pa
        import pyarrow.compute as pc

        codes = _checked(codes, self.size, self.name)
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


Column = Numeric | Categorical


def narrowest(size: int) -> type[np.unsignedinteger[Any]]:
    """The smallest unsigned integer type that holds codes below ``size``."""
    return np.uint8 if size <= 1 << 8 else np.uint16 if size <= 1 << 16 else np.uint32


_SPELLINGS: dict[str, Callable[[str], Any]] = {
    "string": str,
    "int64": int,
    "float64": float,
    "bool": {"false": False, "true": True}.__getitem__,
}


def _spells(level: str, dtype: str) -> bool:
    try:
        value = _SPELLINGS[dtype](level)
    except (KeyError, ValueError):
        return False
    return dtype != "int64" or str(value) == level


def _check_common(name: str, missing: bool, outside: str, provenance: str) -> None:
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


def _check_reading(column: Any) -> None:
    reading = column.reading
    if reading is None:
        return
    text = not isinstance(column, Numeric)
    if text and reading.numbers:
        raise InputError(
            f"column {column.name!r}: levels are texts, and decimal, thousands or strip is given",
            "Make the type integer or number, or list the levels as they stand.",
        )
    if reading.how == "date" and not isinstance(column, Date):
        raise InputError(f"column {column.name!r}: dates are days", "Make the type date.")


def stored(column: Column) -> str:
    """The column of the data that a column's values come from."""
    return (column.reading.of if column.reading is not None else None) or column.name


def as_written(column: Column) -> Column:
    """The column as it stands in a released table: under its own name, read as it is."""
    reading = Reading(how="date") if isinstance(column, Date) else None
    return replace(column, reading=reading)


def check_provenance(where: str, provenance: str) -> None:
    """Refuses a fact that says neither that it is public nor how it was paid for."""
    if not _PROVENANCE.fullmatch(provenance):
        raise InputError(
            f"{where}: provenance is {provenance!r}",
            "Use public, public: SOURCE or ledger:ENTRY.",
        )


def _row(first_row: int | None, at: int) -> str:
    return "" if first_row is None else f" in row {first_row + at + 1}"


def _missing(
    name: str, array: pa.Array, absent: NDArray[np.bool_], first_row: int | None
) -> InputError:
    at = int(np.argmax(absent))
    what = "NaN" if array[at].is_valid else "no value"
    return InputError(
        f"column {name!r}: {what}{_row(first_row, at)}",
        "Fill it in, or declare missing: true in the schema.",
    )


def _checked(codes: NDArray[Any], size: int, name: str) -> Codes:
    codes = np.asarray(codes)
    if codes.size and (codes.dtype.kind not in "iu" or codes.min() < 0 or codes.max() >= size):
        raise InputError(
            f"column {name!r}: codes are not integers from 0 to {size - 1}",
            "Give codes as the column's encode() returns them.",
        )
    return codes.astype(np.int64)
