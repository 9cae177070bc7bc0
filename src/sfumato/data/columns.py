"""Columns as integers on a public grid: the one encoding that every method shares.

A column's facts (bounds, levels, whether values may be missing) are public; its values are
arguments. Code ``cardinality`` stands for a missing value, which is a level like any other.
"""

from __future__ import annotations

from dataclasses import replace

from sfumato.data.column_checks import Codes, Policy, check_provenance, narrowest
from sfumato.data.levels import Categorical, Ordinal
from sfumato.data.numeric import Date, Numeric
from sfumato.data.reading import Reading

__all__ = [
    "Categorical",
    "Codes",
    "Column",
    "Date",
    "Numeric",
    "Ordinal",
    "Policy",
    "as_written",
    "check_provenance",
    "narrowest",
    "stored",
]

Column = Numeric | Categorical


def stored(column: Column) -> str:
    """The column of the data that a column's values come from."""
    return (column.reading.of if column.reading is not None else None) or column.name


def as_written(column: Column) -> Column:
    """The column as it stands in a released table: under its own name, read as it is."""
    reading = Reading(how="date") if isinstance(column, Date) else None
    return replace(column, reading=reading)
