"""A private copy of rows that come in no lasting order: read once, in one order from then on.

The rows of a view, a server or Spark may come in another order, and be others, in every pass. Where
a row's place must last (which rows of a person are used, whose public values stand beside which
released row) the columns that are read are copied once, by one query, to a Parquet file in a folder
that the custodian names: rows, and whose they are, then lie on this machine's disk.

They lie there in a random order. The engine's may follow from their values: released rows that
stand for them would tell of it, and one value more or less would move all other rows.

The file has no name there. Nobody else can open it, and it is gone with the process that made it,
however that ends. Only an interrupted run that goes on later keeps a copy by name, in its own
private folder (:meth:`Spool.save`).
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.data.engine import EngineSource
from sfumato.data.sources import ROWS, ParquetSource, Source
from sfumato.data.writing import GROUP
from sfumato.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

LOG = logging.getLogger("sfumato")

_NOTE = b"sfumato"
_BLOCK = 1 << 18  # rows that are dealt at a time
_PARTS = 256  # that they are dealt to, by a byte each; one of them is in memory at a time
_EVERY = 20  # seconds between two words about how far a copy is
_ROOM = "Name a folder of yours on a disk with room for the rows."


def in_order(source: Source, columns: Sequence[str], where: str | Path | None) -> Source:
    """The rows as they are where their order lasts, else a private copy of them.

    Args:
        source: All rows.
        columns: That are read of them.
        where: A folder to copy to, or the file that an earlier copy was kept as; None copies
            nothing.

    Raises:
        InputError: If no copy can be made or it is of another table. Nothing is left on disk.
    """
    if where is None or not isinstance(source, EngineSource) or source.ordered:
        return source
    path = Path(where).expanduser()
    return Spool.open(path, source) if path.is_file() else Spool.copy(source, columns, path)


class Spool:
    """Rows in the order in which they came when they were copied.

    Args:
        handle: Of the open Parquet file; closed with this.
        file: The name that it has, if any.

    Attributes:
        spelt: Whether every value is text, as in CSV files.
    """

    def __init__(self, handle: int, file: Path | None = None) -> None:
        weakref.finalize(self, os.close, handle)
        self.file = file
        self._place = _place(handle)
        self._rows = ParquetSource((self._place,))
        self.spelt = bool(_note(self._place)["spelt"])

    @classmethod
    def copy(cls, source: EngineSource, columns: Sequence[str], folder: Path) -> Spool:
        """Copies some columns of a table, by one query and in bounded memory.

        The logger ``sfumato`` tells that it is done, and how far it is.

        Raises:
            InputError: If the folder takes no copy, or the table cannot be read.
        """
        import pyarrow as pa

        try:
            with _unnamed(folder) as handle:
                LOG.info("%s is copied to %s, for this run alone.", source.name, folder)
                _write(_place(handle), source, columns, folder)
                return cls(os.dup(handle))
        except OSError as error:
            raise _refused(folder, error) from None
        except pa.ArrowException as error:
            reason = " ".join(str(error).split())[:120]
            raise InputError(
                f"{source.name} cannot be copied ({reason})", "Cast its columns in a view."
            ) from None

    @classmethod
    def open(cls, file: Path, source: EngineSource) -> Spool:
        """The copy that :meth:`save` wrote; it may be deleted while it is read.

        Raises:
            InputError: If it is no copy, or one of another table.
        """
        if _note(file).get("table") != source.name:
            raise InputError(
                f"{file} is no copy of {source.name}", "Give the table that it was made of."
            )
        return cls(os.open(file, os.O_RDONLY), file)

    @property
    def names(self) -> tuple[str, ...]:
        """Column names."""
        return self._rows.names

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return self._rows.num_rows

    def batches(self, columns: Sequence[str], rows: int = ROWS) -> Iterator[pa.RecordBatch]:
        """All rows of some columns, in order."""
        yield from self._rows.batches(columns, rows)

    def save(self, file: Path) -> None:
        """Keeps the copy under a name, for its owner only, whole or not at all.

        Raises:
            InputError: If there is no room.
        """
        beside = file.with_name(file.name + ".part")
        try:
            kept = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with self._place.open("rb") as rows, open(kept, "wb") as out:
                shutil.copyfileobj(rows, out, 1 << 20)
                out.flush()
                os.fsync(out.fileno())
            os.replace(beside, file)
        except BaseException as error:
            beside.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise _refused(file.parent, error) from None
            raise


@contextmanager
def _unnamed(folder: Path) -> Iterator[int]:
    """An open file of this process alone; its room is free again when nobody holds it open."""
    handle, name = tempfile.mkstemp(prefix="sfumato-", dir=folder)
    try:
        os.unlink(name)
        yield handle
    finally:
        os.close(handle)


def _place(handle: int) -> Path:
    """Where this process opens a file again that it holds open."""
    return Path(f"/dev/fd/{handle}")


def _write(path: Path, source: EngineSource, columns: Sequence[str], folder: Path) -> None:
    """The rows as Parquet, in a random order."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    note = json.dumps({"table": source.name, "spelt": source.spelt})
    writer: Any = None
    try:
        for rows in _shuffled(_blocks(source, columns), folder):
            if writer is None:
                kind = rows.schema.with_metadata({_NOTE: note})
                writer = pq.ParquetWriter(path, kind, compression="zstd")
            writer.write_table(rows.replace_schema_metadata(kind.metadata), row_group_size=GROUP)
        if writer is None:
            kind = pa.schema([source.schema.field(name) for name in columns], {_NOTE: note})
            writer = pq.ParquetWriter(path, kind)
    finally:
        if writer is not None:
            writer.close()


