"""Where a table's raw values come from: memory, Parquet or CSV, read as a stream."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sfumato.data.arrays import is_text
from sfumato.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = 65536


class Source(Protocol):
    """Raw rows, as many passes as wanted, one batch in memory at a time."""

    @property
    def names(self) -> tuple[str, ...]:
        """Column names as they stand in the data."""
        ...

    @property
    def num_rows(self) -> int:
        """Number of rows; may cost a pass the first time."""
        ...

    def batches(self, columns: Sequence[str], rows: int = ROWS) -> Iterator[pa.RecordBatch]:
        """All rows of some columns, in order."""
        ...


@dataclass(frozen=True)
class ArrowSource:
    """A table in memory."""

    table: pa.Table

    @property
    def names(self) -> tuple[str, ...]:
        """Column names."""
        return tuple(self.table.column_names)

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return int(self.table.num_rows)

    def batches(self, columns: Sequence[str], rows: int = ROWS) -> Iterator[pa.RecordBatch]:
        """All rows of some columns, in order."""
        yield from self.table.select(list(columns)).to_batches(max_chunksize=rows)


@dataclass(frozen=True)
class ParquetSource:
    """Parquet files with the same columns, one after the other."""

    files: tuple[Path, ...]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Column names of the first file; the others must have the same."""
        first: tuple[str, ...] | None = None
        for path in self.files:
            names = tuple(str(name) for name in self._open(path).schema_arrow.names)
            if first is not None and set(names) != set(first):
                raise InputError(
                    f"{path} and {self.files[0]} have different columns", "Open them separately."
                )
            first = first or names
        return first or ()

    @property
    def schema(self) -> pa.Schema:
        """Declared types, from the first file's metadata."""
        return self._open(self.files[0]).schema_arrow

    @cached_property
    def num_rows(self) -> int:
        """Number of rows, from the files' metadata."""
        return sum(int(self._open(path).metadata.num_rows) for path in self.files)

    def batches(self, columns: Sequence[str], rows: int = ROWS) -> Iterator[pa.RecordBatch]:
        """All rows of some columns, in order."""
        import pyarrow as pa

        for path in self.files:
            try:
                file = self._open(path, columns)
                yield from file.iter_batches(batch_size=rows, columns=list(columns))
            except (pa.ArrowException, OSError) as error:
                raise _damaged(path, error) from None

    def _open(self, path: Path, columns: Sequence[str] = ()) -> Any:
        """A file; texts of these columns come as dictionaries, which is how they are stored."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if path.stat().st_size == 0:
            raise InputError(f"{path} is empty", "Give a file with rows.")
        try:
            options: dict[str, Any] = {"pre_buffer": False, "buffer_size": 1 << 20}
            file = pq.ParquetFile(path, **options)
            texts = [f.name for f in file.schema_arrow if f.name in columns and is_text(f.type)]
            if texts:
                metadata = file.metadata
                file = pq.ParquetFile(path, metadata=metadata, read_dictionary=texts, **options)
            return file
        except (pa.ArrowException, OSError) as error:
            raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> InputError:
    reason = " ".join(str(error).split())[:120]
    return InputError(
        f"{path} is not whole Parquet ({reason})",
        "The file is truncated or damaged; copy it again.",
    )


@dataclass(frozen=True)
class CsvSource:
    """CSV files with the same header, one after the other; every value is read as text."""

    files: tuple[Path, ...]
    encoding: str = "utf-8"
    delimiter: str = ","

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The header of the first file; the others must have the same."""
        first: tuple[str, ...] | None = None
        for path in self.files:
            names = self._header(path)
            if first is not None and names != first:
                raise InputError(
                    f"{path} and {self.files[0]} have different headers: {_apart(names, first)}",
                    "Give all files the same columns in the same order, or open them separately.",
                )
            first = names
        return first or ()

    @cached_property
    def num_rows(self) -> int:
        """Number of rows, counted in one pass over the first column."""
        return sum(batch.num_rows for batch in self.batches(self.names[:1]))

    def batches(self, columns: Sequence[str], rows: int = ROWS) -> Iterator[pa.RecordBatch]:
        """All rows of some columns, in order, as texts."""
        import pyarrow as pa
        from pyarrow import csv as arrow_csv

        names = self.names
        for path in self.files:
            ragged: list[str] = []

            def refuse(row: Any, ragged: list[str] = ragged) -> str:
                ragged.append(
                    f"line {row.number} has {row.actual_columns} values, "
                    f"the header names {row.expected_columns}"
                )
                return "error"

            try:
                reader = arrow_csv.open_csv(
                    path,
                    # Serial reading, so that line numbers are known.
                    read_options=arrow_csv.ReadOptions(
                        encoding=_codec(self.encoding), use_threads=False, block_size=1 << 22
                    ),
                    parse_options=arrow_csv.ParseOptions(
                        delimiter=self.delimiter,
                        newlines_in_values=True,
                        invalid_row_handler=refuse,
                    ),
                    convert_options=arrow_csv.ConvertOptions(
                        column_types=dict.fromkeys(names, pa.string()),
                        include_columns=list(columns),
                        strings_can_be_null=False,
                        quoted_strings_can_be_null=False,
                    ),
                )
                with reader:
                    for batch in reader:
                        for start in range(0, batch.num_rows, rows):
                            yield batch.slice(start, rows)
            except (pa.ArrowException, OSError, UnicodeError) as error:
                reason = " ".join(str(error).split())
                if "Empty CSV file" in reason:  # a header without a line end, and no row
                    continue
                if ragged:
                    raise InputError(f"{path}: {ragged[0]}", "Quote values that hold it.") from None
                if isinstance(error, UnicodeError) or "utf8" in reason.lower().replace("-", ""):
                    raise self._wrong_encoding(path) from None
                raise InputError(
                    f"{path} is no readable CSV ({reason[:120]})", "Correct it."
                ) from None

    def _header(self, path: Path) -> tuple[str, ...]:
        if path.stat().st_size == 0:
            raise InputError(f"{path} is empty", "Give a file with a header and rows.")
        codec = "utf-8-sig" if _codec(self.encoding) == "utf-8" else self.encoding
        try:
            opener = gzip.open if path.suffix == ".gz" else open
            with opener(path, "rt", encoding=codec, newline="") as handle:
                header = next(csv.reader(handle, delimiter=self.delimiter, strict=True), [])
        except UnicodeError:
            raise self._wrong_encoding(path) from None
        except (csv.Error, OSError, EOFError) as error:
            raise InputError(f"{path} is no readable CSV ({error})", "Correct it.") from None
        if not header or header == [""]:
            raise InputError(f"{path} has no header", "Name the columns in the first line.")
        if any("\x00" in name for name in header):
            raise self._wrong_encoding(path)
        check_names(header, str(path))
        return tuple(header)

    def _wrong_encoding(self, path: Path) -> InputError:
        return InputError(
            f"{path} is not {self.encoding}",
            "Name its encoding, for example latin-1, cp1252 or utf-16: encoding: latin-1 in the "
            "schema, or --encoding latin-1 to draft one.",
        )


def _codec(encoding: str) -> str:
    import codecs

    name = codecs.lookup(encoding).name
    # Arrow reads UTF-8 natively and skips a byte order mark itself.
    return "utf-8" if name in ("utf-8", "utf-8-sig", "ascii") else name


def check_names(names: Sequence[str], where: str) -> None:
    """Refuses names that are there twice or empty."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InputError(f"{where} has the column {name!r} twice", "Rename or remove one.")
        if not name:
            raise InputError(f"{where} has a column without a name", "Name every column.")
        seen.add(name)


def open_files(pattern: str | Path) -> tuple[Path, ...]:
    """The files that a path, a folder or a glob names, in order of name.

    Raises:
        InputError: If there is none.
    """
    import glob

    path = Path(pattern).expanduser()
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if _suffix(p) and not p.name.startswith("."))
        if not found:
            raise InputError(f"{path} holds no .csv or .parquet file", "Give the data's folder.")
    elif path.is_file():
        found = [path]
    else:
        found = sorted(Path(name) for name in glob.glob(str(path), recursive=True))
        found = [p for p in found if p.is_file()]
        if not found:
            raise InputError(f"there is no file {pattern}", "Check the path.")
    kinds = {_suffix(p) for p in found}
    if kinds not in ({"csv"}, {"parquet"}):
        names = ", ".join(p.name for p in found[:3])
        raise InputError(
            f"{names} is not .csv or .parquet alone",
            "Give files of one of the two. Pictures come as a folder or .npz; models that are "
            "attacked as .safetensors, .skops or, where they are trusted, .pt, .joblib and .pkl.",
        )
    return tuple(found)


def file_source(pattern: str | Path, encoding: str, delimiter: str) -> Source:
    """CSV or Parquet files as one source."""
    files = open_files(pattern)
    if _suffix(files[0]) == "parquet":
        source: Source = ParquetSource(files)
        check_names(source.names, str(files[0]))
        return source
    return CsvSource(files, encoding, delimiter)


def _suffix(path: Path) -> str:
    name = path.name.lower()
    if name.endswith((".csv", ".csv.gz", ".tsv")):
        return "csv"
    return "parquet" if name.endswith((".parquet", ".pq")) else ""


def _apart(names: Sequence[str], first: Sequence[str]) -> str:
    """How a header differs from the first; what it alone has may be a row, and is not said."""
    lacking = [name for name in first if name not in names]
    if lacking:
        said = ", ".join(repr(name) for name in lacking[:5])
        return f"the former lacks {said}{', ...' if len(lacking) > 5 else ''}"
    if len(names) > len(first):
        return f"the former has {len(names)} columns, the latter {len(first)}"
    return "their order is not the same"
