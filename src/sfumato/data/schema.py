"""What is public about a table: its columns, its target, how its files are written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from sfumato.data.columns import (
    Categorical,
    Column,
    Date,
    Numeric,
    Ordinal,
    Policy,
    as_written,
    stored,
)
from sfumato.data.facts import Fact
from sfumato.data.impossible import Impossible
from sfumato.errors import InputError

__all__ = ["Categorical", "Column", "Date", "Numeric", "Ordinal", "Policy", "Schema"]

_LEVELS_SHOWN = 100


@dataclass(frozen=True)
class Schema:
    """The public facts of a table.

    Args:
        columns: In the order of the released table.
        target: The column to predict, if there is one.
        records: Number of rows, where it is public (releases under replace-one need it).
        drop: Columns of the files that are left out; any other undeclared column is an error.
        na_values: Texts that mean "missing", unless a column declares them as a level. None:
            the empty text and ``NA`` in CSV files, nothing elsewhere.
        encoding: Of CSV files.
        delimiter: Of CSV files.
        unit: Column of the files that says whom a row is of, where a person may have several; none
            of ``columns``, and never released. Guarantees are then for that person.
        rows_per_unit: How many rows of one person are used, at most.
        pass_through: Columns whose values are public, for every row: methods that publish a noisy
            version of each row copy them, others model them like any other.
        impossible: Combinations of values that no row has, and no released row gets: mappings from
            columns to values; see :class:`~sfumato.data.impossible.Impossible`.

    Raises:
        InputError: If a name is there twice or the target is none of the columns.
    """

    columns: tuple[Column, ...]
    target: str | None = None
    records: int | None = None
    drop: tuple[str, ...] = ()
    na_values: tuple[str, ...] | None = None
    encoding: str = "utf-8"
    delimiter: str = ","
    unit: str | None = None
    rows_per_unit: int = 1
    pass_through: tuple[str, ...] = ()
    impossible: tuple[Impossible, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", tuple(self.columns))
        object.__setattr__(self, "drop", tuple(self.drop))
        if not self.columns:
            raise InputError("the schema has no columns", "Declare at least one.")
        seen: set[str] = set()
        for name in (*self.names, *self.drop, *self._unit):
            if name in seen:
                if name == self.unit:
                    where = "the unit, which is never released, and declared or dropped, too"
                else:
                    where = "declared and dropped" if name in self.drop else "declared twice"
                raise InputError(f"column {name!r} is {where}", "Keep one of the two.")
            seen.add(name)
        if self.target is not None and self.target not in self.names:
            raise InputError(f"target {self.target!r} is not a column", self._near(self.target))
        if self.records is not None and (
            isinstance(self.records, bool) or not isinstance(self.records, int) or self.records < 1
        ):
            raise InputError(f"records is {self.records!r}", "Give the public number of rows.")
        if self.unit is not None and (not isinstance(self.unit, str) or not self.unit):
            raise InputError(f"unit is {self.unit!r}", "Name the column of the person's id.")
        rows = self.rows_per_unit
        if isinstance(rows, bool) or not isinstance(rows, int) or rows < 1:
            raise InputError(f"rows_per_unit is {rows!r}", "Give a whole number from 1 up.")
        if self.unit is None and rows != 1:
            raise InputError(
                f"rows_per_unit is {rows}, and no unit is named",
                "Name the column of the person's id: unit.",
            )
        object.__setattr__(self, "pass_through", tuple(self.pass_through))
        for name in self.pass_through:
            if name not in self.names:
                raise InputError(f"{name!r} is passed through and no column", self._near(name))
        rules = (r if isinstance(r, Impossible) else Impossible(r) for r in self.impossible)
        object.__setattr__(self, "impossible", tuple(rules))
        for rule in self.impossible:
            rule.check(self)
        if len(self.delimiter) != 1:
            raise InputError(f"delimiter is {self.delimiter!r}", "Give one character.")
        _check_encoding(self.encoding)

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in order."""
        return tuple(column.name for column in self.columns)

    @property
    def stored(self) -> tuple[str, ...]:
        """Columns that are read from the data: the declared ones, and the unit's."""
        return tuple(dict.fromkeys((*map(stored, self.columns), *self._unit)))

    @property
    def _unit(self) -> tuple[str, ...]:
        return () if self.unit is None else (self.unit,)

    @property
    def features(self) -> tuple[Column, ...]:
        """All columns but the target."""
        return tuple(column for column in self.columns if column.name != self.target)

    def __getitem__(self, name: str) -> Column:
        """The column of that name.

        Raises:
            InputError: If there is none.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise InputError(f"no column {name!r}", self._near(name))

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __iter__(self) -> Iterator[Column]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)

    def with_target(self, name: str | None) -> Schema:
        """The same facts with another column to predict."""
        return replace(self, target=name)

    def with_records(self, records: int | None) -> Schema:
        """The same facts with the number of rows declared public."""
        return replace(self, records=records)

    def with_unit(self, column: str, rows: int | None = None) -> Schema:
        """The same facts for data in which a person may have several rows.

        Args:
            column: The column of the person's id; no longer among ``columns`` or ``drop``.
            rows: How many of a person's rows are used at most; None takes the schema's, or 1.

        Raises:
            InputError: If the column is the target, or the number is none.
        """
        if column == self.target:
            raise InputError(
                f"unit {column!r} is the target", "An id is never released, so never predicted."
            )
        if rows is None:
            rows = self.rows_per_unit if self.unit is not None else 1
        drop = tuple(name for name in self.drop if name != column)
        if self.unit is not None and self.unit != column:
            drop = (*drop, self.unit)
        others = self._without((column,))
        return replace(others, drop=drop, unit=column, rows_per_unit=rows)

    def without_unit(self) -> Schema:
        """The same facts for rows that belong to nobody: the unit's column is dropped."""
        if self.unit is None:
            return self
        return replace(self, drop=(*self.drop, self.unit), unit=None, rows_per_unit=1)

    def released(self) -> Schema:
        """What is stated of a table as it is written: of its columns, and of no private file."""
        return replace(
            self,
            columns=tuple(map(as_written, self.columns)),
            drop=(),
            na_values=None,
            encoding="utf-8",
            delimiter=",",
            unit=None,
            rows_per_unit=1,
            pass_through=(),
        )

    def select(self, *names: str) -> Schema:
        """The facts of some of the columns, in the order given; the others are dropped."""
        gone = tuple(name for name in self.names if name not in names)
        columns = tuple(self[name] for name in names)
        left = self._without(gone)
        return replace(left, columns=columns, drop=(*self.drop, *gone))

    def _without(self, gone: Sequence[str]) -> Schema:
        """The facts that are about none of these columns."""
        return replace(
            self,
            columns=tuple(column for column in self.columns if column.name not in gone),
            target=None if self.target in gone else self.target,
            pass_through=tuple(name for name in self.pass_through if name not in gone),
            impossible=tuple(rule for rule in self.impossible if not set(rule.values) & set(gone)),
        )

    def encodes_like(self, other: Schema) -> bool:
        """Whether a code means the same under both: equal columns, provenance aside."""
        return [_meaning(c) for c in self.columns] == [_meaning(c) for c in other.columns]

    def as_facts(self) -> tuple[Fact, ...]:
        """One fact a column; the target, number of rows and unit where they are declared."""
        facts = [_fact(column) for column in self.columns]
        if self.target is not None:
            facts.append(Fact("target", self.target))
        if self.records is not None:
            facts.append(Fact("records", self.records))
        if self.impossible:
            facts.append(Fact("impossible", [str(rule) for rule in self.impossible]))
        if self.unit is not None:
            facts.append(Fact("unit", {"column": self.unit, "rows": self.rows_per_unit}))
        return tuple(facts)

    def to_yaml(self) -> str:
        """The schema as a file that can be read and edited by hand."""
        from sfumato.data import schema_file

        return schema_file.write(self)

    @classmethod
    def from_yaml(cls, text: str) -> Schema:
        """Reads what :meth:`to_yaml` wrote.

        Raises:
            InputError: If a key is unknown, a fact is missing, wrong or left as ``?``.
        """
        from sfumato.data import schema_file

        return schema_file.read(text)

    @classmethod
    def load(cls, path: str | Path) -> Schema:
        """Reads a schema file.

        Raises:
            InputError: If the file cannot be read or is no schema.
        """
        from sfumato.data import schema_file

        return schema_file.read(schema_file.text_of(path), name=str(path))

    def save(self, path: str | Path) -> None:
        """Writes a schema file."""
        Path(path).write_text(self.to_yaml(), encoding="utf-8")

    def _near(self, name: str) -> str:
        near = get_close_matches(name, self.names, n=1)
        return f"Did you mean {near[0]!r}?" if near else f"Columns: {', '.join(self.names[:60])}."


