"""Codes written as a Parquet file, out of core: the form of every released table."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.data.columns import Categorical, Column

if TYPE_CHECKING:
    import pyarrow as pa

    from sfumato.data.schema import Schema

GROUP = 1 << 17
"""Rows of a row group: few enough to be held while they are gathered, enough to compress well."""


class Writer:
    """A Parquet file of rows in the schema's types and precision.

    Args:
        path: The file; it is replaced.
        schema: Of the rows.
    """

    def __init__(self, path: Path, schema: Schema) -> None:
        self._path = path
        self._columns = schema.columns
        self._waiting: list[pa.RecordBatch] = []
        self._rows = 0
        self._writer: Any = None

    def add(self, codes: Mapping[str, NDArray[Any]]) -> None:
        """Appends rows, (b,) codes a column."""
        import pyarrow as pa

        arrays = [_stored(column, codes[column.name]) for column in self._columns]
        batch = pa.record_batch(arrays, names=[column.name for column in self._columns])
        self._waiting.append(batch)
        self._rows += batch.num_rows
        if self._rows >= GROUP:
            self._flush()

    def close(self) -> None:
        """Writes what waits, and the file's end."""
        if self._waiting:
            self._flush()
        if self._writer is not None:
            self._writer.close()

    def abandon(self) -> None:
        """Lets go of the file where it is to be no table: what was wrong is told elsewhere."""
        if self._writer is not None:
            with contextlib.suppress(Exception):
                self._writer.close()

    def _flush(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows = pa.Table.from_batches(self._waiting)
        if self._writer is None:
            # Without Arrow's own notes in it, whoever reads the file finds plain texts, not the
            # dictionaries that they are written from.
            self._writer = pq.ParquetWriter(
                self._path, rows.schema, compression="zstd", store_schema=False
            )
        self._writer.write_table(rows, row_group_size=GROUP)
        self._waiting, self._rows = [], 0


def write(path: Path, schema: Schema, batches: Iterable[Mapping[str, NDArray[Any]]]) -> None:
    """Writes batches of codes as one Parquet file."""
    writer = Writer(path, schema)
    try:
        for codes in batches:
            writer.add(codes)
        writer.close()
    except BaseException:
        writer.abandon()
        raise


def same_file(file: Path, path: Path) -> None:
    """The file under another name, or a copy of it where a name will not do."""
    try:
        os.link(file, path)
    except OSError:
        shutil.copyfile(file, path)


def _stored(column: Column, codes: NDArray[Any]) -> pa.Array:
    """The Arrow array that codes stand for; texts as a dictionary, which is how they are stored."""
    import pyarrow as pa

    if not isinstance(column, Categorical) or column.dtype != "string":
        return column.decode(codes)
    absent = codes == column.cardinality
    places = np.where(absent, 0, codes).astype(np.int32)
    mask = absent if column.missing else None
    return pa.DictionaryArray.from_arrays(pa.array(places, mask=mask), pa.array(column.levels))
