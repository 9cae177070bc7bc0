"""Downloads of named data sets: each is parsed and checked before it is kept."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sfumato.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

    from sfumato.data.columns import Column
    from sfumato.data.datasets import Info

Download = Callable[[str], bytes]

_UCI = "https://archive.ics.uci.edu/static/public/"
_ARCHIVES = {
    "census-income": _UCI + "117/census+income+kdd.zip",
    "german-credit": _UCI + "144/statlog+german+credit+data.zip",
}
_FOLDERS = {
    "mnist": "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "fashion-mnist": "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
}
# Of the unpacked files: mirrors pack the same bytes differently.
_SHA256 = {
    "mnist/train-images-idx3-ubyte.gz": (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
    ),
    "mnist/train-labels-idx1-ubyte.gz": (
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
    ),
    "mnist/t10k-images-idx3-ubyte.gz": (
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
    ),
    "mnist/t10k-labels-idx1-ubyte.gz": (
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
    ),
    "fashion-mnist/train-images-idx3-ubyte.gz": (
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"
    ),
    "fashion-mnist/train-labels-idx1-ubyte.gz": (
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"
    ),
    "fashion-mnist/t10k-images-idx3-ubyte.gz": (
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"
    ),
    "fashion-mnist/t10k-labels-idx1-ubyte.gz": (
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"
    ),
    # Of the values, joined by commas, a line a record: the file itself pads its lines unevenly.
    "tables/german_credit.csv": (
        "ec12a88b9fc14d74ba646ea0410cf7ff4533bec2eb61652f8ad76796bbfec017"
    ),
}
_LARGEST = 1 << 30
_CENSUS_MISSING = ("?", "NA")
_CENSUS_INCOMES = {"- 50000.": "<=50K", "50000+.": ">50K"}


def fetch(info: Info, into: Path, download: Download | None = None) -> None:
    """Downloads the files of a data set into a folder, each whole or not at all.

    Raises:
        InputError: If the source cannot be reached or what it gives fails the check.
    """
    get = download or over_http
    if info.name in _FOLDERS:
        for files in info.files.values():
            for file in files:
                data = get(_FOLDERS[info.name] + file.rpartition("/")[2])
                _check(hashlib.sha256(unpack(data, file)).hexdigest(), file)
                _keep(into / file, data)
        return
    archive = get(_ARCHIVES[info.name])
    if info.name == "german-credit":
        (file,) = info.files["train"]
        _keep(into / file, german_csv(member(archive, "german.data")))
        return
    for split, name in (("train", "census-income.data"), ("test", "census-income.test")):
        (file,) = info.files[split]
        table = census_table(member(archive, name), info.records[split])
        _keep(into / file, _parquet(table))


def over_http(url: str) -> bytes:
    """The bytes at a public address.

    Raises:
        InputError: If it cannot be reached or sends more than a gigabyte.
    """
    import urllib.error
    import urllib.request

    request = urllib.request.Request(url, headers={"User-Agent": "sfumato"})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            data: bytes = response.read(_LARGEST + 1)
    except (urllib.error.URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise InputError(
            f"cannot fetch {url} ({reason})",
            "Check the network, or set SFUMATO_DATA to a folder that holds the data.",
        ) from None
    if len(data) > _LARGEST:
        raise InputError(f"{url} is larger than a gigabyte", "That is not the data set.")
    return data


def unpack(data: bytes, name: str) -> bytes:
    """What a gzip file holds.

    Raises:
        InputError: If it is none.
    """
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error):
        raise InputError(f"{name} arrived damaged", "Fetch it again.") from None


def member(archive: bytes, name: str) -> bytes:
    """A file inside a zip or tar archive, gzipped or in archives within it or not.

    Raises:
        InputError: If it is not there.
    """
    found = _search(archive, name)
    if found is None:
        raise InputError(f"the archive holds no {name}", "Its source has changed.")
    return found


def _search(data: bytes, name: str) -> bytes | None:
    for inner, content in _members(data):
        base = inner.rpartition("/")[2]
        if base == name:
            return content
        if base in (f"{name}.gz", f"{name}.Z"):
            return unpack(content, inner)
        if base.endswith((".zip", ".tar.gz", ".tgz", ".tar")):
            found = _search(content, name)
            if found is not None:
                return found
    return None


def _members(data: bytes) -> list[tuple[str, bytes]]:
    try:
        if zipfile.is_zipfile(io.BytesIO(data)):
            with zipfile.ZipFile(io.BytesIO(data)) as files:
                return [(f, files.read(f)) for f in files.namelist() if not f.endswith("/")]
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            opened = ((f.name, tar.extractfile(f)) for f in tar.getmembers() if f.isfile())
            return [(f, handle.read()) for f, handle in opened if handle is not None]
    except (zipfile.BadZipFile, tarfile.TarError, OSError, EOFError, zlib.error):
        raise InputError("what the source sent is no archive", "Fetch it again.") from None


def german_csv(data: bytes) -> bytes:
    """``german.data`` (values apart by blanks, no header) as CSV, its values checked.

    Raises:
        InputError: If a value differs from the published ones.
    """
    import csv

    from sfumato.data.datasets import schema_of

    rows = [line.split() for line in data.decode("ascii", "replace").splitlines() if line.strip()]
    values = "".join(",".join(row) + "\n" for row in rows)
    _check(hashlib.sha256(values.encode()).hexdigest(), "tables/german_credit.csv")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(schema_of("german-credit").names)
    writer.writerows(rows)
    return text.getvalue().encode()


def census_table(data: bytes, records: int) -> pa.Table:
    """``census-income.data``: comma and blank between values, ``?`` and ``NA`` for missing.

    No checksum of the original is known to us; number of rows and columns and every value are
    checked against the data dictionary instead.

    Raises:
        InputError: If a check fails.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import csv

    from sfumato.data.datasets import schema_of
    from sfumato.data.table import Table

    schema = schema_of("census-income")
    names = list(schema.names)
    # The weight, which the schema drops, stands before the columns on migration.
    names.insert(names.index("migration_msa"), "instance_weight")
    try:
        raw = csv.read_csv(
            pa.BufferReader(data),
            read_options=csv.ReadOptions(column_names=names),
            parse_options=csv.ParseOptions(quote_char=False),
            convert_options=csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
        )
        columns = {}
        for name in names:
            # One blank follows each comma; some levels end in blanks of their own.
            values = pc.replace_substring_regex(raw.column(name), "^ ", "")
            absent = pc.is_in(values, value_set=pa.array(_CENSUS_MISSING))
            values = pc.if_else(absent, pa.scalar(None, pa.string()), values)
            if name == "income":
                places = pc.index_in(values, value_set=pa.array(list(_CENSUS_INCOMES)))
                values = pc.take(pa.array(list(_CENSUS_INCOMES.values())), places)
            elif name == "instance_weight":
                values = pc.cast(pc.utf8_trim_whitespace(values), pa.float64())
            elif _is_whole(schema[name]):
                values = pc.cast(pc.utf8_trim_whitespace(values), pa.int64())
            columns[name] = values
        table = pa.table(columns)
    except pa.ArrowException as error:
        reason = " ".join(str(error).split())[:100]
        raise InputError(
            f"the census file is not as published ({reason})", "Fetch again."
        ) from None
    if table.num_rows != records:
        raise InputError(
            f"the census file has {table.num_rows} rows, {records} were published",
            "Fetch it again.",
        )
    Table.from_arrow(table, schema).validate(schema)
    return table


def _is_whole(column: Column) -> bool:
    from sfumato.data.columns import Numeric

    return column.integer if isinstance(column, Numeric) else column.dtype == "int64"


def _parquet(table: pa.Table) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    written: bytes = sink.getvalue().to_pybytes()
    return written


def _check(found: str, file: str) -> None:
    if found != _SHA256[file]:
        raise InputError(
            f"{file} has the sha256 {found[:16]}..., expected {_SHA256[file][:16]}...",
            "The download is damaged or its source has changed; nothing was kept.",
        )


def _keep(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, scratch = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(scratch, path)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise
