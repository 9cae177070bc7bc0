"""How a column's values are read from what stands in the data: a function of one value alone.

Every parameter is declared, so what a row says depends on that row and on public facts only: no
format is guessed from other rows. Whatever cannot be read is left as it stands, and is then named,
or made missing, as the column declares for values outside its facts.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sfumato.data.arrays import is_text
from sfumato.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

DATES = ("date", "age", "year", "month", "weekday")
WAYS = ("as is", *DATES)
ISO = "%Y-%m-%d"
_ISO_DATE = r"^(\d{4}-\d{2}-\d{2})([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?$"
_UNREAD = " ?"
_BLANKS = "\u00a0\u202f\u2009"  # that stand between thousands, or before a sign


@dataclass(frozen=True)
class Reading:
    """Public parameters of how one column is read.

    Args:
        of: Column of the data that the values come from; None: the one of the same name.
        how: ``"as is"``; of a date: ``"date"``, ``"age"`` (whole years at ``at``), ``"year"``,
            ``"month"`` (1 to 12) or ``"weekday"`` (1, Monday, to 7).
        format: Of dates in texts, as for ``strptime``; None: ISO 8601, with or without a time.
        at: ISO date at which ages are counted.
        decimal: What stands before the decimals of numbers in texts.
        thousands: What may stand between their thousands; empty for nothing.
        strip: Signs that may stand before or after numbers in texts, such as ``"€%"``.

    Raises:
        InputError: If the parameters contradict each other.
    """

    of: str | None = None
    how: str = "as is"
    format: str | None = None
    at: str | None = None
    decimal: str = "."
    thousands: str = ""
    strip: str = ""

    def __post_init__(self) -> None:
        if self.how not in WAYS:
            raise InputError(f"a column is read as {self.how!r}", f"Use {', '.join(WAYS[1:])}.")
        if self.of is not None and not self.of:
            raise InputError("a column is read from a column without a name", "Name it.")
        if (self.at is not None) != (self.how == "age"):
            raise InputError(
                f"as is {self.how!r} and at is {self.at!r}",
                "An age needs a public reference date, as at: 2024-01-01; nothing else has one.",
            )
        if self.at is not None:
            day(self.at)
        if self.format is not None and self.how not in DATES:
            raise InputError(f"format {self.format!r} is of no date", "Leave it out.")
        if self.format is not None and "%" not in self.format:
            raise InputError(f"format is {self.format!r}", "Write it as %d.%m.%Y.")
        marks = (self.decimal, self.thousands)
        if len(self.decimal) != 1 or len(self.thousands) > 1 or self.decimal == self.thousands:
            raise InputError(
                f"decimal is {self.decimal!r} and thousands is {self.thousands!r}",
                "Give two different characters; thousands may be left out.",
            )
        for mark in (*marks, *self.strip):
            if mark and (mark.isdigit() or mark in "+-"):
                raise InputError(f"{mark!r} is a part of numbers", "Give another character.")

    @property
    def numbers(self) -> bool:
        """Whether numbers in texts are written otherwise than in English."""
        return (self.decimal, self.thousands, self.strip) != (".", "", "")

    def read(self, array: pa.Array) -> pa.Array:
        """Values as the column's own facts expect them; what cannot be read stays as it is.

        Args:
            array: (n,) values as they stand in the data.

        Returns:
            (n,) integers or texts; dates as days since 1970-01-01.
        """
        import pyarrow as pa

        if pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        if self.how in DATES:
            return self._from_dates(array)
        return self._from_numbers(array) if self.numbers and is_text(array.type) else array

    def _from_numbers(self, array: pa.Array) -> pa.Array:
        import pyarrow as pa
        import pyarrow.compute as pc

        blank = f"[{re.escape(self.strip)}\\s{_BLANKS}]*"
        text = pc.replace_substring_regex(pc.cast(array, pa.string()), f"^{blank}", "")
        text = pc.replace_substring_regex(text, f"^([+-]){blank}", r"\1")
        text = pc.replace_substring_regex(text, f"{blank}$", "")
        point = re.escape(self.decimal)
        between = f"[{_BLANKS} ]" if self.thousands == " " else re.escape(self.thousands)
        whole = rf"(?:\d{{1,3}}(?:{between}\d{{3}})+|\d+)" if self.thousands else r"\d+"
        pattern = rf"^[+-]?(?:{whole}(?:{point}\d*)?|{point}\d+)(?:[eE][+-]?\d+)?$"
        fine = pc.match_substring_regex(text, pattern)
        plain = text
        if self.thousands:
            plain = pc.replace_substring_regex(plain, between, "")
        plain = pc.replace_substring(plain, self.decimal, ".")
        spelt = pc.or_(pc.is_in(pc.utf8_lower(text), value_set=pa.array(["nan"])), fine)
        return pc.if_else(pc.or_(spelt, pc.equal(text, "")), plain, _unread(array))

    def _from_dates(self, array: pa.Array) -> pa.Array:
        import pyarrow as pa
        import pyarrow.compute as pc

        days, unread = self._days(array)
        if self.how == "date":
            values = pc.cast(days, pa.int32())
        elif self.how == "year":
            values = pc.year(days)
        elif self.how == "month":
            values = pc.month(days)
        elif self.how == "weekday":
            values = pc.day_of_week(days, count_from_zero=False)
        else:
            assert self.at is not None
            at = day(self.at)
            later = pc.or_(
                pc.greater(pc.month(days), at.month),
                pc.and_(pc.equal(pc.month(days), at.month), pc.greater(pc.day(days), at.day)),
            )
            years = pc.subtract(at.year, pc.year(days))
            values = pc.subtract(years, pc.cast(later, pa.int64()))
        if unread is None:
            return pc.cast(values, pa.int64())
        texts = pc.cast(values, pa.string())
        return pc.if_else(unread, _unread(array), texts)

    def _days(self, array: pa.Array) -> tuple[pa.Array, pa.Array | None]:
        """Dates, null where there is none; and where a text spells none (None: nowhere)."""
        import pyarrow as pa
        import pyarrow.compute as pc

        kind = array.type
        if pa.types.is_null(kind):
            return pc.cast(array, pa.date32()), None
        if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
            if pa.types.is_timestamp(kind) and kind.tz is not None:
                array = pc.local_timestamp(array)
            return pc.cast(array, pa.date32(), safe=False), None
        texts = pc.utf8_trim_whitespace(pc.cast(array, pa.string()))
        if self.format is None:
            iso = pc.fill_null(pc.match_substring_regex(texts, _ISO_DATE), False)
            cut = pc.utf8_slice_codeunits(texts, 0, 10)
            texts = pc.if_else(iso, cut, pc.if_else(pc.equal(texts, ""), None, "-"))
        else:
            texts = pc.if_else(pc.equal(texts, ""), None, texts)
        read = pc.strptime(texts, format=self.format or ISO, unit="s", error_is_null=True)
        days = pc.cast(read, pa.date32(), safe=False)
        # 2020-02-31 is read as the 2nd of March: a day that another day spells is none.
        if "%d" in (self.format or ISO):
            number = pc.cast(pc.struct_field(_day_of(texts, self.format or ISO), "day"), pa.int64())
            days = pc.if_else(pc.equal(number, pc.day(days)), days, None)
        unread = pc.and_(pc.is_valid(texts), pc.is_null(days))
        return days, unread


def _unread(array: pa.Array) -> pa.Array:
    """Texts as they stand, marked so that none is taken for a number.

    What is no number or date here may spell a number elsewhere: "1.5" where decimals have commas.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.binary_join_element_wise(pc.cast(array, pa.string()), _UNREAD, "")


