"""Tables that live in a query engine: DuckDB, a database that Ibis connects to, Apache Spark."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from sfumato.data.axes import Axis
from sfumato.data.expressions import Rows
from sfumato.data.sources import ROWS
from sfumato.data.subsets import Seed, spelt
from sfumato.errors import InputError, SfumatoError

if TYPE_CHECKING:
    import ibis.expr.types as ir
    import pyarrow as pa

    from sfumato.data.schema import Schema

_T = TypeVar("_T")

EMBEDDED = ("duckdb", "sqlite")
"""Engines inside this process, from which rows come as fast as anything."""


class EngineSource:
    """The rows of an Ibis table.

    Args:
        table: The rows, with its backend.
        name: What errors call it; never with credentials.
        spelt: Whether every value is text, as in CSV files.
        ordered: Whether every pass gives the rows in the same order, so that a row's number means
            one row: true of files and of stored tables in this process, of nothing else.
    """

    def __init__(
        self, table: ir.Table, name: str, *, spelt: bool = False, ordered: bool = False
    ) -> None:
        self.table = table
        self.name = name
        self.spelt = spelt
        self.ordered = ordered
        self._backend = table.get_backend()

    @property
    def engine(self) -> str:
        """The backend's name."""
        return str(self._backend.name)

    @property
    def embedded(self) -> bool:
        """Whether the engine runs in this process."""
        return self.engine in EMBEDDED

    @property
    def threads(self) -> bool:
        """Whether another thread than the one that opened it may read it."""
        return self.engine != "sqlite"

    @property
    def names(self) -> tuple[str, ...]:
        """Column names."""
        return tuple(self.table.columns)

    @property
    def schema(self) -> pa.Schema:
        """Types that the engine declares."""
        return self.table.schema().to_pyarrow()

    @cached_property
    def num_rows(self) -> int:
        """Number of rows, counted by the engine."""
        return int(self._ask(lambda: self.table.count().to_pyarrow().as_py()))

    def batches(self, columns: Sequence[str], rows: int = ROWS) -> Iterator[pa.RecordBatch]:
        """All rows of some columns, a bounded number in memory at a time."""
        streams = {"duckdb": _duckdb_batches, "pyspark": _spark_batches, "sqlite": _cursor_batches}
        stream = streams.get(self.engine, _ibis_batches)
        # Some backends give a UUID, which an id often is, as an object that Arrow does not take.
        asked = [
            self.table[name].cast("string").name(name)
            if self.table[name].type().is_uuid()
            else name
            for name in columns
        ]
        batches = self._ask(lambda: iter(stream(self.table.select(*asked), rows)))
        end = object()
        while (batch := self._ask(lambda: next(batches, end))) is not end:
            yield batch

    def count(
        self, requests: Sequence[Sequence[Axis]], schema: Schema, tokens: Sequence[str]
    ) -> list[NDArray[np.int64]]:
        """Contingency tables, aggregated by the engine; see :meth:`Rows.count`."""
        return self._rows(tokens).count(requests, schema)

    def check(self, schema: Schema, tokens: Sequence[str]) -> None:
        """Refuses values that contradict the schema; see :meth:`Rows.check`."""
        self._rows(tokens).check(schema)

    def part(self, seed: Seed, start: float, end: float) -> EngineSource:
        """The rows whose values, hashed by the engine, fall in a part of [0, 1).

        Rows have no place in such a table, so equal rows fall in the same part.

        Raises:
            InputError: If the engine cannot hash.
        """
        import ibis
        import ibis.expr.operations as ops

        if not self._backend.has_operation(ops.Hash):
            raise InputError(
                f"{self.name}: {self.engine} cannot part its rows by a hash",
                "Give --holdout another table, or --holdout 0.",
            )
        words = [self.table[name].cast("string").fill_null("") for name in self.names]
        text = ibis.literal(spelt(seed))
        for word in words:
            text = text + "\x1f" + word
        steps = 1 << 20
        place = (text.hash().cast("int64") % steps + steps) % steps
        inside = (place >= round(start * steps)) & (place < round(end * steps))
        return EngineSource(self.table.filter(inside), self.name, spelt=self.spelt)

    def some(self, share: float) -> EngineSource:
        """Rows that the engine draws at random, each with this chance; others in every pass."""
        import ibis

        drawn = self.table.filter(ibis.random() < share)
        return EngineSource(drawn, self.name, spelt=self.spelt)

    def _rows(self, tokens: Sequence[str]) -> Rows:
        import ibis.expr.operations as ops

        return Rows(
            self.table,
            fetch=lambda expression: self._ask(lambda: _fetched(expression)),
            has_nan=self._backend.has_operation(ops.IsNan),
            try_cast=self._backend.has_operation(ops.TryCast),
            tokens=tuple(tokens),
        )

    def _ask(self, work: Callable[[], _T]) -> _T:
        """Runs a query; what the engine objects to is one line."""
        try:
            return work()
        except (SfumatoError, MemoryError):
            raise
        except Exception as error:
            raise failed(self.name, error) from None


