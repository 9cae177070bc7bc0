"""Which table a user means: files, ``duckdb://``, another database, a table of Spark's.

``--engine`` says who reads files: this process (the default), DuckDB, or Apache Spark. A database
is its own engine.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import uuid
import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from sfumato.data import sources
from sfumato.data.engine import EngineSource, failed
from sfumato.data.sources import Source
from sfumato.errors import InputError, MissingExtraError

ENGINES = (
    "auto, duckdb, spark, or spark with a master: spark://host:7077, spark:yarn, spark:local[4]"
)
_EMBEDDED = ("duckdb", "sqlite")
_STORES = ("hdfs", "s3", "s3a", "gs", "abfs", "abfss", "wasbs", "file")
_TABLE = "table:"
_URL = re.compile(r"([a-z][a-z0-9+]*)://")


def is_address(data: str) -> bool:
    """Whether a text is the address of a table rather than a path."""
    return bool(_URL.match(data)) or data.startswith(_TABLE)


def plain(address: str) -> str:
    """An address without user and password, and with the whole path of an embedded database."""
    if not _URL.match(address):
        return address
    parts = urlsplit(address)
    if parts.scheme in _EMBEDDED:
        whole = Path(_path(address)).expanduser().resolve()
        return f"{parts.scheme}://{whole}{'?' + parts.query if parts.query else ''}"
    host = parts.netloc.rpartition("@")[2]
    hidden = [(k, v) for k, v in parse_qsl(parts.query) if k not in ("password", "user", "token")]
    return urlunsplit((parts.scheme, host, parts.path, urlencode(hidden, safe="/."), ""))


def table_name(address: str) -> str:
    """A short name for the table that an address names."""
    if address.startswith(_TABLE):
        return address.removeprefix(_TABLE)
    parts = urlsplit(address)
    return dict(parse_qsl(parts.query)).get("table") or Path(parts.path).stem or parts.scheme


def named(data: str) -> str:
    """Data as a card names them: without the folders, hosts and passwords of whoever holds them.

    >>> named("dataset:mnist/test"), named("/home/ada/ward 7/pictures"), named("pictures/")
    ('dataset:mnist/test', 'pictures', 'pictures')
    >>> named("postgres://ada:secret@claims.example/db?table=public.people")
    'public.people'
    """
    if data.startswith("dataset:"):
        return data
    if is_address(data):
        return table_name(data)
    return Path(data).name or Path(data).expanduser().resolve().name or "data"


def open_source(data: str | Path, *, encoding: str, delimiter: str, engine: str = "auto") -> Source:
    """The rows of a table, wherever it lives; nothing but names and types is read yet.

    Args:
        data: A path, a glob or a folder; ``duckdb:///FILE?table=NAME``, or the like for any other
            Ibis backend; ``table:NAME`` of Spark's catalogue.
        encoding: Of CSV files.
        delimiter: Of CSV files.
        engine: ``auto``, ``duckdb``, ``spark``, ``spark://HOST:PORT`` or ``spark:MASTER``.

    Raises:
        InputError: If there is no such table or engine, or the engine's package is missing.
    """
    address = str(data)
    spark = _master(engine)
    if spark is not None:
        return _in_spark(address, encoding, delimiter, spark)
    if engine not in ("auto", "duckdb"):
        raise InputError(f"there is no engine {engine!r}", f"Use {ENGINES}.")
    if address.startswith(_TABLE):
        raise InputError(f"{address} is a table of Spark's", "Add --engine spark.")
    scheme = _URL.match(address)
    if scheme is None:
        files = sources.file_source(data, encoding, delimiter)
        return files if engine == "auto" else _in_duckdb(files)
    if scheme[1] in _STORES:
        raise InputError(
            f"{address} is read by Spark alone", "Add --engine spark, or copy the files here."
        )
    if engine == "duckdb" and scheme[1] != "duckdb":
        raise InputError(
            f"{plain(address)} is no DuckDB database", "Leave --engine out: it is its own engine."
        )
    return _database(address, scheme[1])


# -- databases ---------------------------------------------------------------------------------


def _database(address: str, scheme: str) -> EngineSource:
    import ibis

    shown = plain(address)
    parts = urlsplit(address)
    given = dict(parse_qsl(parts.query))
    name = given.pop("table", None)
    try:
        if scheme in _EMBEDDED:
            backend = _embedded(scheme, _path(address))
        else:
            where = urlunsplit((*parts[:3], urlencode(given), ""))
            backend = ibis.connect(where)
    except ImportError as error:
        raise InputError(
            f"{shown} needs a package that is not installed ({' '.join(str(error).split())[:120]})",
            f"Install it with: pip install 'ibis-framework[{_extra(scheme)}]'",
        ) from None
    except (InputError, MemoryError):
        raise
    except Exception as error:
        raise _unreached(shown, parts.password, error) from None
    if not name:
        raise InputError(f"{shown} names no table", f"Add ?table=NAME. {_listed(backend)}")
    stored = scheme in _EMBEDDED and _is_stored(backend, name)
    return EngineSource(_table(backend, name, shown), shown, ordered=stored)


def _embedded(scheme: str, path: str) -> Any:
    """An embedded database, opened without writing; it would be made if it were not there."""
    import ibis

    file = Path(path).expanduser()
    if not file.is_file():
        raise InputError(f"there is no file {file}", "Check the path.")
    if scheme == "sqlite":
        return ibis.sqlite.connect(str(file))
    return _duckdb(str(file), read_only=True)


def _duckdb(*args: str, **options: Any) -> Any:
    """DuckDB, which puts what does not fit in memory in a scratch folder for its owner only.

    The day of an instant (a time with a zone, of which DuckDB keeps none) is that in UTC, for every
    connection: without saying so, it were that of this machine's own zone in some passes.
    """
    import ibis

    backend = ibis.duckdb.connect(*args, temp_directory=_scratch().name, **options)
    backend.con.execute("SET GLOBAL TimeZone = 'UTC'")
    return backend


@cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    """One folder a process: DuckDB opens a file twice only with the same settings."""
    return tempfile.TemporaryDirectory(prefix="sfumato-")


def _table(backend: Any, name: str, shown: str) -> Any:
    from ibis.common.exceptions import TableNotFound

    *database, last = name.split(".")
    try:
        return backend.table(last, database=".".join(database) or None)
    except TableNotFound:
        raise InputError(f"{shown}: there is no table {name!r}", _listed(backend)) from None
    except Exception as error:
        raise failed(shown, error) from None


def _is_stored(backend: Any, name: str) -> bool:
    """Whether it is a table; a view's rows may come in another order every time."""
    *database, last = name.split(".")
    if backend.name == "sqlite":
        query = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?"
        found = backend.con.execute(query, [last]) if not database else None
    else:
        query = (
            "SELECT count(*) FROM information_schema.tables WHERE table_type = 'BASE TABLE' "
            "AND table_name = ? AND table_schema = ?"
        )
        found = backend.con.execute(query, [last, database[-1] if database else "main"])
    return found is not None and bool(found.fetchall()[0][0])


