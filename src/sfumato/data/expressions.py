"""What a pass over rows asks of a query engine, as Ibis expressions; only aggregates leave it.

A number's code is computed in the engine, by the arithmetic of :meth:`Numeric.encode`. Any other
value leaves as a group's key and is encoded here, once, by :meth:`Categorical.encode`; so a value
means the same in every engine. A value that looks wrong to the engine leaves alone and is shown to
the column itself, which says what is wrong with it in the same words wherever it came from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.data.axes import Axis
from sfumato.data.columns import Categorical, Column, Numeric
from sfumato.data.counting import Tally
from sfumato.data.encoding import narrow
from sfumato.errors import InputError

if TYPE_CHECKING:
    import ibis.expr.types as ir
    import pyarrow as pa

    from sfumato.data.schema import Schema

CELLS = 1 << 16
"""Of a table taken for several narrower ones; as many groups leave the engine at most."""

_LISTED = 1000  # levels that are listed in a query; columns with more are grouped by their values
_HUGE = 1.7e308  # stands for infinity, which not every engine spells
# As in `arrays.read_numbers`, surrounding white space allowed.
_PLAIN = r"^\s*[+-]?(\d+\.?\d*([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?)\s*$"

Fetch = Callable[["ir.Table"], "pa.Table"]


@dataclass(frozen=True)
class Rows:
    """A table in an engine, and how to ask it.

    Args:
        table: The rows.
        fetch: Runs an expression and returns its rows, which are few.
        has_nan: Whether the engine's floats can be NaN.
        try_cast: Whether the engine has a cast that gives null where it fails.
        tokens: Texts that mean "missing".
    """

    table: ir.Table
    fetch: Fetch
    has_nan: bool
    try_cast: bool
    tokens: tuple[str, ...] = ()

    def count(self, requests: Sequence[Sequence[Axis]], schema: Schema) -> list[NDArray[np.int64]]:
        """Contingency tables: one aggregate for each group of columns that fits together.

        Raises:
            InputError: Naming column and value where a value contradicts the schema.
        """
        tally = Tally(requests, schema, CELLS)
        for number, group in enumerate(tally.groups):
            keys = {f"axis{i}": self._key(axis, schema) for i, axis in enumerate(group)}
            found = self.table.group_by(**keys).aggregate(records=self.table.count())
            groups = self.fetch(found)
            places = [
                self._places(groups.column(f"axis{i}"), axis, schema)
                for i, axis in enumerate(group)
            ]
            records = groups.column("records").to_numpy().astype(np.int64)
            tally.add_cells(number, places, records)
        return tally.tables()

    def check(self, schema: Schema) -> None:
        """Asks for a value of each column that contradicts the schema, all in one aggregate.

        Raises:
            InputError: Naming column and value.
        """
        types = self.table.schema().to_pyarrow()
        asked: dict[str, ir.Scalar] = {}
        for place, column in enumerate(schema):
            value = self.table[column.name]
            if isinstance(column, Numeric):
                _refuse(column, [], types.field(column.name).type)
            absent, wrong = self._suspects(value, column)
            if not column.missing:
                asked[f"absent{place}"] = absent.ifelse(1, 0).sum()
            if wrong is not None:
                asked[f"wrong{place}"] = wrong.ifelse(value, None).min()
        found = self.fetch(self.table.aggregate(**asked)).to_pylist()[0] if asked else {}
        for place, column in enumerate(schema):
            kind = types.field(column.name).type
            if found.get(f"absent{place}"):
                _refuse(column, self._absent(column), kind)
                _refuse(column, [None], kind)
            wrong = found.get(f"wrong{place}")
            if wrong is not None:
                _refuse(column, [wrong], kind)
            if self._by_value(column) or wrong is not None:
                self._check_values(column)

    # -- inside --------------------------------------------------------------------------------

    def _absent(self, column: Column) -> list[Any]:
        """NaN if it is that, rather than a null, which the column lacks."""
        value = self.table[column.name]
        if not (value.type().is_floating() and self.has_nan):
            return []
        counted = self.fetch(self.table.aggregate(nulls=value.isnull().ifelse(1, 0).sum()))
        return [] if counted.to_pylist()[0]["nulls"] else [float("nan")]

    def _by_value(self, column: Column) -> bool:
        """Whether only grouping by the values can tell which of them are levels."""
        if isinstance(column, Numeric):
            return False
        kind = self.table[column.name].type()
        listed = (kind.is_string() and column.dtype != "bool") or kind.is_integer()
        return not listed or len(column.levels) > _LISTED

    def _check_values(self, column: Column) -> None:
        value = self.table[column.name]
        if isinstance(column, Numeric):
            return
        distinct = self.table.group_by(value=value).aggregate(records=self.table.count())
        narrow(column, self.fetch(distinct).column("value"), self.tokens, first_row=None)

    def _suspects(
        self, value: ir.Value, column: Column
    ) -> tuple[ir.BooleanValue, ir.BooleanValue | None]:
        """Where a value is absent, and where it contradicts the facts; None if nowhere."""
        value = self._blank(value, column)
        if isinstance(column, Numeric):
            read = self._number(value)
            wrong = None
            if column.outside == "error":
                wrong = read.unreadable | (~read.absent & ~_inside(read.number, column))
            elif column.outside == "clamp" and not column.missing:
                wrong = read.unreadable
            return read.absent, wrong
        absent = value.isnull()
        if value.type().is_floating() and self.has_nan:
            absent = absent | value.isnan()
        if column.outside == "missing" or self._by_value(column):
            return absent, None
        return absent, ~absent & ~value.isin(_spellings(column, value.type().is_integer()))

    def _blank(self, value: ir.Value, column: Column) -> ir.Value:
        """Null in place of the texts that mean "missing"."""
        levels = column.levels if isinstance(column, Categorical) else ()
        tokens = [token for token in self.tokens if token not in levels]
        if not tokens or not value.type().is_string():
            return value
        return value.isin(tokens).ifelse(None, value)

    def _key(self, axis: Axis, schema: Schema) -> ir.Value:
        """What rows are grouped by: a number's place on the axis, or the value as it stands."""
        column = schema[axis.column]
        value = self._blank(self.table[column.name], column)
        if isinstance(column, Numeric):
            return self._place(value, axis, column)
        if column.outside == "missing" and not self._by_value(column):
            levels = _spellings(column, value.type().is_integer())
            return value.isin(levels).ifelse(value, None)
        return value

    def _place(self, value: ir.Value, axis: Axis, column: Numeric) -> ir.Value:
        """The place on the axis; -1 where the column refuses the value."""
        import ibis

        read = self._number(value)
        bounded = read.number.clip(column.lower, column.upper)
        code = ((bounded - column.lower) / column.granularity + 0.5).floor().cast("int64")
        if axis.bins is not None:
            code = (code * axis.groups(column) / column.cardinality).floor().cast("int64")
        missing = ibis.literal(axis.groups(column) if column.missing else -1, "int64")
        refused = ibis.literal(-1, "int64")
        outside = {"clamp": code, "missing": missing, "error": refused}[column.outside]
        unreadable = refused if column.outside == "error" else missing
        return ibis.cases(
            (read.unreadable, unreadable),
            (read.absent, missing),
            (_inside(read.number, column), code),
            else_=outside,
        )

    def _places(self, keys: Any, axis: Axis, schema: Schema) -> NDArray[np.int64]:
        """(k,) places on an axis of the groups' keys."""
        column = schema[axis.column]
        if not isinstance(column, Numeric):
            codes = narrow(column, keys, self.tokens, first_row=None)
            return np.asarray(axis.index(codes, column))
        places: NDArray[np.int64] = keys.to_numpy().astype(np.int64)
        if (places < 0).any():
            self.check(schema.select(column.name))
            raise InputError(
                f"column {column.name!r} has a value that its schema does not allow",
                "Correct the value or the schema.",
            )
        return places

    def _number(self, value: ir.Value) -> _Read:
        import ibis

        kind = value.type()
        never = ibis.literal(False)
        if kind.is_string():
            word = value.strip().lower()
            plain = value.re_search(_PLAIN).fill_null(False)
            nan = word.re_search("^[+-]?nan$").fill_null(False)
            above, below = word.isin(["inf", "+inf"]), word == "-inf"
            bare = value.strip()
            cast = bare.try_cast("float64") if self.try_cast else bare.cast("float64")
            number = ibis.cases(
                (plain, cast),
                (above.fill_null(False), _HUGE),
                (below.fill_null(False), -_HUGE),
            )
            absent = value.isnull() | nan
            return _Read(number, absent, ~absent & number.isnull())
        if kind.is_boolean():
            value = value.ifelse(1, 0)
        number = value.cast("float64")
        absent = value.isnull()
        if kind.is_floating() and self.has_nan:
            absent = absent | value.isnan()
        return _Read(number, absent, never)


@dataclass(frozen=True)
class _Read:
    """A number, where it is absent, and where a text spells none."""

    number: ir.FloatingValue
    absent: ir.BooleanValue
    unreadable: ir.BooleanValue


def _inside(number: ir.FloatingValue, column: Numeric) -> ir.BooleanValue:
    low, high = column.lower - column.tolerance, column.upper + column.tolerance
    return number.between(low, high).fill_null(False)


def _spellings(column: Categorical, integers: bool) -> list[Any]:
    """The levels as the engine's values spell them."""
    if not integers:
        return list(column.levels)
    if column.dtype == "bool":
        return [{"false": 0, "true": 1}[level] for level in column.levels]
    whole = [level for level in column.levels if level.removeprefix("-").isdecimal()]
    # No level is whole: no integer is a level, and an empty list is no SQL.
    return [int(level) for level in whole if str(int(level)) == level] or [None]


def _refuse(column: Column, values: list[Any], kind: pa.DataType) -> None:
    """Lets a column say what is wrong with values; it says nothing if they are right."""
    import pyarrow as pa

    column.encode(pa.array(values, kind), first_row=None)
