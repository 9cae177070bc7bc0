"""Whose rows are whose: which rows are kept of each person, and who is held out.

A column of the data says whom a row is of; it is read here and nowhere else, and is never
released. *Bounding* keeps at most ``rows`` rows of each person: those with the smallest priorities,
which are drawn from a secret key and the row's place alone. So the choice is uniform, it does not
depend on any value, nor on who else is there, and adding a person adds at most ``rows`` rows.

Rows are grouped by person in DuckDB, which spills to disk: memory holds one bit a row.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.data.arrays import refuse_nested
from sfumato.data.engine import EngineSource
from sfumato.data.sources import ROWS, Source
from sfumato.data.spool import Spool
from sfumato.data.subsets import Head, Seed, Subset, spelt
from sfumato.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

KEY_BYTES = 32
NOBODY = ("", "NA", "N/A", "NaN", "nan", "None", "null", "NULL")
"""Texts that name no person: all rows that held one would count as one person's."""
_MEMORY = "2GB"  # of the query engine, before it spills


@dataclass(frozen=True)
class Kept:
    """Some rows of a source, by place.

    Args:
        source: All rows.
        bits: (ceil(n / 8),) one bit a row, packed; 1 where it is kept.
        num_rows: How many are kept.
    """

    source: Source
    bits: NDArray[np.uint8]
    num_rows: int

    @classmethod
    def of(cls, source: Source, mask: NDArray[np.bool_]) -> Kept:
        """The rows of ``source`` where (n,) ``mask`` is true."""
        return cls(source, np.packbits(mask), int(mask.sum()))

    @property
    def names(self) -> tuple[str, ...]:
        """Column names."""
        return self.source.names

    def mask(self, start: int, count: int) -> NDArray[np.bool_]:
        """(count,) whether rows from ``start`` on are kept."""
        whole = self.bits[start // 8 : (start + count + 7) // 8]
        return np.unpackbits(whole)[start % 8 : start % 8 + count].astype(bool)

    def batches(self, columns: Sequence[str], rows: int = ROWS) -> Iterator[pa.RecordBatch]:
        """All kept rows of some columns, in order."""
        import pyarrow as pa

        start = 0
        for batch in self.source.batches(columns, rows):
            kept = batch.filter(pa.array(self.mask(start, batch.num_rows)))
            start += batch.num_rows
            if kept.num_rows:
                yield kept


def origin(source: Source | None) -> Source | None:
    """The files or table that a part of it is read from; None of what is in memory."""
    while isinstance(source, Subset | Head | Kept):
        source = source.source
    return source


def numbered(source: Source | None) -> bool:
    """Whether a row's number says which row it is to whoever holds the data: true of files."""
    return not isinstance(origin(source), EngineSource | Spool)


def bound(source: Source, unit: str, rows: int, key: bytes) -> Kept:
    """At most ``rows`` rows of each person, drawn at random.

    Args:
        source: All rows.
        unit: The column that says whom a row is of.
        rows: How many are kept at most, from 1 up.
        key: Secret, drawn anew for each data set and release.

    Raises:
        InputError: If a row is of nobody, or rows have no order that lasts.
    """
    _check_order(source, unit)
    with _engine() as engine, _registered(engine, source, unit, key):
        kept = engine.sql(
            "SELECT place FROM ids QUALIFY "
            f"row_number() OVER (PARTITION BY person ORDER BY priority, place) <= {int(rows)}"
        )
        # Named anew in DuckDB 2.
        stream = getattr(kept, "to_arrow_reader", None) or kept.fetch_arrow_reader
        return _collected(source, stream(ROWS))


def held_out(source: Source, unit: str, seed: Seed, fraction: float) -> tuple[Kept, Kept]:
    """Parts rows by person: the same person is never on both sides.

    A person's side follows from their id and the seed alone, never from how many there are or
    what their rows hold, so that one person more moves nobody else.

    Returns:
        The rest and the held-out rows.

    Raises:
        InputError: If a part would be empty, or a row is of nobody.
    """
    _check_order(source, unit)
    if not 0 < fraction < 1:
        raise InputError(f"the held-out fraction is {fraction!r}", "Give a number between 0 and 1.")
    parts = [
        below(persons.to_numpy(zero_copy_only=False), seed, fraction)
        for persons in ids(source, unit)
    ]
    out = np.concatenate(parts) if parts else np.zeros(0, bool)
    if out.all() or not out.any():
        raise InputError(
            f"persons in {unit!r} are too few to hold {fraction:g} of them out: one part is empty",
            "Give more persons, another fraction or another seed.",
        )
    return Kept.of(source, ~out), Kept.of(source, out)


def below(persons: NDArray[Any], seed: Seed, fraction: float) -> NDArray[np.bool_]:
    """(n,) whether persons (n,) are held out, by a hash of their id."""
    from pandas.util import hash_array

    # SipHash, the same on every machine; its key is of 16 letters.
    key = hashlib.sha256(f"sfumato held out {spelt(seed)}".encode()).hexdigest()[:16]
    hashes = hash_array(persons.astype(object), hash_key=key, categorize=False)
    return np.asarray(hashes < np.uint64(fraction * 2**64))


def _check_order(source: Source, unit: str) -> None:
    """Refuses to tell rows apart by their place where they have none."""
    found = origin(source)
    if isinstance(found, EngineSource) and not found.ordered:
        raise InputError(
            f"{found.name}: {found.engine} gives rows in no order, and {unit!r} is a unit",
            "Name a folder for a private copy of its rows (--spool DIR), keep one row a person in "
            "a view there, or export the table to Parquet.",
        )


def shared(first: Source, second: Source, unit: str) -> int:
    """How many persons have rows in both sources.

    Raises:
        InputError: If a row is of nobody.
    """
    with _engine() as engine:
        for name, source in (("first", first), ("second", second)):
            with _registered(engine, source, unit, b""):
                engine.execute(f"CREATE TABLE {name}_persons AS SELECT DISTINCT person FROM ids")
        both = "SELECT person FROM first_persons INTERSECT SELECT person FROM second_persons"
        return int(engine.execute(f"SELECT count(*) FROM ({both})").fetchone()[0])


def ids(source: Source, unit: str) -> Iterator[pa.Array]:
    """Whom each row is of, as text without surrounding blanks, batch by batch; 7.0 is 7.

    Raises:
        InputError: If a row is of nobody.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    first_row, known = 0, numbered(source)
    for batch in source.batches([unit]):
        column = batch.column(0)
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        refuse_nested(column, unit, "ids")
        if pa.types.is_floating(column.type):
            column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
        persons = pc.utf8_trim_whitespace(pc.cast(column, pa.string()))
        # Whole numbers beside gaps are written as 7.0 in one file, and are 7 in another.
        persons = pc.replace_substring_regex(persons, r"^(\d+)\.0+$", r"\1")
        nobody = pc.or_(pc.is_null(persons), pc.is_in(persons, value_set=pa.array(NOBODY)))
        nobody = nobody.to_numpy(zero_copy_only=False)
        if nobody.any():
            where = f"row {first_row + int(np.argmax(nobody)) + 1}" if known else "a row"
            raise InputError(
                f"column {unit!r}: no value in {where}",
                "Every row needs the person it is of: fill it in, or take the row out.",
            )
        first_row += batch.num_rows
        yield persons


def numbers(source: Source, unit: str) -> NDArray[np.int64]:
    """(n,) a number for the person of each row: equal for equal persons of this source.

    Raises:
        InputError: If a row is of nobody, or rows have no order that lasts.
    """
    import pyarrow as pa

    _check_order(source, unit)
    encoded = pa.chunked_array(list(ids(source, unit)), pa.string()).dictionary_encode()
    found = encoded.unify_dictionaries().combine_chunks().indices
    return np.asarray(found.to_numpy(zero_copy_only=False), np.int64)


def named(identity: NDArray[Any]) -> NDArray[np.str_]:
    """(n,) identities as text without surrounding blanks.

    Raises:
        InputError: If one names nobody.
    """
    text = np.char.strip(np.asarray(identity).astype(str))
    nobody = np.isin(text, NOBODY)
    if nobody.any():
        raise InputError(
            f"record {int(np.argmax(nobody))} has no identity, and others have",
            "Say of each whom it shows, or give no identities.",
        )
    return np.asarray(text, np.str_)


@contextmanager
def _registered(engine: Any, source: Source, unit: str, key: bytes) -> Iterator[None]:
    """Person, place and priority of each row, as a stream that the engine knows as ``ids``."""
    import pyarrow as pa

    kind = pa.schema([("person", pa.string()), ("place", pa.int64()), ("priority", pa.uint64())])
    failed: list[InputError] = []

    def stream() -> Iterator[pa.RecordBatch]:
        start = 0
        try:
            for persons in ids(source, unit):
                places = np.arange(start, start + len(persons), dtype=np.int64)
                drawn = priorities(key, start, len(persons))
                start += len(persons)
                arrays = [persons, pa.array(places), pa.array(drawn)]
                yield pa.record_batch(arrays, schema=kind)
        except InputError as error:
            failed.append(error)
            raise

    engine.register("ids", pa.RecordBatchReader.from_batches(kind, stream()))
    try:
        yield
    except Exception:
        if failed:  # the engine wraps it in an error of its own
            raise failed[0] from None
        raise
    finally:
        engine.unregister("ids")


def priorities(key: bytes, start: int, count: int) -> NDArray[np.uint64]:
    """(count,) pseudo-random numbers of a secret key for the rows from ``start`` on.

    SHAKE-256 of the key and the number of a block of rows: whoever lacks the key cannot tell them
    from random ones.
    """
    blocks = range(start // ROWS, (start + max(count, 1) - 1) // ROWS + 1)
    stream = b"".join(
        hashlib.shake_256(key + block.to_bytes(8, "little")).digest(8 * ROWS) for block in blocks
    )
    at = start - blocks.start * ROWS
    return np.frombuffer(stream, dtype=np.uint64)[at : at + count]


def _collected(source: Source, places: Any) -> Kept:
    mask = np.zeros(source.num_rows, bool)
    for batch in places:
        mask[batch.column(0).to_numpy()] = True
    return Kept.of(source, mask)


@contextmanager
def _engine() -> Iterator[Any]:
    """DuckDB with a bounded memory and a private folder to spill to, gone afterwards."""
    import duckdb

    with tempfile.TemporaryDirectory(prefix="sfumato-") as scratch:  # for its owner only
        engine = duckdb.connect()
        try:
            engine.execute(f"SET memory_limit = '{_MEMORY}'")
            spill = str(Path(scratch)).replace("'", "''")
            engine.execute(f"SET temp_directory = '{spill}'")
            engine.execute("SET preserve_insertion_order = false")
            yield engine
        finally:
            engine.close()
