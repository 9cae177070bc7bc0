"""Columns of numbers and of dates: a public grid between public bounds."""

from __future__ import annotations

import datetime
import math
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sfumato.data.arrays import flatten, read_numbers, show
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
from sfumato.data.reading import DATES, Reading, as_it_stood, day
from sfumato.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

_LARGEST_GRID = 2**31 - 1
_EXACT = 2.0**53  # whole numbers beyond are not all told apart by float64
_EPOCH = datetime.date(1970, 1, 1)


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
        check_common(self.name, self.missing, self.outside, self.provenance)
        check_reading(self.name, self.reading, numbers=True, dates=isinstance(self, Date))
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
            raise missing_value(self.name, flat, absent, first_row)
        if self.missing and self.outside == "clamp":
            absent, outside = absent | unreadable, outside & ~unreadable
        refused = outside if self.outside == "error" else unreadable & ~absent
        if self.outside != "missing" and refused.any():
            at = int(np.argmax(refused))
            where = f"column {self.name!r}: ", row_of(first_row, at)
            if unreadable[at]:
                raise self._unreadable(as_it_stood(show(flat, at)), where)
            bounds = f"{self._spelt(self.lower)}..{self._spelt(self.upper)}"
            raise InputError(
                f"{self._shown(flat, at).join(where)} is not within the declared {bounds}",
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
        codes = checked(codes, self.size, self.name)
        numbers = np.round(self.lower + codes * self.granularity, self._digits)
        return np.where(codes == self.cardinality, np.nan, numbers)

    def decode(self, codes: NDArray[Any]) -> pa.Array:
        """The Arrow array that codes stand for, int64 or float64; null where missing."""
        import pyarrow as pa

        codes = checked(codes, self.size, self.name)
        absent = codes == self.cardinality
        if self.integer:
            whole = int(self.lower) + codes * int(self.granularity)
            return pa.array(whole, pa.int64(), mask=absent)
        return pa.array(self.values(codes), pa.float64(), mask=absent)

    def _unreadable(self, shown: str, where: tuple[str, str]) -> InputError:
        """What to say of a cell that spells no value."""
        if self.reading is not None and self.reading.how in DATES:
            what, how = "date", "dates are written (format"
        else:
            what, how = "number", "numbers are written (decimal, thousands and strip"
        return InputError(
            f"{shown.join(where)} is not a {what}",
            unless_nothing(
                shown.strip("'"),
                f"Correct the value, say how {how} of the column in the schema), or declare "
                "outside: missing.",
            ),
        )

    def _spelt(self, bound: float) -> str:
        """A bound as an error names it."""
        return f"{bound:g}"

    def _shown(self, array: pa.Array, at: int) -> str:
        """A value that could be read, as an error names it."""
        return show(array, at)

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

    def _spelt(self, bound: float) -> str:
        return str(np.datetime64(int(bound), "D"))  # of any year

    def _shown(self, array: pa.Array, at: int) -> str:
        return repr(self._spelt(int(array[at].as_py())))

    def decode(self, codes: NDArray[Any]) -> pa.Array:
        """The Arrow array of dates that codes stand for; null where missing."""
        import pyarrow as pa

        days = super().decode(codes)
        return days.cast(pa.int32()).cast(pa.date32())
