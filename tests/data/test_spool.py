"""Rows in no lasting order: copied once, for this process alone, and bounded like any others."""

from __future__ import annotations

import gc
import logging
import os
import resource
import sqlite3
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from sfumato.data import Categorical, Numeric, Schema, Table, addresses, persons, spool
from sfumato.data.draft import draft
from sfumato.data.engine import EngineSource
from sfumato.data.passes import Passes
from sfumato.data.spool import Spool, in_order
from sfumato.errors import InputError
from sfumato.privacy.ledger import Ledger

ALPHA = 1e-6
SCHEMA = Schema(
    (Numeric("value", 0, 99_999, 1, integer=True), Categorical("kind", ("a", "b"))),
    unit="who",
    rows_per_unit=2,
)


def visits(people: int = 300, each: int = 5, seed: int = 0) -> pd.DataFrame:
    """So many rows of each of several people; no two rows are alike."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "who": [f"person {i}" for i in range(people) for _ in range(each)],
            "value": rng.permutation(people * each),
            "kind": np.array(["a", "b"])[rng.integers(2, size=people * each)],
        }
    )


def view(data: pd.DataFrame, folder: Path, order: str = "random()") -> str:
    """The address of a view that gives the rows in this order."""
    file = folder / f"{len(list(folder.iterdir()))}.duckdb"
    with duckdb.connect(file) as connection:
        connection.register("given", data)
        connection.execute("CREATE TABLE visits AS SELECT * FROM given")
        connection.execute(f"CREATE VIEW seen AS SELECT * FROM visits ORDER BY {order}")
    return f"duckdb://{file}?table=seen"


def spool_in(folder: Path) -> Path:
    made = folder / "copies"
    made.mkdir(exist_ok=True)
    return made


def opened(data: pd.DataFrame, folder: Path, order: str = "random()", **schema: Any) -> Table:
    return Table.open(view(data, folder, order), replace(SCHEMA, **schema), spool=spool_in(folder))


def owners(table: Table) -> list[str]:
    assert table.source is not None
    return [name for batch in persons.ids(table.source, "who") for name in batch.to_pylist()]


def pairs(table: Table) -> list[tuple[str, int]]:
    """Whose each row is, beside its value, which no other row has."""
    return list(zip(owners(table), table.to_pandas()["value"], strict=True))


def handles() -> int:
    """Open files of this process."""
    gc.collect()
    return len(os.listdir("/dev/fd"))


def test_every_pass_gives_the_same_rows_in_the_same_order(tmp_path: Path) -> None:
    data = visits()
    table = opened(data, tmp_path)
    assert table.ordered
    assert table.num_rows == len(data)
    assert pairs(table) == pairs(table)
    assert sorted(pairs(table)) == sorted(zip(data["who"], data["value"], strict=True))
    again = Table.open(f"duckdb://{tmp_path}/0.duckdb?table=seen", SCHEMA, spool=spool_in(tmp_path))
    assert pairs(again) != pairs(table)  # the view does give another order every time


def check_order_says_nothing(folder: Path, rows: int = 200_000) -> None:
    """A view in order of value, copied in several blocks: as many rises as falls, no drift.

    Two tests of a uniform permutation's normal limits, with a false-alarm rate of ALPHA each.
    """
    from scipy.stats import norm

    file, schema = folder / "long.duckdb", Schema(SCHEMA.columns[:1])
    with duckdb.connect(file) as connection:
        connection.execute(f"CREATE TABLE t AS SELECT i // 2 AS value FROM range({rows}) r(i)")
        connection.execute("CREATE VIEW seen AS SELECT * FROM t ORDER BY value")
    table = Table.open(f"duckdb://{file}?table=seen", schema, spool=spool_in(folder))
    values = table.codes()["value"]
    assert (np.sort(values) == np.arange(rows) // 2).all()
    assert list(spool_in(folder).iterdir()) == []
    rank = values + 0.5 * np.random.default_rng(0).random(rows)  # pairs are told apart
    rises = (np.sum(np.diff(rank) > 0) - (rows - 1) / 2) / np.sqrt((rows + 1) / 12)
    drift = np.corrcoef(np.arange(rows), rank)[0, 1] * np.sqrt(rows - 1)
    assert max(abs(rises), abs(drift)) < norm.isf(ALPHA / 2)


def test_the_engines_order_is_not_that_of_the_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "_BLOCK", 1 << 15)
    check_order_says_nothing(tmp_path)


def test_a_copy_in_the_engines_order_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "_BLOCK", 1 << 15)
    monkeypatch.setattr(spool, "_order", np.arange)
    with pytest.raises(AssertionError):
        check_order_says_nothing(tmp_path)


def test_a_copy_is_told_and_how_far_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "_EVERY", 0)
    with caplog.at_level(logging.INFO, "sfumato"):
        opened(visits(), tmp_path)
    assert "seen is copied to" in caplog.text
    assert "1,500 rows read so far" in caplog.text
    caplog.clear()
    monkeypatch.setattr(spool, "_EVERY", 3600)
    with caplog.at_level(logging.INFO, "sfumato"):
        opened(visits(), tmp_path)
    assert "so far" not in caplog.text


def test_rows_in_an_order_are_not_copied(tmp_path: Path) -> None:
    address = view(visits(), tmp_path).replace("seen", "visits")
    table = Table.open(address, SCHEMA, spool=tmp_path / "nowhere")
    assert isinstance(table.source, EngineSource)
    assert table.spool is None


def test_without_a_folder_nothing_is_copied_and_a_unit_is_refused(tmp_path: Path) -> None:
    table = Table.open(view(visits(), tmp_path), SCHEMA)
    for work in (lambda: table.bound(bytes(32)), lambda: table.split(0.3, 0), table.whose):
        with pytest.raises(InputError, match=r"no order, and 'who' is a unit.*--spool DIR"):
            work()


def test_the_copy_has_no_name_from_its_first_row_to_its_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, seen, before = spool_in(tmp_path), [], handles()
    batches = EngineSource.batches

    def watched(self: Any, *args: Any) -> Iterator[Any]:
        for batch in batches(self, *args):
            seen.append(list(folder.iterdir()))
            yield batch

    monkeypatch.setattr(EngineSource, "batches", watched)
    table = opened(visits(), tmp_path)
    assert seen
    assert not any(seen)
    assert list(folder.iterdir()) == []
    assert table.spool is not None
    status = os.stat(table.spool._place)
    assert (status.st_nlink, stat.S_IMODE(status.st_mode)) == (0, 0o600)
    del table
    assert handles() <= before + 1  # DuckDB's own file stays open


def test_only_columns_that_are_read_are_copied(tmp_path: Path) -> None:
    data = visits().assign(name="secret", value_2=1)
    table = opened(data, tmp_path, drop=("name", "value_2"))
    assert table.spool is not None
    assert set(table.spool.names) == {"value", "kind", "who"}


@contextmanager
def nothing_is_left(folder: Path) -> Iterator[None]:
    before = handles()
    yield
    assert list(folder.iterdir()) == []
    assert handles() <= before + 1


@pytest.mark.parametrize("batches", [1, 3])
def test_an_interrupted_copy_leaves_nothing(
    batches: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its first block, or while rows of several are dealt."""
    monkeypatch.setattr(spool, "_BLOCK", 1000)
    source = addresses.open_source(view(visits(), tmp_path), encoding="utf-8", delimiter=",")
    read = EngineSource.batches

    def stopped(self: Any, *args: Any) -> Iterator[Any]:
        for _ in range(batches):
            yield next(read(self, *args))
        raise KeyboardInterrupt

    monkeypatch.setattr(EngineSource, "batches", stopped)
    with nothing_is_left(spool_in(tmp_path)), pytest.raises(KeyboardInterrupt):
        in_order(source, ("who", "value"), spool_in(tmp_path))


