"""Publishing from where the data lives: an address, a glob, an engine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

import sfumato
from sfumato.api.inputs import file_ledger, load, validate
from sfumato.data import Table
from sfumato.errors import InputError
from sfumato.privacy.ledger import Ledger


@pytest.fixture
def address(people: Table, tmp_path: Path) -> str:
    """The people in a DuckDB file."""
    rows = people.to_arrow()
    with duckdb.connect(tmp_path / "people.duckdb") as connection:
        connection.register("given", rows)
        connection.execute("CREATE TABLE persons AS SELECT * FROM given")
    return f"duckdb://{tmp_path}/people.duckdb?table=persons"


@pytest.mark.parametrize("method", ["tables.independent", "tables.adaptive"])
def test_a_table_of_a_database_is_published_evaluated_and_remembered(
    people: Table, address: str, tmp_path: Path, method: str
) -> None:
    release = sfumato.publish(
        address, schema=people.schema, epsilon=1.0, method=method, out=tmp_path / "out"
    )
    assert sfumato.Release.load(tmp_path / "out").data.num_rows == release.data.num_rows
    assert release.evaluation is not None
    (file,) = (tmp_path / "home" / "ledgers").iterdir()
    assert re.fullmatch(r"persons-[0-9a-f]{8}\.db", file.name)
    assert len(list(Ledger.open(file).entries())) == 1


def test_one_table_has_one_ledger_however_it_is_written(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    same = [address, "duckdb://people.duckdb?table=persons"]
    paths = {file_ledger(None, data).path for data in same}
    assert len(paths) == 1
    guarded = "postgres://me:secret@host/db?table=a.b"
    one, other = (file_ledger(None, a).path for a in (guarded, guarded.replace("me:secret@", "")))
    assert one == other
    assert "secret" not in str(one)


def test_a_glob_is_named_after_its_folder(people: Table, tmp_path: Path) -> None:
    (tmp_path / "warehouse").mkdir()
    people.to_pandas().to_parquet(tmp_path / "warehouse" / "a.parquet")
    people.schema.save(tmp_path / "warehouse.schema.yaml")
    release = sfumato.publish(f"{tmp_path}/warehouse/*.parquet", epsilon=1.0, holdout=0)
    assert release.data.num_rows > 0
    (file,) = (tmp_path / "home" / "ledgers").iterdir()
    assert file.name.startswith("warehouse-")


def test_nothing_is_spent_where_an_engine_finds_a_wrong_value(
    people: Table, address: str, tmp_path: Path
) -> None:
    with duckdb.connect(tmp_path / "people.duckdb") as connection:
        connection.execute("INSERT INTO persons VALUES (60, 'red', 'no')")
    ledger = tmp_path / "people.db"
    with pytest.raises(InputError, match="column 'age': 60 is not within"):
        sfumato.publish(address, schema=people.schema, epsilon=1.0, ledger=ledger)
    assert not ledger.exists()


def test_engines_are_for_files(people_file: Path, people: Table) -> None:
    table: Any = load(people_file, engine="duckdb")
    validate(table)
    np.testing.assert_array_equal(table.codes()["age"], people.codes()["age"])
    for data in (people, people.to_pandas(), "dataset:digits"):
        with pytest.raises(InputError, match="engine"):
            load(data, schema=people.schema, engine="duckdb")