def _listed(backend: Any) -> str:
    """The tables that a database has, as far as it tells."""
    try:
        if backend.name == "duckdb":  # Ibis 12 lists through a method that DuckDB 2 has not
            found = backend.con.execute("SELECT table_name FROM information_schema.tables")
            names = sorted(name for (name,) in found.fetchall())
        else:
            names = list(backend.list_tables())
    except Exception:
        return ""
    return f"It has: {', '.join(names[:20])}." if names else "It has none."


def _unreached(shown: str, password: str | None, error: Exception) -> InputError:
    text = str(error)
    for secret in {password, unquote(password or "")} - {None, ""}:
        text = text.replace(str(secret), "***")
    return failed(shown, Exception(text), "Check the address, the user and the network.")


def _path(address: str) -> str:
    parts = urlsplit(address)
    return unquote(parts.netloc + parts.path)


def _extra(scheme: str) -> str:
    return {"postgresql": "postgres"}.get(scheme, scheme)


# -- files -------------------------------------------------------------------------------------


def _in_duckdb(files: Source) -> EngineSource:
    """Local files, read by DuckDB."""
    paths = _files(files)
    name = str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
    spelt = isinstance(files, sources.CsvSource)
    if isinstance(files, sources.CsvSource):
        names = ", ".join(_quoted(column) for column in files.names)
        columns = ", ".join(f"{_quoted(column)}: 'VARCHAR'" for column in files.names)
        options = (
            "auto_detect = false, header = true, quote = '\"', escape = '\"', "
            f"delim = {_quoted(files.delimiter)}, encoding = {_quoted(_encoding(files.encoding))}, "
            # An empty value is the empty text: whether that is missing, the schema says.
            f"columns = {{{columns}}}, force_not_null = [{names}]"
        )
        read = f"read_csv([{', '.join(_quoted(str(path)) for path in paths)}], {options})"
    else:
        read = f"read_parquet([{', '.join(_quoted(str(p)) for p in paths)}], union_by_name = true)"
    backend = _duckdb()
    try:
        # No temporary view: those are of one connection, and each pass has its own.
        backend.con.execute(f"CREATE VIEW files AS SELECT * FROM {read}")
        return EngineSource(backend.table("files"), name, spelt=spelt, ordered=True)
    except Exception as error:
        raise failed(name, error) from None