def failed(
    name: str, error: Exception, remedy: str = "Correct the table, or its address."
) -> InputError:
    """What an engine said, in one line."""
    reason = " ".join(str(error).split())
    # DuckDB shows the whole row that it stumbled over.
    reason = re.sub(r"Original Line: .*?(?=Expected Number|Possible fixes|$)", "", reason)
    reason = re.sub(r"Possible fixes: .*", "", reason).strip()
    return InputError(f"{name} cannot be read ({reason[:200]})", remedy)


def _fetched(expression: ir.Table) -> pa.Table:
    """The rows of an expression, with every integer exact.

    Ibis takes what Spark and SQLite answer through pandas, where integers beside a null are floats.
    """
    import pyarrow as pa

    backend = expression.get_backend()
    if backend.name == "sqlite":
        types = expression.schema().to_pyarrow()
        return pa.Table.from_batches(_cursor_batches(expression, ROWS), types)
    if backend.name == "pyspark":
        frame = backend._session.sql(backend.compile(expression))
        if hasattr(frame, "toArrow"):  # from Spark 4 on
            return frame.toArrow()
    return expression.to_pyarrow()


def _ibis_batches(table: ir.Table, rows: int) -> Iterator[pa.RecordBatch]:
    yield from table.to_pyarrow_batches(chunk_size=rows)


def _duckdb_batches(table: ir.Table, rows: int) -> Iterator[pa.RecordBatch]:
    """Through a connection of its own, which no other query of this process interrupts."""
    backend = table.get_backend()
    connection = backend.con.cursor()
    try:
        yield from connection.sql(backend.compile(table)).to_arrow_reader(rows)
    finally:
        connection.close()


def _cursor_batches(table: ir.Table, rows: int) -> Iterator[pa.RecordBatch]:
    """Through a database cursor: Ibis would fetch an SQLite table whole."""
    import pyarrow as pa

    backend = table.get_backend()
    types = table.schema().to_pyarrow()
    cursor = backend.raw_sql(backend.compile(table))
    try:
        while fetched := cursor.fetchmany(rows):
            columns = zip(*fetched, strict=True)
            # SQLite's values have types of their own: a truth value comes as 0 or 1.
            arrays = [pa.array(c).cast(f.type) for c, f in zip(columns, types, strict=True)]
            yield pa.record_batch(arrays, schema=types)
    finally:
        cursor.close()


def _spark_batches(table: ir.Table, rows: int) -> Iterator[pa.RecordBatch]:
    """One partition after the other, each packed as Arrow bytes where it lies."""
    import pyarrow as pa

    def pack(batches: Iterator[Any]) -> Iterator[Any]:
        # Runs in Spark's workers, which have pyarrow and need not have this package.
        import pyarrow as pa

        options = pa.ipc.IpcWriteOptions(compression="zstd")
        for batch in batches:
            # A partition's rows wait in the driver together: texts are sent once each.
            arrays = [a.dictionary_encode() if a.type == pa.string() else a for a in batch.columns]
            small = pa.record_batch(arrays, names=batch.schema.names)
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, small.schema, options=options) as writer:
                writer.write_batch(small)
            yield pa.record_batch([pa.array([sink.getvalue().to_pybytes()])], names=["batch"])

    backend = table.get_backend()
    frame = backend._session.sql(backend.compile(table))
    packed = frame.mapInArrow(pack, "batch binary")
    for row in packed.toLocalIterator(prefetchPartitions=True):
        with pa.ipc.open_stream(row["batch"]) as reader:
            for batch in reader:
                for start in range(0, batch.num_rows, rows):
                    yield batch.slice(start, rows)
