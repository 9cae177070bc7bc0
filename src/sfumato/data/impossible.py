"""Structural zeros: combinations of values that are publicly known not to occur."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.data.columns import Column, Date, Numeric
from sfumato.data.reading import day
from sfumato.errors import InputError

if TYPE_CHECKING:
    from sfumato.data.schema import Schema

_BETWEEN = ".."


@dataclass(frozen=True)
class Impossible:
    """One combination that no row has.

    Args:
        values: By column, its values: levels, or of numbers and dates a value or a range such as
            ``"0..12"``, ``"..12"`` or ``"65.."``. A row has the combination if each column holds
            one of its values; a missing value is none of them.

    >>> str(Impossible({"sex": ("male",), "pregnant": ("yes",)}))
    '{sex: male, pregnant: yes}'
    """

    values: Mapping[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        if not isinstance(self.values, Mapping) or len(self.values) < 2:
            raise InputError(
                f"impossible names {self.values!r}",
                "Give the values of two columns at least; narrow the facts of a single one.",
            )
        values = {}
        for name, given in self.values.items():
            texts = (given,) if isinstance(given, str) else tuple(given)
            if not texts or not all(isinstance(text, str) for text in texts):
                raise InputError(f"impossible: {name!r} is {given!r}", "Give texts, such as 0..12.")
            values[str(name)] = texts
        object.__setattr__(self, "values", values)

    def __str__(self) -> str:
        said = (
            f"{name}: {texts[0] if len(texts) == 1 else '[' + ', '.join(texts) + ']'}"
            for name, texts in self.values.items()
        )
        return "{" + ", ".join(said) + "}"

    def __hash__(self) -> int:
        return hash(tuple(self.values.items()))

    def check(self, schema: Schema) -> None:
        """Refuses values that the columns do not have, and what would leave a column none.

        Raises:
            InputError: Naming the combination.
        """
        for name in self.values:
            if self.forbidden(schema[name]).all():
                raise InputError(
                    f"impossible {self} covers all values of {name!r}",
                    "Name the other columns' values alone, or narrow their facts.",
                )

    def forbidden(self, column: Column) -> NDArray[np.bool_]:
        """(size,) which codes of a column belong to the combination."""
        codes = np.zeros(column.size, bool)
        for text in self.values[column.name]:
            if isinstance(column, Numeric):
                low, high = self._range(text, column)
                codes[low : high + 1] = True
            elif text in column.levels:
                codes[column.levels.index(text)] = True
            else:
                raise InputError(
                    f"impossible {self}: {text!r} is no level of {column.name!r}",
                    "Name declared levels.",
                )
        return codes

    def where(self, codes: Mapping[str, NDArray[Any]], schema: Schema) -> NDArray[np.bool_]:
        """(n,) which rows have the combination."""
        found = [self.forbidden(schema[name])[codes[name]] for name in self.values]
        return np.asarray(np.logical_and.reduce(found))

    def _range(self, text: str, column: Numeric) -> tuple[int, int]:
        first, between, last = text.partition(_BETWEEN)
        ends = (first, last if between else first)
        low, high = (self._place(end, column) for end in ends)
        start = 0 if low is None else math.ceil(low - 1e-9)
        stop = column.cardinality - 1 if high is None else math.floor(high + 1e-9)
        start, stop = max(start, 0), min(stop, column.cardinality - 1)
        if start > stop:
            raise InputError(
                f"impossible {self}: {text!r} holds no value of {column.name!r}",
                "Name values within its bounds.",
            )
        return start, stop

    def _place(self, text: str, column: Numeric) -> float | None:
        """Where a value lies on the column's grid; None for an open end."""
        if not text.strip():
            return None
        where = f"impossible {self}: "
        if isinstance(column, Date):
            value = float((day(text.strip(), where) - day("1970-01-01")).days)
        else:
            try:
                value = float(text)
            except ValueError:
                raise InputError(
                    f"{where}{text!r} is no number", f"{column.name!r} holds numbers."
                ) from None
        return (value - column.lower) / column.granularity


def check_rows(
    codes: Mapping[str, NDArray[Any]], schema: Schema, first_row: int | None = 0
) -> None:
    """Refuses rows that have a combination that was declared impossible.

    Args:
        codes: (n,) a column.
        schema: The public facts.
        first_row: Rows before these, so that an error names the right row; None where rows have no
            numbers.

    Raises:
        InputError: Naming the first such row.
    """
    for rule in schema.impossible:
        found = rule.where(codes, schema)
        if found.any():
            row = "a row" if first_row is None else f"row {first_row + int(np.argmax(found)) + 1}"
            raise InputError(
                f"{row} has {rule}, which the schema declares impossible",
                "Correct the row, or take the combination out of the schema.",
            )
