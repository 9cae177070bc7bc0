"""Passes over a source's rows under a schema: batches of codes, each value checked and encoded."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfumato.data import encoding, persons, sources
from sfumato.data.ahead import ahead
from sfumato.data.arrays import refuse_nested
from sfumato.data.columns import Column, narrowest, stored
from sfumato.data.encoding import Narrow
from sfumato.data.engine import EngineSource
from sfumato.data.reading import DATES
from sfumato.data.schema import Schema
from sfumato.data.sources import ROWS, Source
from sfumato.data.spool import Spool
from sfumato.errors import InputError

CSV_NA = ("", "NA")
"""Texts that mean "missing" in CSV files, unless the schema names others."""

_DELIMITERS = (";", "\t", "|", ",")


@dataclass(frozen=True)
class Passes:
    """What can be read of a source.

    Args:
        source: The rows.
        schema: The public facts that they are read by.
    """

    source: Source
    schema: Schema

    def codes(self, names: Sequence[str], rows: int = ROWS) -> Iterator[dict[str, Narrow]]:
        """Codes in their narrowest type, the next batch being read while one is worked on.

        Raises:
            InputError: Naming column, value and row where a value contradicts the schema.
        """
        base = persons.origin(self.source)
        alone = isinstance(base, EngineSource) and not base.threads
        encoded = self._encoded(names, rows)
        return encoded if alone else ahead(encoded)

    def whole(self, names: Sequence[str], total: int) -> dict[str, NDArray[Any]]:
        """Codes of whole columns in their narrowest type, (total,) each."""
        kept: dict[str, NDArray[Any]] = {
            n: np.empty(total, narrowest(self.schema[n].size)) for n in names
        }
        start = 0
        for codes in self._encoded(names, ROWS):
            for name in names:
                kept[name][start : start + len(codes[name])] = codes[name]
            start += len(codes[names[0]])
        return kept

    def engine(self, names: Sequence[str]) -> EngineSource | None:
        """The query engine that can count and check these columns itself; None for rows of files,
        and for columns that are read in a way of their own.
        """
        as_is = all(self.schema[name].reading is None for name in names)
        return self.source if as_is and isinstance(self.source, EngineSource) else None

    @property
    def tokens(self) -> tuple[str, ...]:
        """Texts that mean "missing" here."""
        if self.schema.na_values is not None:
            return self.schema.na_values
        return CSV_NA if spelt(self.source) else ()

    @property
    def empty(self) -> bool:
        """Whether there is no row: known of a file with a header and nothing else, too."""
        if isinstance(self.source, EngineSource):
            return self.source.num_rows == 0
        return next(iter(self.source.batches(self.schema.stored[:1], 1)), None) is None

    def _encoded(self, names: Sequence[str], rows: int) -> Iterator[dict[str, Narrow]]:
        columns, tokens = [self.schema[name] for name in names], self.tokens
        read = list(dict.fromkeys(map(stored, columns)))
        numbered = persons.numbered(self.source)
        first_row = 0
        for batch in self.source.batches(read, rows):
            yield {
                column.name: encoding.narrow(
                    column,
                    _as_read(column, batch.column(stored(column)), tokens),
                    tokens,
                    first_row=first_row if numbered else None,
                )
                for column in columns
            }
            first_row += batch.num_rows


def spelt(source: Source) -> bool:
    """Whether every value comes as text."""
    base = persons.origin(source)
    if isinstance(base, EngineSource | Spool):
        return base.spelt
    return isinstance(base, sources.CsvSource)


def _as_read(column: Column, array: Any, tokens: Sequence[str]) -> Any:
    """What a column is read from, as the declared reading of it."""
    if column.reading is None:
        return array
    wanted = "dates" if column.reading.how in DATES else "numbers"
    refuse_nested(array, stored(column), wanted)
    return column.reading.read(encoding.blank(array, column, tokens))


def check_columns(names: Sequence[str], schema: Schema, where: str) -> None:
    """Refuses columns that are not the schema's.

    Raises:
        InputError: If one is missing, not declared, or in the way of a derived one.
    """
    missing = [name for name in schema.stored if name not in names]
    if missing:
        check_delimiter(names, schema.delimiter, where)
        like = {name.strip().casefold(): name for name in names}
        near = [like[name.casefold()] for name in missing if name.casefold() in like]
        known = f"It has {_few(near)}: write the names alike. " if near else ""
        raise InputError(
            f"{where} lacks {_few(missing)}", f"{known}Correct the schema, or give the right file."
        )
    both = [c.name for c in schema if stored(c) != c.name and c.name in names]
    if both:
        raise InputError(
            f"{where} has {_few(both)}, which the schema derives from another column",
            "Give the derived column another name.",
        )
    extra = [name for name in names if name not in (*schema.stored, *schema.drop)]
    if extra:
        raise InputError(
            f"{where} has {_few(extra)}, which the schema does not declare",
            "Declare it, or list it under drop: in the schema.",
        )


def check_delimiter(names: Sequence[str], delimiter: str, where: str) -> None:
    """Refuses a header that was read as one column and seems to be parted by another delimiter.

    Raises:
        InputError: Naming the delimiter.
    """
    held = [mark for mark in _DELIMITERS if mark != delimiter and mark in names[0]]
    if len(names) == 1 and held:
        raise InputError(
            f"{where} was read as one column, {names[0][:60]!r}",
            f"Name its delimiter: delimiter: {json.dumps(held[0])} in the schema, "
            "--delimiter of schema draft.",
        )


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:5])
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{'column' if len(names) == 1 else 'columns'} {shown}{more}"
