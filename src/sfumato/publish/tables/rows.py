"""Collecting a released table batch by batch, in memory or, when it is large, on disk."""

from __future__ import annotations

import tempfile
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.data.columns import narrowest
from sfumato.data.writing import Writer

if TYPE_CHECKING:
    from sfumato.data import Schema, Table

IN_MEMORY = 1 << 26
"""Cells that are kept in memory (one to four bytes each); beyond, rows go to a scratch file."""


CLEAR = 4.0
"""Standard deviations of its noise above which an estimate tells how many records there are."""
UNCLEAR_ROWS = 10_000
"""The most rows that are drawn where it does not, unless a number was asked for."""


def number_of(asked: int | None, estimate: int, stddev: float) -> tuple[int, dict[str, Any]]:
    """How many rows to draw, from public numbers alone, and what a card says of it.

    At a tiny budget the noisy number of records is noise, of either sign and of any size: it would
    draw millions of rows that hold nothing. So where it is not clear of its noise, few are drawn.

    Args:
        asked: The setting; None leaves it to the estimate.
        estimate: The noisy number of records, at least 1.
        stddev: Of its noise.

    Returns:
        The number, and the card's notes.

    >>> number_of(None, 250_000, 12_000.0)[0], number_of(None, 250_000, 90_000.0)[0]
    (250000, 10000)
    """
    rows = estimate if asked is None else asked
    notes: dict[str, Any] = {"noisy_records": estimate, "noisy_records_stddev": stddev}
    if asked is None and estimate > UNCLEAR_ROWS and estimate < CLEAR * stddev:
        rows = UNCLEAR_ROWS
        notes["rows_limited"] = (
            f"the noisy number of records is below {CLEAR:g} standard deviations of its noise and "
            f"says little of how many there are: {UNCLEAR_ROWS} rows are drawn (rows asks for more)"
        )
    return rows, {**notes, "rows": rows}


class Collector:
    """Takes batches of codes and gives one table.

    Only noisy codes may be added: the scratch file of a large table is as public as the release.

    Args:
        schema: Of the released table.
        in_memory: Cells kept in memory before a scratch file is begun.
    """

    def __init__(self, schema: Schema, in_memory: int = IN_MEMORY) -> None:
        self._schema = released(schema)
        self._in_memory = in_memory
        self._batches: list[dict[str, NDArray[Any]]] = []
        self._cells = 0
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._writer: Writer | None = None

    def add(self, codes: dict[str, NDArray[Any]]) -> None:
        """Appends rows, (b,) codes a column."""
        narrow = {c.name: codes[c.name].astype(narrowest(c.size)) for c in self._schema}
        self._cells += sum(len(values) for values in narrow.values())
        if self._writer is None and self._cells <= self._in_memory:
            self._batches.append(narrow)
            return
        if self._writer is None:
            self._scratch = tempfile.TemporaryDirectory(prefix="sfumato-")
            self._writer = Writer(self._file, self._schema)
        for batch in (*self._batches, narrow):
            self._writer.add(batch)
        self._batches = []

    def table(self) -> Table:
        """The table of all rows added."""
        from sfumato.data import Table

        if self._writer is None:
            names = self._schema.names
            whole = {n: np.concatenate([batch.pop(n) for batch in self._batches]) for n in names}
            return Table.from_codes(whole, self._schema)
        self._writer.close()
        assert self._scratch is not None
        table = Table.open(self._file, self._schema)
        table.stored_at = self._file
        weakref.finalize(table, self._scratch.cleanup)
        return table

    @property
    def _file(self) -> Path:
        assert self._scratch is not None
        return Path(self._scratch.name) / "rows.parquet"


def released(schema: Schema) -> Schema:
    """The facts of a released table: those of the private one, but of no file of it."""
    return schema.with_records(None).released()