def as_it_stood(shown: str) -> str:
    """What an error shows of a text, without the mark that it is unread."""
    return re.sub(rf"{re.escape(_UNREAD)}(?=['\"]$)", "", shown)


def _day_of(texts: pa.Array, form: str) -> pa.Array:
    """The digits that stand for the day of the month."""
    import pyarrow.compute as pc

    known = {
        "%d": r"(?P<day>\d{1,2})",
        "%Y": r"\d{4}",
        "%m": r"\d{1,2}",
        "%y": r"\d{2}",
        "%H": r"\d{1,2}",
        "%M": r"\d{1,2}",
        "%S": r"\d{1,2}",
    }
    parts = re.split(r"(%.)", form)
    pattern = "".join(known.get(p, r".+?" if p.startswith("%") else re.escape(p)) for p in parts)
    return pc.extract_regex(texts, rf"^{pattern}$")


def day(text: Any, where: str = "") -> datetime.date:
    """A date from its ISO text.

    Args:
        text: The text, or a date.
        where: What an error begins with.

    Raises:
        InputError: If it is none.
    """
    if isinstance(text, datetime.date) and not isinstance(text, datetime.datetime):
        return text
    try:
        return datetime.date.fromisoformat(str(text))
    except ValueError:
        raise InputError(f"{where}{text!r} is no date", "Write it as 2024-01-31.") from None
