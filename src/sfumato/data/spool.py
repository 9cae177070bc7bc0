"""A private copy of rows that come in no lasting order: read once, in one order from then on.

The rows of a view, a server or Spark may come in another order, and be others, in every pass. Where
a row's place must last (which rows of a person are used, whose public values stand beside which
released row) the columns that are read are copied once, by one query, to a Parquet file in a folder
that the custodian names: rows, and whose they are, then lie on this machine's disk.

The file has no name there. Nobody else can open it, and it is gone with the process that made it,
however that ends. Only an interrupted run that goes on later keeps a copy by name, in its own
private folder (:meth:`Spool.save`).
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfumato.data.engine import EngineSource
from sfumato.data.sources import ROWS, ParquetSource, Source
from sfumato.data.writing import GROUP
from sfumato.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

_NOTE = b"sfumato"
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
        self._place = Path(f"/dev/fd/{handle}")
        self._rows = ParquetSource((self._place,))
        self.spelt = bool(_note(self._place)["spelt"])

    @classmethod
    def copy(cls, source: EngineSource, columns: Sequence[str], folder: Path) -> Spool:
        """Copies some columns of a table, by one query and in bounded memory.

        Raises:
            InputError: If the folder takes no copy, or the table cannot be read.
        """
        import pyarrow as pa

        try:
            handle, name = tempfile.mkstemp(prefix="sfumato-", dir=folder)
            os.unlink(name)
        except OSError as error:
            raise _refused(folder, error) from None
        try:
            _write(Path(f"/dev/fd/{handle}"), source, columns)
        except BaseException as error:
            os.close(handle)
            if isinstance(error, OSError):
                raise _refused(folder, error) from None
            if isinstance(error, pa.ArrowException):
                reason = " ".join(str(error).split())[:120]
                raise InputError(
                    f"{source.name} cannot be copied ({reason})", "Cast its columns in a view."
                ) from None
            raise
        return cls(handle)

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


def _write(path: Path, source: EngineSource, columns: Sequence[str]) -> None:
    """The rows as Parquet, a row group in memory at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    note = json.dumps({"table": source.name, "spelt": source.spelt})
    writer: Any = None
    try:
        for group in _groups(source, columns):
            if writer is None:
                kind = group.schema.with_metadata({_NOTE: note})
                writer = pq.ParquetWriter(path, kind, compression="zstd")
            writer.write_table(group.replace_schema_metadata(kind.metadata), row_group_size=GROUP)
        if writer is None:
            kind = pa.schema([source.schema.field(name) for name in columns], {_NOTE: note})
            writer = pq.ParquetWriter(path, kind)
    finally:
        if writer is not None:
            writer.close()


def _groups(source: EngineSource, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Tables of about a row group each, texts as texts: dictionaries differ from batch to batch."""
    import pyarrow as pa

    waiting: list[pa.RecordBatch] = []
    rows = 0
    for batch in source.batches(columns):
        arrays = [
            array.dictionary_decode() if pa.types.is_dictionary(array.type) else array
            for array in batch.columns
        ]
        waiting.append(pa.record_batch(arrays, names=batch.schema.names))
        rows += batch.num_rows
        if rows >= GROUP:
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