def _shuffled(blocks: Iterator[pa.Table], folder: Path) -> Iterator[pa.Table]:
    """The same rows in a uniformly random order, a share of them in memory at a time.

    Every row is dealt to one of so many parts at random. The parts wait on disk, each in a piece of
    every block, and are put in a random order one by one.
    """
    import pyarrow as pa

    first, second = next(blocks, None), next(blocks, None)
    if first is None or second is None:
        if first is not None:
            yield first.take(_order(first.num_rows))
        return
    with _unnamed(folder) as handle:
        place, count = str(_place(handle)), 0
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with (
            pa.OSFile(place, "wb") as file,
            pa.ipc.new_file(file, first.schema, options=options) as out,
        ):
            for block in chain((first, second), blocks):
                _deal(block, out)
                count += 1
        with pa.OSFile(place) as file, pa.ipc.open_file(file) as dealt:
            for part in range(_PARTS):
                pieces = [dealt.get_batch(i * _PARTS + part) for i in range(count)]
                rows = pa.Table.from_batches(pieces)
                yield rows.take(_order(rows.num_rows))


def _deal(block: pa.Table, out: Any) -> None:
    """Writes a block's rows as one piece for each part, whether or not it got any."""
    import pyarrow as pa

    empty = pa.RecordBatch.from_pylist([], schema=block.schema)
    part = np.frombuffer(os.urandom(block.num_rows), np.uint8)  # one of 256
    dealt = block.take(np.argsort(part, kind="stable")).combine_chunks()
    start = 0
    for size in np.bincount(part, minlength=_PARTS).tolist():
        (piece,) = dealt.slice(start, size).to_batches() or [empty]
        out.write_batch(piece)
        start += size


def _order(rows: int) -> NDArray[np.int64]:
    """(rows,) a random permutation: where the least of so many draws of 64 bits is, and so on."""
    return np.argsort(np.frombuffer(os.urandom(8 * rows), np.uint64))


def _blocks(source: EngineSource, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Tables of about a block each, texts as texts: dictionaries differ from batch to batch."""
    import pyarrow as pa

    waiting: list[pa.RecordBatch] = []
    rows = read = 0
    said = time.monotonic()
    for batch in source.batches(columns):
        arrays = [
            array.dictionary_decode() if pa.types.is_dictionary(array.type) else array
            for array in batch.columns
        ]
        waiting.append(pa.record_batch(arrays, names=batch.schema.names))
        rows += batch.num_rows
        read += batch.num_rows
        if time.monotonic() - said >= _EVERY:
            LOG.info("%s: %s rows read so far.", source.name, f"{read:,}")
            said = time.monotonic()
        if rows >= _BLOCK:
            yield pa.Table.from_batches(waiting)
            waiting, rows = [], 0
    if waiting:
        yield pa.Table.from_batches(waiting)


def _note(file: Path) -> dict[str, Any]:
    """What a copy says of itself; empty for any other file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        note = (pq.read_metadata(file).metadata or {}).get(_NOTE)
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(
            f"{file} is no folder, and no whole copy of rows ({reason})",
            "Name a folder; a run whose copy is damaged begins anew, with another checkpoint.",
        ) from None
    found: dict[str, Any] = {} if note is None else json.loads(note)
    return found


def _refused(folder: Path, error: OSError) -> InputError:
    reason = error.strerror or " ".join(str(error).split())[:120]
    return InputError(f"the rows cannot be copied to {folder} ({reason})", _ROOM)