@contextmanager
def small_disk(size: int) -> Iterator[None]:
    """No file of this process grows beyond so many bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("block", [1 << 18, 5000])
def test_a_full_disk_is_one_line_and_leaves_nothing(
    block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "_BLOCK", block)
    source = addresses.open_source(view(visits(3000), tmp_path), encoding="utf-8", delimiter=",")
    assert source.num_rows == 15_000  # opened before the disk is full
    folder = spool_in(tmp_path)
    with (
        nothing_is_left(folder),
        small_disk(1000),
        pytest.raises(InputError, match=r"cannot be copied to .*copies .*a disk with room"),
    ):
        in_order(source, ("who", "value"), folder)
    copied = in_order(source, ("who", "value"), folder)
    assert isinstance(copied, Spool)
    with (
        small_disk(1000),
        nothing_is_left(folder),
        pytest.raises(InputError, match="cannot be copied to"),
    ):
        copied.save(folder / "rows.parquet")


@pytest.mark.parametrize("where", ["nowhere", "a file"])
def test_a_folder_that_is_none_is_refused(where: str, tmp_path: Path) -> None:
    (tmp_path / "a file").write_text("no rows")
    with pytest.raises(InputError, match=r"No such file|no folder"):
        Table.open(view(visits(), tmp_path), SCHEMA, spool=tmp_path / where)


def test_a_copy_that_is_kept_is_for_its_owner_and_of_one_table(tmp_path: Path) -> None:
    data, kept = visits(), spool_in(tmp_path) / "rows.parquet"
    address = view(data, tmp_path)
    table = Table.open(address, SCHEMA, spool=spool_in(tmp_path))
    assert table.spool is not None
    table.spool.save(kept)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert os.listdir(kept.parent) == ["rows.parquet"]
    again = Table.open(address, SCHEMA, spool=kept)
    kept.unlink()  # what is being read stays readable
    assert pairs(again) == pairs(table)
    assert pairs(again.bound(bytes(32))) == pairs(table.bound(bytes(32)))
    table.spool.save(kept)
    with pytest.raises(InputError, match="is no copy of"):
        Table.open(view(data, tmp_path), SCHEMA, spool=kept)
    fewer = Schema(SCHEMA.columns[:1], unit="who", drop=("kind",))
    less = Table.open(address, fewer, spool=spool_in(tmp_path))
    assert less.spool is not None
    less.spool.save(kept)
    with pytest.raises(InputError, match="lacks column 'kind'"):
        Table.open(address, SCHEMA, spool=kept)
    kept.write_bytes(kept.read_bytes()[:-20])
    with pytest.raises(InputError, match="no whole copy of rows"):
        Table.open(address, SCHEMA, spool=kept)
    pq.write_table(table.to_arrow(), kept)
    with pytest.raises(InputError, match="is no copy of"):
        Table.open(address, SCHEMA, spool=kept)


def test_texts_of_a_file_stay_texts(tmp_path: Path) -> None:
    """What means "missing" in CSV files means so in a copy of them."""
    (tmp_path / "a.csv").write_text("who,value\nx,1\ny,NA\n")
    source: Any = addresses.open_source(
        tmp_path / "a.csv", encoding="utf-8", delimiter=",", engine="duckdb"
    )
    source.ordered = False  # as Spark reads it
    copied = in_order(source, ("who", "value"), spool_in(tmp_path))
    assert isinstance(copied, Spool)
    assert "NA" in Passes(copied, SCHEMA).tokens
    assert Passes(copied, SCHEMA).tokens == Passes(source, SCHEMA).tokens


def test_the_drafts_estimates_are_of_one_row_of_each(tmp_path: Path) -> None:
    address, ledger = view(visits(), tmp_path), Ledger.in_memory()
    given: dict[str, Any] = {"epsilon": 5.0, "delta": 1e-6, "ledger": ledger, "unit": "who"}
    with pytest.raises(InputError, match="--spool DIR"):
        draft(address, **given)
    assert not ledger.entries()
    made = draft(address, **given, spool=spool_in(tmp_path))
    assert made.columns["kind"]["levels"] == ["a", "b"]
    assert [entry.guarantee["unit"] for entry in ledger.entries()] == ["who"]
    assert list(spool_in(tmp_path).iterdir()) == []


# -- persons ------------------------------------------------------------------------------------


def test_one_person_more_adds_at_most_so_many_rows(tmp_path: Path) -> None:
    """Wherever the engine puts their rows, everybody else keeps as many."""
    data = visits(200, 5)
    new = pd.DataFrame({"who": ["new"] * 9, "value": range(5000, 5009), "kind": "a"})
    for rows in (1, 2, 7):
        before = Counter(owners(opened(data, tmp_path, rows_per_unit=rows).bound(b"k" * 32)))
        both = pd.concat([new, data])
        after = Counter(owners(opened(both, tmp_path, rows_per_unit=rows).bound(b"k" * 32)))
        assert set(before.values()) == {min(rows, 5)}
        assert after - before == {"new": min(rows, 9)}
        assert before - after == {}


def check_choice_is_blind(folder: Path, people: int = 2000) -> None:
    """Which of a person's ten rows is kept, though the view gives them in order of their values.

    A chi-squared test with a false-alarm rate of ALPHA.
    """
    from scipy.stats import chisquare

    data = visits(people, 10)
    table = opened(data, folder, "value", rows_per_unit=1)
    rank = dict(
        zip(data["value"], data.groupby("who")["value"].rank().astype(int) - 1, strict=True)
    )
    kept = table.bound(os.urandom(32)).to_pandas()["value"]
    found = np.bincount([rank[value] for value in kept], minlength=10)
    assert found.sum() == people
    assert chisquare(found).pvalue > ALPHA


def test_which_rows_are_kept_depends_on_no_value(tmp_path: Path) -> None:
    check_choice_is_blind(tmp_path)


def test_keeping_the_first_rows_that_an_engine_gives_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def by_place(key: bytes, start: int, count: int) -> Any:
        return np.arange(start, start + count, dtype=np.uint64)

    monkeypatch.setattr(persons, "priorities", by_place)
    check_choice_is_blind(tmp_path)  # the copy's order alone would do
    monkeypatch.setattr(spool, "_order", np.arange)
    with pytest.raises(AssertionError):
        check_choice_is_blind(tmp_path)


def test_a_person_is_on_one_side_whatever_the_order(tmp_path: Path) -> None:
    data = visits()
    sides = []
    for _ in range(2):
        rest, held_out = opened(data, tmp_path).split(0.3, 4)
        assert rest.num_rows + held_out.num_rows == len(data)
        assert not set(owners(rest)) & set(owners(held_out))
        assert rest.shared_persons(held_out) == 0
        sides.append(set(owners(held_out)))
    assert sides[0] == sides[1]


def test_ids_of_a_copy_name_the_persons_that_the_tables_did(tmp_path: Path) -> None:
    """Blanks around an id, and whole numbers, are read as from a file."""
    rows = pd.DataFrame({"who": [" 1", "1 ", "2"], "value": [1, 2, 3], "kind": "a"})
    assert opened(rows, tmp_path, rows_per_unit=1).bound(bytes(32)).num_rows == 2
    numbers = opened(rows.assign(who=[1, 1, 2]), tmp_path, rows_per_unit=1)
    assert numbers.bound(bytes(32)).num_rows == 2
    whose = numbers.whose()
    assert whose is not None
    assert len(set(whose.tolist())) == 2
    shared = opened(rows, tmp_path).shared_persons(numbers)
    assert shared == 2
    with sqlite3.connect(tmp_path / "a.sqlite") as connection:
        rows.to_sql("visits", connection, index=False)
        connection.execute("CREATE VIEW seen AS SELECT * FROM visits ORDER BY random()")
    address = f"sqlite://{tmp_path}/a.sqlite?table=seen"
    table = Table.open(address, replace(SCHEMA, rows_per_unit=1), spool=spool_in(tmp_path))
    assert table.bound(bytes(32)).num_rows == 2


def test_a_row_of_nobody_is_refused_without_a_number(tmp_path: Path) -> None:
    """Where it lies in the copy helps nobody to find it in the table."""
    data = visits().astype({"who": object})
    data.loc[7, "who"] = None
    for table in (
        opened(data, tmp_path),
        Table.open(f"duckdb://{tmp_path}/0.duckdb?table=visits", SCHEMA),
    ):
        with pytest.raises(InputError, match="column 'who': no value in a row"):
            table.bound(bytes(32))


def test_values_that_contradict_are_named_without_a_number(tmp_path: Path) -> None:
    data = visits()
    data.loc[7, "value"] = 100_000
    table = opened(data, tmp_path)
    with pytest.raises(InputError, match=r"100000") as error:
        table.validate(table.schema)
    assert "row" not in str(error.value).split("value")[-1]
    rule = {"kind": "a", "value": "..50000"}
    table = opened(visits(), tmp_path, impossible=(rule,))
    with pytest.raises(InputError, match="a row has"):
        table.validate(table.schema)
