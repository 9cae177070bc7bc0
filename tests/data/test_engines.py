"""The same table through every kind of source: identical codes, counts and errors."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sfumato.data import Axis, Categorical, Numeric, Ordinal, Schema, Table
from sfumato.data import rows as rows_module
from sfumato.data.draft import draft
from sfumato.errors import InputError, SfumatoError

TYPED = ("arrow", "parquet", "folder", "glob", "duckdb", "duckdb reads parquet", "sqlite")
SPELT = ("csv", "csv folder", "duckdb reads csv")
SPARK = ("spark reads parquet", "spark reads csv")
POSTGRES = os.environ.get("SFUMATO_TEST_POSTGRES", "")  # postgres://USER@HOST:PORT/DATABASE
COPIED = ("copied duckdb view",)
UNORDERED = (*SPARK, "postgres", *COPIED, *(f"copied {kind}" for kind in (*SPARK, "postgres")))
EVERY = (*TYPED, *SPELT, *UNORDERED)
SEEN = "CREATE VIEW seen AS SELECT * FROM people ORDER BY random()"

SCHEMA = Schema(
    (
        Numeric("age", 0, 90, 1, integer=True),
        Numeric("height", 0.5, 2.5, 0.01, missing=True),
        Ordinal("size", ("S", "M", "L")),
        Categorical("city", ("Bonn", "Köln", "Ulm"), missing=True),
        Categorical("kids", ("0", "1", "2"), dtype="int64"),
        Categorical("ill", ("false", "true"), dtype="bool"),
        Categorical("free", ("a", "b"), missing=True, outside="missing"),
        Numeric("wage", 0, 100, 0.5, missing=True, outside="missing"),
        Numeric("pay", 0, 100, 5, outside="clamp"),
    ),
    target="ill",
)


def missing_spark() -> str:
    """Why Spark cannot run here; empty if it can."""
    if importlib.util.find_spec("pyspark") is None:
        return "Spark is not tested: pyspark is not installed (extra: spark)"
    if shutil.which("java") is None and not os.environ.get("JAVA_HOME"):
        return "Spark is not tested: there is no Java runtime"
    return ""


needs_spark = pytest.mark.skipif(bool(missing_spark()), reason=missing_spark() or "there is Spark")


needs_postgres = pytest.mark.skipif(
    not POSTGRES, reason="Postgres is not tested: SFUMATO_TEST_POSTGRES names no database"
)


def each(kinds):
    """A test for each kind of source; Spark's and Postgres's are skipped where there is none."""
    marks = dict.fromkeys(SPARK, needs_spark) | {"postgres": needs_postgres}
    marks |= {f"copied {kind}": mark for kind, mark in marks.items()}
    marked = [pytest.param(k, marks=marks[k]) if k in marks else k for k in kinds]
    return pytest.mark.parametrize("kind", marked)


def opened(kind: str, data: pa.Table, schema: Schema, folder: Path) -> Table:
    """The same rows, from a source of this kind."""
    folder.mkdir(parents=True, exist_ok=True)
    half = max(1, data.num_rows // 2)
    parts = [data.slice(0, half), data.slice(half)] if data.num_rows > 1 else [data]
    copied = kind.startswith("copied ")
    kind, spool = kind.removeprefix("copied "), folder if copied else None
    engine = next((e for e in ("spark", "duckdb") if kind.startswith(f"{e} reads")), "auto")
    engine = "spark:local[1]" if engine == "spark" else engine
    if kind == "arrow":
        return Table.from_arrow(data, schema)
    if kind in ("duckdb", "duckdb view"):
        name = "seen" if kind == "duckdb view" else "people"
        with duckdb.connect(folder / "a.duckdb") as connection:
            connection.register("given", data)
            connection.execute("CREATE TABLE people AS SELECT * FROM given")
            if name == "seen":
                connection.execute(SEEN)
        return Table.open(f"duckdb://{folder}/a.duckdb?table={name}", schema, spool=spool)
    if kind == "sqlite":
        with sqlite3.connect(folder / "a.sqlite") as connection:
            fill(connection.cursor(), data, "people", {"int64": "BIGINT", "double": "REAL"}, "?")
            connection.commit()
        return Table.open(f"sqlite://{folder}/a.sqlite?table=people", schema)
    if kind == "postgres":
        import psycopg

        name = f"t{abs(hash(str(folder))):x}"
        with psycopg.connect(POSTGRES) as connection:
            kinds = {"int64": "BIGINT", "double": "DOUBLE PRECISION", "bool": "BOOLEAN"}
            fill(connection.cursor(), data, name, kinds, "%s")
        return Table.open(f"{POSTGRES}?table={name}", schema, spool=spool)
    if "csv" in kind:
        for i, part in enumerate(parts if "folder" in kind else [data]):
            pyarrow.csv.write_csv(part, folder / f"{i}.csv")
        path = folder if "folder" in kind else folder / "0.csv"
        return Table.open(path, schema, engine=engine, spool=spool)
    for i, part in enumerate([data] if kind == "parquet" else parts):
        pq.write_table(part, folder / f"{i}.parquet", row_group_size=150)
    path = {"parquet": folder / "0.parquet", "folder": folder}.get(kind, folder / "*.parquet")
    return Table.open(path, schema, engine=engine, spool=spool)


def fill(cursor, data: pa.Table, name: str, kinds: dict[str, str], mark: str) -> None:
    """The rows, in a new table of a database."""
    kinds = {"bool": "BOOLEAN", **kinds}
    columns = ", ".join(f'"{f.name}" {kinds.get(str(f.type), "TEXT")}' for f in data.schema)
    cursor.execute(f"CREATE TABLE {name} ({columns})")
    rows = list(zip(*(column.to_pylist() for column in data.columns), strict=True))
    marks = ", ".join([mark] * data.num_columns)
    cursor.executemany(f"INSERT INTO {name} VALUES ({marks})", rows)


def people(rows: int = 400, seed: int = 0) -> pa.Table:
    """Rows that the schema allows, with gaps and, where it allows them, values outside."""
    rng = np.random.default_rng(seed)

    def gaps(values):
        absent = rng.random(rows) < 0.1
        return [None if gone else x for x, gone in zip(values.tolist(), absent, strict=True)]

    return pa.table(
        {
            "age": rng.integers(0, 91, rows),
            "height": gaps(rng.uniform(0.5, 2.5, rows)),
            "size": rng.choice(["S", "M", "L"], rows).tolist(),
            "city": gaps(rng.choice(["Bonn", "Köln", "Ulm"], rows)),
            "kids": rng.integers(0, 3, rows),
            "ill": rng.random(rows) < 0.3,
            "free": gaps(rng.choice(["a", "b", "c", "d e"], rows)),
            "wage": gaps(rng.uniform(-20, 120, rows).round(1)),
            "pay": rng.integers(-50, 150, rows),
        }
    )


REQUESTS = [
    *([name] for name in SCHEMA.names),
    *combinations(SCHEMA.names, 2),
    [Axis("height", 7), Axis("wage", 4), "ill"],
    ["city", Axis("age", 10), "city"],
    [Axis("age", 1000)],
]


@pytest.fixture(autouse=True)
def _large(monkeypatch):
    """Nothing is kept in memory, so that every pass goes to the source."""
    monkeypatch.setattr(rows_module, "_KEPT_CELLS", 0)


def in_memory(data: pa.Table) -> Table:
    """The codes, by the plain definition: each whole column encoded at once."""
    return Table.from_codes({c.name: c.encode(data.column(c.name)) for c in SCHEMA}, SCHEMA)


@each(EVERY)
def test_codes_and_counts_are_identical_from_every_source(kind, tmp_path):
    data = people()
    table, true = opened(kind, data, SCHEMA, tmp_path), in_memory(data)
    table.validate(SCHEMA)
    assert table.num_rows == 400
    rows = np.stack(list(table.codes().values()), axis=1)
    expected = np.stack(list(true.codes().values()), axis=1)
    if kind in UNORDERED:
        rows, expected = np.sort(rows, axis=0), np.sort(expected, axis=0)
    assert (rows == expected).all()
    requests = REQUESTS[-8:] if kind in SPARK else REQUESTS  # each is a job there
    assert table.ordered == (kind not in (*SPARK, "postgres"))
    for got, want, axes in zip(
        table.many_counts(requests), true.many_counts(requests), requests, strict=True
    ):
        assert (got == want).all(), axes


@each([k for k in EVERY if k.split()[0] in ("duckdb", "sqlite", "spark", "postgres")])
def test_an_engine_counts_without_giving_out_rows(kind, tmp_path, monkeypatch):
    table = opened(kind, people(), SCHEMA, tmp_path)

    def unread(*args, **kwargs):
        raise AssertionError("rows left the engine")

    monkeypatch.setattr(type(table.source), "batches", unread)
    table.validate(SCHEMA)
    assert [c.sum() for c in table.many_counts([["city"], [Axis("height", 3), "ill"]])] == [400] * 2


@each(
    [
        "parquet",
        "duckdb",
        "duckdb reads parquet",
        "sqlite",
        "spark reads parquet",
        "postgres",
        *COPIED,
    ]
)
def test_long_integers_beside_a_gap_are_exact(kind, tmp_path):
    # 2^53 + 1 is no float: taken for one it would be the other level.
    low, high = 2**53, 2**53 + 1
    column = Categorical("id", (str(low), str(high)), missing=True, dtype="int64")
    data = pa.table({"id": pa.array([low, high, None, high], pa.int64())})
    table = opened(kind, data, Schema((column,)), tmp_path)
    table.validate(table.schema)
    assert table.counts(["id"]).tolist() == [1, 2, 1]
    assert sorted(table.codes()["id"].tolist()) == [0, 1, 1, 2]


BAD = {
    "a number above": ("age", 91),
    "a number below": ("height", 0.25),
    "no number": ("age", None),
    "no level": ("size", None),
    "another level": ("city", "Paris"),
    "another case": ("size", "s"),
    "another whole level": ("kids", 3),
}


def refusal(kind, data, folder, schema=SCHEMA) -> str:
    """What validation and counting say, without the row's number."""
    table = opened(kind, data, schema, folder)
    said = set()
    name = list(schema.names)
    for work in (lambda: table.validate(schema), lambda: table.many_counts([[n] for n in name])):
        with pytest.raises(InputError) as error:
            work()
        said.add(re.sub(r" in row \d+", "", str(error.value)))
    assert len(said) == 1, said
    return said.pop()