def _quoted(text: str) -> str:
    """A text as a literal of DuckDB's SQL."""
    return "'" + text.replace("'", "''") + "'"


def _encoding(encoding: str) -> str:
    """The name that DuckDB has for an encoding."""
    import codecs

    name = codecs.lookup(encoding).name
    known = {"utf-8-sig": "utf-8", "ascii": "utf-8", "iso8859-1": "latin-1"}
    return known.get(name, name)


def _files(files: Source) -> tuple[Path, ...]:
    assert isinstance(files, sources.CsvSource | sources.ParquetSource)
    return files.files


# -- Spark -------------------------------------------------------------------------------------


def _master(engine: str) -> str | None:
    """The master that ``--engine`` names: "" for Spark's own configuration, None for no Spark."""
    if engine == "spark":
        return ""
    if engine.startswith("spark://"):
        return engine
    return engine.removeprefix("spark:") if engine.startswith("spark:") else None


def _in_spark(address: str, encoding: str, delimiter: str, master: str) -> EngineSource:
    scheme = _URL.match(address)
    backend = _spark(master)
    if address.startswith(_TABLE):
        name = address.removeprefix(_TABLE)
        return EngineSource(_table(backend, name, address), address)
    if scheme is not None and scheme[1] in _STORES:
        paths, names = [address], None
        spelt = not address.rstrip("/").endswith((".parquet", ".pq"))
    elif scheme is not None:
        raise InputError(
            f"{plain(address)} is no table of Spark's", "Leave --engine out: it is its own engine."
        )
    else:
        files = sources.file_source(address, encoding, delimiter)
        paths = [f"file://{path.absolute()}" for path in _files(files)]
        spelt, names = isinstance(files, sources.CsvSource), files.names
    try:
        session = backend._session
        if spelt:
            frame = _csv_frame(session, paths, encoding, delimiter, names)
        else:
            frame = session.read.parquet(*paths)
        view = f"sfumato_{uuid.uuid4().hex}"
        frame.createOrReplaceTempView(view)
        table = backend.table(view)
    except Exception as error:
        raise failed(address, error) from None
    return EngineSource(table, address, spelt=spelt)


def _csv_frame(
    session: Any, paths: list[str], encoding: str, delimiter: str, names: tuple[str, ...] | None
) -> Any:
    options: Mapping[str, Any] = {
        "header": True,
        "sep": delimiter,
        "encoding": encoding,
        "quote": '"',
        "escape": '"',
        "multiLine": True,
        "mode": "FAILFAST",
        "enforceSchema": False,
        "ignoreLeadingWhiteSpace": False,
        "ignoreTrailingWhiteSpace": False,
    }
    reader = session.read.options(**options)
    if names is not None:
        from pyspark.sql.types import StringType, StructField, StructType

        reader = reader.schema(StructType([StructField(name, StringType()) for name in names]))
    # An empty value is the empty text, as everywhere: whether that is missing, the schema says.
    return reader.csv(paths).na.fill("")


def _spark(master: str) -> Any:
    try:
        import pyspark  # noqa: F401
        from pyspark.sql import SparkSession
    except ImportError:
        raise MissingExtraError("pyspark", "spark", "--engine spark") from None
    import ibis

    # Nothing passes through pandas here.
    warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)
    builder = SparkSession.builder.appName("sfumato")
    if master:
        builder = builder.master(master)
    builder = builder.config("spark.ui.showConsoleProgress", "false")
    try:
        session = builder.getOrCreate()
        context = session.sparkContext
        if context.master.startswith("local"):
            if "PYSPARK_PYTHON" not in os.environ:
                context.pythonExec = sys.executable  # its workers have what this process has
            if (
                session.conf.get("spark.sql.shuffle.partitions") == "200"
            ):  # its default, for a cluster
                session.conf.set("spark.sql.shuffle.partitions", str(2 * (os.cpu_count() or 1)))
        return ibis.pyspark.connect(session)
    except Exception as error:
        raise failed(
            f"Spark at {master or 'its configured master'}",
            error,
            "Check the master's address; Spark needs a Java runtime (JAVA_HOME).",
        ) from None
