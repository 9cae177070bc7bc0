"""Private (or released) rows, as codes on the schema's public grid."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sfumato.data import addresses, arrays, encoding, parts, persons, sources, writing
from sfumato.data.axes import Axis
from sfumato.data.engine import EngineSource
from sfumato.data.passes import Passes, check_columns
from sfumato.data.rows import Codes, Rows
from sfumato.data.schema import Schema
from sfumato.data.sources import ROWS, Source
from sfumato.data.spool import Spool, in_order
from sfumato.data.subsets import Seed
from sfumato.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

DATA = "data.parquet"
SCHEMA = "schema.yaml"


class Table:
    """Rows under a schema, read as a stream and encoded column by column.

    Made by :meth:`open`, :meth:`from_pandas`, :meth:`from_arrow` or :meth:`from_codes`. Small
    tables (up to 64 million cells) keep their codes in one to four bytes each once they have been
    computed; larger ones are read anew in every pass.
    """

    kind: ClassVar[str] = "table"

    def __init__(
        self,
        schema: Schema,
        source: Source | None,
        codes: Mapping[str, NDArray[Any]] | None = None,
        *,
        bounded: bool = False,
    ) -> None:
        self.schema = schema
        self._rows = Rows(schema, source, codes)
        self.bounded = bounded
        self._shuffled = False
        self.spool: Spool | None = None  # that the rows are read from, where their order is its own
        self.stored_at: Path | None = None  # the file that `save` would write, where there is one

    # -- in ------------------------------------------------------------------------------------

    @classmethod
    def open(
        cls,
        path: str | Path,
        schema: Schema,
        *,
        encoding: str | None = None,
        engine: str = "auto",
        spool: str | Path | None = None,
    ) -> Table:
        """Files, or a database's table, as one table; only headers and metadata are read yet.

        Args:
            path: A CSV or Parquet file, a folder of them, a glob, or the address of a table:
                ``duckdb:///FILE?table=NAME`` and the like for every Ibis backend.
            schema: The public facts.
            encoding: Of CSV files, in place of the schema's.
            engine: Who reads files: ``auto`` (this process), ``duckdb``, ``spark``, or ``spark``
                with a master (``spark://host:7077``, ``spark:yarn``).
            spool: A folder for a private copy of the columns that are read, the unit's included,
                where rows come in no lasting order (views, servers, Spark); or the file that such a
                copy was kept as. None copies nothing.

        Raises:
            InputError: If it cannot be read or copied, is empty, or its columns are not the
                schema's.
        """
        if encoding is not None:
            schema = replace(schema, encoding=encoding)
        source = addresses.open_source(
            path, encoding=schema.encoding, delimiter=schema.delimiter, engine=engine
        )
        where = addresses.plain(str(path))
        check_columns(source.names, schema, where)
        source = in_order(source, schema.stored, spool)
        check_columns(source.names, schema, where)  # of a copy that was kept
        # A table with a header and nothing else is found now rather than at the first pass.
        if Passes(source, schema).empty:
            raise InputError(f"{where} has no rows", "Give a table with rows.")
        table = cls(schema, source)
        table.spool = source if isinstance(source, Spool) else None
        return table

    @classmethod
    def from_arrow(cls, table: pa.Table, schema: Schema) -> Table:
        """A table in memory.

        Raises:
            InputError: If it has no rows or its columns are not the schema's.
        """
        sources.check_names(table.column_names, "the table")
        check_columns(table.column_names, schema, "the table")
        if table.num_rows == 0:
            raise InputError("the table has no rows", "Give at least one.")
        return cls(schema, sources.ArrowSource(table.select(list(schema.stored))))

    @classmethod
    def from_pandas(cls, frame: pd.DataFrame, schema: Schema) -> Table:
        """A data frame; its index is left out. NaN, None and NaT are missing values.

        Raises:
            InputError: If it has no rows or its columns are not the schema's.
        """
        names = [str(name) for name in frame.columns]
        sources.check_names(names, "the data frame")
        check_columns(names, schema, "the data frame")
        return cls.from_arrow(arrays.of_frame(frame, schema.stored), schema)

    @classmethod
    def from_codes(cls, codes: Mapping[str, NDArray[Any]], schema: Schema) -> Table:
        """A table from (n,) integer codes a column; the arrays are copied, narrowed.

        Raises:
            InputError: If columns, lengths or codes do not fit the schema.
        """
        if schema.unit is not None:
            raise InputError(
                f"codes do not say whom a row is of, and the schema names unit {schema.unit!r}",
                "Open the data with Table.open, from_pandas or from_arrow.",
            )
        check_columns(list(codes), schema.released(), "the codes")
        return cls(schema, None, encoding.checked(codes, schema.columns))

    # -- rows ----------------------------------------------------------------------------------

    @property
    def num_rows(self) -> int:
        """Number of rows; costs a pass over CSV files the first time."""
        return self._rows.number

    @property
    def ordered(self) -> bool:
        """Whether every pass gives the rows in the same order, that of the data."""
        return not self._shuffled and self._rows.ordered

    @property
    def source(self) -> Source | None:
        """Where rows are read from; None for a table made of codes."""
        return self._rows.source

    def __len__(self) -> int:
        return self.num_rows

    def __repr__(self) -> str:
        return f"Table({len(self.schema)} columns, target={self.schema.target!r})"

    def codes_batches(
        self, rows: int = ROWS, columns: Sequence[str] | None = None
    ) -> Iterator[dict[str, Codes]]:
        """Codes in order, up to ``rows`` rows at a time.

        Raises:
            InputError: Naming column, value and row where a value contradicts the schema.
        """
        return self._rows.codes_batches(rows, columns)

    def codes(self, columns: Sequence[str] | None = None) -> dict[str, Codes]:
        """All codes, (n,) int64 a column; the whole table in memory.

        Raises:
            InputError: Naming column, value and row where a value contradicts the schema.
        """
        return self._rows.codes(columns)

    def batches(self, rows: int = ROWS) -> Iterator[pa.RecordBatch]:
        """Rows in the schema's types and precision, up to ``rows`` at a time."""
        import pyarrow as pa

        for codes in self.codes_batches(rows):
            decoded = [column.decode(codes[column.name]) for column in self.schema]
            yield pa.record_batch(decoded, names=list(self.schema.names))

    # -- what methods ask ----------------------------------------------------------------------

    def counts(self, axes: Sequence[Axis | str]) -> NDArray[np.int64]:
        """The exact contingency table over some columns; private unless the table is public.

        A table in a query engine is aggregated there; only counts leave it.

        Args:
            axes: Columns, or columns with bins.

        Returns:
            Counts with one dimension an axis; the missing level is the last index.

        Raises:
            InputError: If an axis or a value contradicts the schema.
        """
        return self.many_counts([axes])[0]

    def many_counts(self, axes_lists: Sequence[Sequence[Axis | str]]) -> list[NDArray[np.int64]]:
        """Several contingency tables in as few passes as the source allows.

        Small tables are encoded once and counted in memory; files are streamed once, reading only
        the columns that are asked for; a table in a query engine is aggregated there, several of
        the tables at a time.
        """
        return self._rows.counts(axes_lists)

    def validate(self, schema: Schema) -> None:
        """Checks every value against the schema in one streaming pass.

        Args:
            schema: The public facts a release will state; its columns must be this table's.

        Raises:
            InputError: If columns differ, a value contradicts them, or the number of rows is not
                the one declared public.
        """
        if not isinstance(schema, Schema):
            raise InputError("a table is checked against images' facts", "Give a table's schema.")
        if not self.schema.encodes_like(schema):
            raise InputError(
                "the table was opened under another schema",
                "Open it with the schema that the release states.",
            )
        if schema.records is not None and schema.records != self.num_rows:
            raise InputError(
                f"the schema declares {schema.records} records, the table has {self.num_rows}",
                "Correct records in the schema.",
            )
        self._rows.check(schema)

    def split(self, fraction: float, seed: Seed) -> tuple[Table, Table]:
        """Parts the rows by a hash of their number; the same seed gives the same parts.

        Rows of a database or of Spark have no number: there the values are hashed, so that equal
        rows stay together and the parts are about, not exactly, as large as asked for.

        Where the schema names a unit, by a hash of the person: all rows of one are on one side.

        Args:
            fraction: Of the rows to hold out, in (0, 1).
            seed: Of the hash. A number holds out exactly this fraction (not of persons, nor of rows
                without a number); a secret key decides by a coin for each record or person.

        Returns:
            The rest and the held-out part; ``records`` is no longer declared in either.

        Raises:
            InputError: If a part would be empty.
        """
        rest, held_out = self._rows.parted(fraction, seed)
        return self._like(rest), self._like(held_out)

    def sample(self, limit: int, seed: int) -> Table:
        """At most so many rows, in one pass; if it is all of them, this table.

        Rows without an order come into memory in any case, so that they are the same from then on.

        Args:
            limit: At least 1.
            seed: Of the draw; the same rows of tables of the same length. Rows without an order
                are drawn by their engine, anew every time.
        """
        total, schema = self.num_rows, self.schema.with_records(None)
        table, picked = self, None
        if isinstance(self.source, EngineSource) and not self.source.ordered:
            # About as many rows leave the engine as are wanted, and a little more.
            share = (limit + 6 * limit**0.5) / total
            if share < 1:
                table = Table(schema, self.source.some(share))
        elif total <= limit:
            return self
        else:
            rng = np.random.default_rng(seed)
            picked = np.sort(rng.choice(total, size=limit, replace=False))
        codes = parts.gathered(table.codes_batches(), schema, picked)
        # Codes do not say whose a row is; numbers of persons are kept beside them.
        whose = self.whose()
        if whose is not None and picked is not None:
            whose = whose[picked]
        codes = {name: values[:limit] for name, values in codes.items()}
        sampled = self._like(Rows(schema.without_unit(), None, codes, whose))
        sampled.bounded, sampled._shuffled = False, not self.ordered
        return sampled

    def head(self, rows: int) -> Table:
        """The first rows."""
        if rows < 1:
            raise InputError(f"the first {rows} rows were asked for", "Ask for at least one.")
        return self._like(self._rows.first(rows))

    def with_target(self, name: str | None) -> Table:
        """The same rows with another column to predict."""
        return self._like(self._rows.under(self.schema.with_target(name)))

    def select(self, *names: str) -> Table:
        """The same rows with some of the columns, in the order given."""
        return self._like(self._rows.under(self.schema.select(*names)))

    # -- persons -------------------------------------------------------------------------------

    def whose(self) -> NDArray[np.int64] | None:
        """(n,) a number for the person of each row; None where each row is of its own.

        The numbers mean nothing beyond this table, and are private.

        Raises:
            InputError: If a row is of nobody, or rows have no order that lasts.
        """
        return self._rows.whose()

    def bound(self, key: bytes) -> Table:
        """At most ``rows_per_unit`` rows of each person, drawn at random by a secret key.

        Args:
            key: 32 secret bytes; the same key keeps the same rows.

        Raises:
            InputError: If the schema names no unit, or a row is of nobody.
        """
        unit = self.schema.unit
        if unit is None or self.source is None:
            raise InputError("the schema names no unit", "Name the column of the person's id.")
        if self.bounded:
            return self
        chosen = persons.bound(self.source, unit, self.schema.rows_per_unit, key)
        kept = self._like(self._rows.kept(chosen))
        kept.bounded = True
        return kept

    def unaligned(self) -> Table:
        """The same rows, whose places are not those of their rows in any release."""
        made = self._like(self._rows)
        made._shuffled = True
        return made

    def without_unit(self) -> Table:
        """The same rows, of nobody."""
        rows = Rows(self.schema.without_unit(), self.source, self._rows.known)
        return self._like(rows)

    def shared_persons(self, other: Table) -> int:
        """How many persons have rows in both tables; 0 where one names no unit."""
        unit = self.schema.unit
        if unit is None or unit != other.schema.unit:
            return 0
        assert self.source is not None
        assert other.source is not None
        return persons.shared(self.source, other.source, unit)

    # -- out -----------------------------------------------------------------------------------

    def to_arrow(self) -> pa.Table:
        """All rows in the schema's types and precision."""
        import pyarrow as pa

        return pa.Table.from_batches(self.batches())

    def to_pandas(self) -> pd.DataFrame:
        """All rows in the schema's types and precision."""
        frame: pd.DataFrame = self.to_arrow().to_pandas()
        return frame

    def save(self, folder: str | Path) -> None:
        """Writes ``data.parquet`` and ``schema.yaml`` into a folder, as a stream.

        A table that is such a file already is linked or copied, not read.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        if self.stored_at is not None:
            writing.same_file(self.stored_at, folder / DATA)
        else:
            writing.write(folder / DATA, self.schema, self.codes_batches())
        self.schema.released().save(folder / SCHEMA)

    # -- inside --------------------------------------------------------------------------------

    def _like(self, rows: Rows) -> Table:
        """Rows of this table, under the facts that they say, in the order that they are in."""
        made = Table(rows.schema, None, bounded=self.bounded)
        made._rows, made._shuffled, made.spool = rows, self._shuffled, self.spool
        return made