@each(EVERY)
@pytest.mark.parametrize("bad", BAD)
def test_errors_are_identical_from_every_source(kind, bad, tmp_path):
    name, value = BAD[bad]
    data = people(20)
    values = data.column(name).to_pylist()
    values[13] = value
    position = data.column_names.index(name)
    data = data.set_column(position, name, pa.array(values, data.column(name).type))
    said = refusal(kind, data, tmp_path)
    spelt = repr(str(value)) if "csv" in kind and value is not None else repr(value)
    assert f"column {name!r}: " in said
    assert (spelt if value is not None else "no value") in said
    reference = "csv" if "csv" in kind else "parquet"
    assert said == refusal(reference, data, tmp_path / "reference")


@each([k for k in EVERY if "arrow" not in k])
def test_a_column_of_the_wrong_type_is_refused_alike(kind, tmp_path):
    words = people(20).set_column(0, "age", pa.array(["old"] * 20))
    said = refusal(kind, words, tmp_path)
    assert said == refusal("parquet", words, tmp_path / "reference")
    assert "column 'age': 'old' is not a number" in said


WORDS = ["1", "+2.5", " 3 ", "1e1", ".5", "7.", "-0", "nan", "inf", "-INF", "0x1", "1_0", "", "x"]
texts = st.lists(st.sampled_from(WORDS) | st.none(), min_size=1, max_size=6)
floats = st.lists(st.floats(allow_nan=True, width=64) | st.none(), min_size=1, max_size=6)
near = st.lists(st.integers(-3, 43).map(lambda i: i / 4), min_size=1, max_size=6)
policies = st.sampled_from(
    [
        Numeric("x", 0, 10, 1),
        Numeric("x", 0, 10, 0.1, missing=True),
        Numeric("x", 0, 10, 1, outside="clamp"),
        Numeric("x", 0, 10, 0.5, missing=True, outside="clamp"),
        Numeric("x", 0, 10, 1, missing=True, outside="missing"),
        Categorical("x", ("1", "+2.5", ""), missing=True),
        Categorical("x", ("1", "x"), missing=True, outside="missing"),
        Categorical("x", ("1", "0.5"), dtype="float64", missing=True, outside="missing"),
    ]
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(values=texts | floats | near, column=policies)
def test_engines_read_any_value_as_the_stream_does(values, column, tmp_path_factory):
    folder = tmp_path_factory.mktemp("any")
    kind = pa.string() if any(isinstance(v, str) for v in values) else pa.float64()
    data, schema = pa.table({"x": pa.array(values, kind)}), Schema((column,))

    def outcome(source):
        try:
            table = opened(source, data, schema, folder / source.replace(" ", "-"))
            table.validate(schema)
            return table.counts(["x"]).tolist()
        except InputError as error:
            # Of several bad values an engine names the least, the stream the first.
            return error.problem.split(":")[0]

    true = outcome("parquet")
    assert outcome("duckdb") == true
    assert outcome("duckdb reads parquet") == true
    if not any(isinstance(v, float) and v != v for v in values):  # which SQLite cannot hold
        assert outcome("sqlite") == true
    if POSTGRES:
        assert outcome("postgres") == true


@each(["duckdb", "duckdb reads parquet", "duckdb reads csv", "sqlite"])
def test_rows_of_embedded_engines_have_a_place(kind, tmp_path):
    table = opened(kind, people(), SCHEMA, tmp_path)
    parts, true = table.split(0.25, seed=3), in_memory(people()).split(0.25, seed=3)
    for part, want in zip(parts, true, strict=True):
        for name, codes in want.codes().items():
            assert (part.codes()[name] == codes).all()
        assert part.counts(["city"]).tolist() == want.counts(["city"]).tolist()


@each(["spark reads parquet", "postgres"])
def test_rows_without_a_place_are_parted_by_their_values_and_none_is_lost(kind, tmp_path):
    table = opened(kind, people(2000), SCHEMA, tmp_path)
    assert not table.ordered
    rest, held_out = table.split(0.25, seed=3)
    assert rest.num_rows + held_out.num_rows == 2000
    # 2000 hashed rows: 0.25 within 6 standard deviations, 0.058, with probability 2e-9.
    assert abs(held_out.num_rows / 2000 - 0.25) < 0.058
    assert (rest.counts(["city"]) + held_out.counts(["city"]) == table.counts(["city"])).all()
    again = table.split(0.25, seed=3)[1]
    assert (again.counts(["age"]) == held_out.counts(["age"])).all()
    assert (table.split(0.25, seed=4)[1].counts(["age"]) != held_out.counts(["age"])).any()
    few = table.sample(500, seed=0)
    # 634 rows are expected: fewer than 500 with probability 1e-8.
    assert few.num_rows == 500
    assert few.source is None
    assert not few.ordered
    every = table.sample(5000, seed=0)
    assert every.source is None
    assert (every.counts(["age"]) == table.counts(["age"])).all()
    alike = opened(kind, people(2000).select(["ill"]), SCHEMA.select("ill"), tmp_path / "alike")
    with pytest.raises(InputError, match="too few or too much alike"):
        alike.split(0.25, seed=3)
    with pytest.raises(InputError, match=r"held-out fraction is 1\.5"):
        alike.split(1.5, seed=3)


@each(["parquet", "csv", "duckdb", "sqlite"])
def test_a_sample_is_some_of_the_rows_each_once(kind, tmp_path):
    data = people().set_column(0, "age", pa.array(list(range(90)) + [90] * 310))
    table = opened(kind, data, SCHEMA, tmp_path)
    few = table.sample(100, seed=0)
    assert few.num_rows == 100
    counts = few.counts(["age"])
    assert counts[:90].max() <= 1
    assert (few.codes()["wage"] == table.sample(100, seed=0).codes()["wage"]).all()
    assert (few.counts(["age"]) != table.sample(100, seed=1).counts(["age"])).any()
    assert table.sample(400, seed=0) is table


@needs_postgres
def test_ids_of_a_server_may_be_uuids(tmp_path):
    import psycopg

    ids = [f"{name:032x}" for name in (1, 1, 2)]
    data = pa.table({"who": ids, "age": [1, 2, 3]})
    schema = Schema((Numeric("age", 0, 90, 1, integer=True),), unit="who")
    opened("postgres", data, schema, tmp_path)
    name = f"t{abs(hash(str(tmp_path))):x}"
    with psycopg.connect(POSTGRES) as connection:
        connection.execute(f"ALTER TABLE {name} ALTER COLUMN who TYPE uuid USING who::uuid")
    table = Table.open(f"{POSTGRES}?table={name}", schema, spool=tmp_path)
    assert table.bound(bytes(32)).num_rows == 2


def test_a_view_has_no_order_of_its_own(tmp_path):
    opened("duckdb", people(2000), SCHEMA, tmp_path)
    opened("sqlite", people(), SCHEMA, tmp_path)
    with duckdb.connect(tmp_path / "a.duckdb") as connection:
        connection.execute(SEEN)
    with sqlite3.connect(tmp_path / "a.sqlite") as connection:
        connection.execute(SEEN)
    table = Table.open(f"duckdb://{tmp_path}/a.duckdb?table=seen", SCHEMA)
    assert not table.ordered
    rest, held_out = table.split(0.25, seed=1)
    assert rest.num_rows + held_out.num_rows == 2000
    assert Table.open(f"duckdb://{tmp_path}/a.duckdb?table=main.people", SCHEMA).ordered
    with pytest.raises(InputError, match="sqlite cannot part its rows by a hash"):
        Table.open(f"sqlite://{tmp_path}/a.sqlite?table=seen", SCHEMA).split(0.25, seed=1)


def refused(path, schema=SCHEMA, **options) -> str:
    with pytest.raises(SfumatoError) as error:
        Table.open(path, schema, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_addresses_that_lead_nowhere_are_one_line(tmp_path, monkeypatch):
    opened("duckdb", people(), SCHEMA, tmp_path)
    here = f"duckdb://{tmp_path}/a.duckdb"
    assert "names no table. Add ?table=NAME. It has: people." in refused(here)
    assert "there is no table 'persons'. It has: people." in refused(f"{here}?table=persons")
    assert "there is no file" in refused(f"duckdb://{tmp_path}/b.duckdb?table=people")
    assert not (tmp_path / "b.duckdb").exists()
    assert "cannot be read" in refused("nonsense://host/db?table=x")
    assert "there is no engine 'sprak'" in refused(tmp_path, engine="sprak")
    assert "is read by Spark alone" in refused("s3a://bucket/a.parquet")
    assert "Add --engine spark" in refused("table:people")
    assert "Leave --engine out" in refused("sqlite:///a.db?table=x", engine="duckdb")
    (tmp_path / "a.csv").write_text("not a database")
    assert "cannot be read" in refused(f"duckdb://{tmp_path}/a.csv?table=x")


def test_a_backend_whose_package_is_missing_says_what_to_install(monkeypatch):
    import ibis

    def missing(*args, **kwargs):
        raise ModuleNotFoundError("No module named 'psycopg'")

    monkeypatch.setattr(ibis, "connect", missing)
    said = refused("postgres://user:secret@host/db?table=people")
    assert "ibis-framework[postgres]" in said
    assert "secret" not in said
    assert "user" not in said

    def unreachable(*args, **kwargs):
        raise OSError("no route to postgres://user:secret@host")

    monkeypatch.setattr(ibis, "connect", unreachable)
    assert "secret" not in refused("postgres://user:secret@host/db?table=people")


def test_an_engine_without_its_package_says_what_to_install(tmp_path, monkeypatch):
    import sys

    pq.write_table(people(), tmp_path / "a.parquet")
    monkeypatch.setitem(sys.modules, "pyspark", None)
    for engine in ("spark", "spark://host:7077", "spark:yarn"):
        assert "sfumato[spark]" in refused(tmp_path / "a.parquet", engine=engine)


def test_a_table_without_rows_or_columns_is_refused(tmp_path):
    empty = people().slice(0, 0)
    for kind in ("duckdb", "sqlite"):
        with pytest.raises(InputError, match="has no rows"):
            opened(kind, empty, SCHEMA, tmp_path / kind)
    with pytest.raises(InputError, match="lacks column 'age'"):
        opened("duckdb", people().drop_columns("age"), SCHEMA, tmp_path / "less")


@each(["duckdb", "sqlite", "postgres"])
def test_a_schema_is_drafted_from_the_types_that_a_database_declares(kind, tmp_path, monkeypatch):
    table = opened(kind, people(), SCHEMA, tmp_path)
    monkeypatch.setattr(type(table.source), "batches", None)  # no row is read
    address = {
        "duckdb": f"duckdb://{tmp_path}/a.duckdb?table=people",
        "sqlite": f"sqlite://{tmp_path}/a.sqlite?table=people",
        "postgres": f"{POSTGRES}?table=t{abs(hash(str(tmp_path))):x}",
    }[kind]
    kinds = {name: facts["type"] for name, facts in draft(address).columns.items()}
    assert kinds["age"] == "integer"
    assert kinds["height"] == "number"
    assert kinds["city"] == "categorical"


def test_the_day_of_an_instant_is_that_in_utc_wherever_this_machine_stands(tmp_path: Path) -> None:
    """Both where the engine counts and where rows leave it; in New York it is the day before."""
    connection = duckdb.connect(str(tmp_path / "t.db"))
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("CREATE TABLE t AS SELECT TIMESTAMPTZ '2023-01-10 02:00:00+00' AS seen")
    connection.execute(f"COPY t TO '{tmp_path / 't.parquet'}'")
    connection.close()
    code = """
import sys
from sfumato.data import Axis, Date, Schema
from sfumato.data.load import load_data
schema = Schema((Date("seen", "2023-01-09", "2023-01-10"),))
for place, engine in ((sys.argv[1], "auto"), (sys.argv[2], "duckdb")):
    table = load_data(place, schema=schema, engine=engine)
    streamed = [batch["seen"].tolist() for batch in table.codes_batches()]
    print(table.counts([Axis("seen")]).tolist(), streamed)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, f"duckdb:///{tmp_path}/t.db?table=t", tmp_path / "t.parquet"],
        capture_output=True,
        text=True,
        env={**os.environ, "TZ": "America/New_York"},
        check=True,
    )
    assert done.stdout.splitlines() == ["[0, 1] [[1]]", "[0, 1] [[1]]"]