def _meaning(column: Column) -> Column:
    return replace(as_written(column), provenance="public", outside="error")


def _fact(column: Column) -> Fact:
    value: dict[str, Any]
    if isinstance(column, Numeric):
        name = f"bounds of {column.name}"
        value = {
            "type": "integer" if column.integer else "number",
            "lower": column.lower,
            "upper": column.upper,
            "granularity": column.granularity,
        }
        if isinstance(column, Date):
            value |= {"type": "date", "lower": column.day(0).isoformat()}
            value["upper"] = column.day(column.cardinality - 1).isoformat()
    else:
        name = f"levels of {column.name}"
        value = {"type": "ordinal" if column.ordered else "categorical"}
        if len(column.levels) <= _LEVELS_SHOWN:
            value["levels"] = list(column.levels)
        else:
            digest = hashlib.sha256("\n".join(column.levels).encode()).hexdigest()
            value |= {"count": len(column.levels), "sha256": digest}
    value |= {"missing": column.missing, "outside": column.outside}
    if stored(column) != column.name:
        value |= {"from": stored(column)}
    if column.reading is not None and column.reading.how not in ("as is", "date"):
        value |= {"as": column.reading.how}
        value |= {"at": column.reading.at} if column.reading.at else {}
    return Fact(name, value, column.provenance)


def _check_encoding(encoding: str) -> None:
    import codecs

    try:
        codecs.lookup(encoding)
    except LookupError:
        raise InputError(
            f"encoding {encoding!r} is unknown", "Try utf-8, latin-1, cp1252 or utf-16."
        ) from None
