"""A table in no lasting order, published by person: a copy, one debit, nothing left on disk."""

from __future__ import annotations

import os
import shutil
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest

import sfumato.api as api
from sfumato import registry
from sfumato.api.judging import fit
from sfumato.data import Categorical, Numeric, Schema, Table, persons, spool
from sfumato.errors import BudgetError, InputError
from sfumato.privacy.budget import Budget
from sfumato.privacy.ledger import Ledger
from sfumato.publish import units
from sfumato.publish.workspace import kept_rows

SCHEMA = Schema(
    (
        Numeric("age", 0, 59, 1, integer=True),
        Categorical("ward", ("north", "south", "east")),
        Categorical("sick", ("no", "yes")),
    ),
    target="sick",
    unit="patient_id",
    rows_per_unit=2,
)


@pytest.fixture(autouse=True)
def _own_ledgers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SFUMATO_HOME", str(tmp_path / "home"))


def visits(rows: int = 1200, people: int = 300, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    age = rng.integers(60, size=rows)
    sick = (age > 30) & (rng.random(rows) < 0.8)
    return pd.DataFrame(
        {
            "patient_id": [f"secret-{i:04d}" for i in rng.integers(people, size=rows)],
            "age": age,
            "ward": np.array(["north", "south", "east"])[rng.integers(3, size=rows)],
            "sick": np.array(["no", "yes"])[sick.astype(int)],
        }
    )


def fill(data: pd.DataFrame, file: Path) -> str:
    """The address of a view that gives the rows in another order every time."""
    file.unlink(missing_ok=True)
    with duckdb.connect(file) as connection:
        connection.register("given", data)
        connection.execute("CREATE TABLE visits AS SELECT * FROM given")
        connection.execute("CREATE VIEW seen AS SELECT * FROM visits ORDER BY random()")
    return f"duckdb://{file}?table=seen"


@pytest.fixture
def address(tmp_path: Path) -> str:
    return fill(visits(), tmp_path / "clinic.duckdb")


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    folder = tmp_path / "copies"
    folder.mkdir()
    return folder


def training(tmp_path: Path, copies: Path) -> dict[str, Any]:
    """A run that can be interrupted."""
    return {
        "epsilon": 1.0,
        "schema": SCHEMA,
        "method": "learn.dpsgd",
        "settings": {"epochs": 2},
        "gives": "model",
        "checkpoint": tmp_path / "kept",
        "ledger": tmp_path / "ledger.db",
        "spool": copies,
    }


def stop(done: int, total: int, label: str) -> None:
    if done >= 3:
        raise KeyboardInterrupt


def entries(tmp_path: Path) -> int:
    return len(Ledger.open(tmp_path / "ledger.db").entries())


def members(plan: Any) -> list[tuple[str, ...]]:
    """Whose the rows are that a plan would use, and their values, in order."""
    table = plan.inputs.members
    whose = [p for batch in persons.ids(table.source, "patient_id") for p in batch.to_pylist()]
    rows = table.to_pandas().itertuples(index=False)
    return [(name, *map(str, row)) for name, row in zip(whose, rows, strict=True)]


def test_a_view_is_published_and_judged_by_person(
    address: str, copies: Path, tmp_path: Path
) -> None:
    facts, out = SCHEMA.with_target(None), tmp_path / "out"
    given: dict[str, Any] = {"epsilon": 1.0, "schema": facts, "ledger": tmp_path / "ledger.db"}
    with pytest.raises(InputError, match=r"rows in no order, and 'patient_id' is a unit.*--spool"):
        api.publish(address, **given, out=out)
    assert not out.exists()
    assert entries(tmp_path) == 0
    release = api.publish(address, **given, out=out, spool=copies, attacks=["linkage.nearest"])
    assert entries(tmp_path) == 1
    assert release.card.guarantee["unit"] == "patient"
    assert release.card.plan["rows_per_unit"] == 2
    assert release.evaluation is not None
    assert list(copies.iterdir()) == []
    for file in [*out.rglob("*"), *Path(f"{out}.evaluation").rglob("*")]:
        assert b"secret-" not in file.read_bytes(), file
    assert str(copies) not in (out / "card.json").read_text()


def test_what_is_refused_leaves_no_copy(address: str, copies: Path, tmp_path: Path) -> None:
    given = training(tmp_path, copies)
    Ledger.open(tmp_path / "ledger.db").set_ceiling(Budget(0.5, 1e-6))
    with pytest.raises(BudgetError):
        api.publish(address, **given)
    assert list(copies.iterdir()) == []
    assert not (tmp_path / "kept").exists()


def test_an_interrupted_training_goes_on_with_the_same_rows(
    address: str, copies: Path, tmp_path: Path
) -> None:
    given, kept = training(tmp_path, copies), tmp_path / "kept" / "rows.parquet"
    with pytest.raises(KeyboardInterrupt):
        api.publish(address, **given, progress=stop)
    assert list(copies.iterdir()) == []
    assert kept_rows(tmp_path / "kept") == kept
    for path in (kept, kept.parent):
        assert not path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    first = members(api.plan(address, **given))
    # The night's load has changed the table, and the consent need not be given twice.
    fill(visits(seed=1), tmp_path / "clinic.duckdb")
    assert members(api.plan(address, **{**given, "spool": None})) == first
    release = api.publish(address, **given, out=tmp_path / "out", evaluate=False)
    assert entries(tmp_path) == 1
    assert release.card.guarantee["unit"] == "patient"
    assert not kept.parent.exists()


def test_the_rows_that_a_run_began_with_are_those_it_goes_on_with(
    address: str, copies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the training itself is given, before and after the interruption."""
    seen: list[list[tuple[Any, ...]]] = []
    given = training(tmp_path, copies)
    anonymous = units.anonymous

    def watched(data: Any) -> Any:
        frame = data.to_pandas()
        seen.append(list(frame.itertuples(index=False, name=None)))
        return anonymous(data)

    monkeypatch.setattr(units, "anonymous", watched)
    with pytest.raises(KeyboardInterrupt):
        api.publish(address, **given, progress=stop)
    api.publish(address, **given)
    assert len(seen) == 2
    assert seen[0] == seen[1]


def test_a_copy_made_anew_is_caught(
    address: str, copies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the kept copy the same key would keep other rows: the run is refused."""
    given = training(tmp_path, copies)
    with pytest.raises(KeyboardInterrupt):
        api.publish(address, **given, progress=stop)
    first = members(api.plan(address, **given))
    shutil.move(tmp_path / "kept" / "rows.parquet", tmp_path / "aside")
    assert members(api.plan(address, **given)) != first
    with pytest.raises(InputError, match="has kept no copy of its rows"):
        api.publish(address, **given)
    shutil.move(tmp_path / "aside", tmp_path / "kept" / "rows.parquet")
    for other in (visits(), Table.open(address, SCHEMA, spool=copies)):
        with pytest.raises(InputError, match="holds a copy of the rows"):
            api.publish(other, **given)
    another = fill(visits(), tmp_path / "other.duckdb")
    with pytest.raises(InputError, match="is no copy of"):
        api.publish(another, **given)
    api.publish(address, **given)
    assert entries(tmp_path) == 1


def test_a_copy_that_cannot_be_kept_costs_nothing(
    address: str, copies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = training(tmp_path, copies)

    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(spool.shutil, "copyfileobj", full)
        with pytest.raises(InputError, match=r"cannot be copied to .*kept .No space left"):
            api.publish(address, **given)
    assert entries(tmp_path) == 0
    assert not [name for name in os.listdir(tmp_path / "kept") if "rows" in name]
    api.publish(address, **given)  # what was begun goes on
    assert entries(tmp_path) == 1


def test_rows_of_no_unit_are_kept_for_a_run_that_goes_on_too(
    address: str, copies: Path, tmp_path: Path
) -> None:
    """A share of them is held out: what is left is read from the same copy."""
    facts = replace(SCHEMA, unit=None, rows_per_unit=1, drop=("patient_id",))
    given = {**training(tmp_path, copies), "schema": facts, "holdout": 0.25}
    with pytest.raises(KeyboardInterrupt):
        api.publish(address, **given, progress=stop)
    kept = kept_rows(tmp_path / "kept")
    assert kept is not None
    first = api.plan(address, **given).inputs.members.to_pandas()
    fill(visits(seed=1), tmp_path / "clinic.duckdb")
    assert api.plan(address, **given).inputs.members.to_pandas().equals(first)
    api.publish(address, **given)
    assert entries(tmp_path) == 1


@pytest.mark.parametrize("paid", [False, True])
def test_a_run_that_died_at_its_debit_goes_on_with_the_rows_it_had(
    paid: bool, address: str, copies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, debit = training(tmp_path, copies), Ledger.debit

    class Killed(BaseException):
        """The process is gone."""

    def dies(self: Ledger, *args: Any, **more: Any) -> Any:
        if paid:
            debit(self, *args, **more)
        shutil.copyfile(kept, tmp_path / "aside")  # nothing is tidied up after a killed process
        raise Killed

    kept = tmp_path / "kept" / "rows.parquet"
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "debit", dies)
        with pytest.raises(Killed):
            api.publish(address, **given)
    shutil.move(tmp_path / "aside", kept)
    fill(visits(seed=1), tmp_path / "clinic.duckdb")
    first = members(api.plan(address, **given))
    assert set(first) <= set(map(tuple, visits().astype(str).to_numpy()))
    with pytest.raises(KeyboardInterrupt):
        api.publish(address, **given, progress=stop)
    assert members(api.plan(address, **given)) == first
    api.publish(address, **given)
    assert entries(tmp_path) == 1


def test_a_refused_debit_leaves_no_copy_behind(
    address: str, copies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ceiling that another release reached meanwhile."""
    given = training(tmp_path, copies)

    def refuses(*args: Any, **more: Any) -> None:
        raise BudgetError("nothing is left", "Ask for less.")

    monkeypatch.setattr(Ledger, "debit", refuses)
    with pytest.raises(BudgetError):
        api.publish(address, **given)
    assert not (tmp_path / "kept" / "rows.parquet").exists()


@pytest.mark.parametrize("unit", [None, "patient_id"])
def test_public_columns_stand_beside_their_rows(
    unit: str | None, copies: Path, tmp_path: Path
) -> None:
    """The ward follows from the age, which an epsilon of 500 leaves nearly as it is."""
    data = visits()
    data["age"] = np.where(data["age"] < 30, 10, 50)
    data["ward"] = np.where(data["age"] < 30, "north", "south")
    address = fill(data, tmp_path / "wards.duckdb")
    drop = () if unit else ("patient_id",)
    schema = Schema(SCHEMA.columns, target="sick", pass_through=("ward",), unit=unit, drop=drop)
    given: dict[str, Any] = {"epsilon": 500.0, "schema": schema, "method": "tables.adaptive"}
    given |= {"holdout": 0, "ledger": Ledger.in_memory()}
    with pytest.raises(InputError, match=r"rows in no order.*--spool DIR"):
        api.publish(address, **given)
    assert not given["ledger"].entries()
    released = api.publish(address, **given, spool=copies).data.to_pandas()
    assert len(released) == (len(data) if unit is None else data["patient_id"].nunique())
    assert ((released["ward"] == "north") == (released["age"] < 30)).all()
    assert released["ward"].nunique() == 2
    assert list(copies.iterdir()) == []


def test_a_release_is_attacked_measured_and_compared_on_views(copies: Path, tmp_path: Path) -> None:
    data, facts = visits(2000, 500), SCHEMA.with_target(None)  # no models are trained
    inside = data["patient_id"].isin(data["patient_id"].drop_duplicates().iloc[:350])
    ins, outs = (
        fill(part, tmp_path / f"{name}.duckdb")
        for name, part in (("in", data[inside]), ("out", data[~inside]))
    )
    release = api.publish(
        ins, epsilon=2.0, schema=facts, holdout=0, out=tmp_path / "release", spool=copies
    )
    sides: dict[str, Any] = {"members": ins, "non_members": outs, "attacks": ["linkage.nearest"]}
    with pytest.raises(InputError, match="--spool DIR"):
        api.attack(release.path, **sides)
    assert api.attack(release.path, **sides, spool=copies)
    with pytest.raises(InputError, match="on both sides"):
        api.attack(release.path, **{**sides, "non_members": ins}, spool=copies)
    assert api.measure(release.path, train=ins, test=outs, spool=copies).marginals is not None
    compared = api.compare(
        ins,
        epsilons=[1.0],
        methods=["tables.independent"],
        schema=facts,
        holdout=outs,
        attacks=[],
        spool=copies,
    )
    assert len(compared.rows) == 1
    assert list(copies.iterdir()) == []


@pytest.mark.parametrize("kind", ["view", "file"])
def test_rows_drawn_anew_are_not_taken_for_the_releases_own(
    kind: str, copies: Path, tmp_path: Path
) -> None:
    """Row i of an aligned release is row i of nothing that was copied or drawn after it."""
    one = SCHEMA.with_unit("patient_id", 1)
    made = units.calibrate(registry.build("method", "tables.adaptive", {}), Budget(1.0), one)
    address = fill(visits(), tmp_path / "clinic.duckdb")
    if kind == "file":
        address = str(tmp_path / "visits.csv")
        visits().to_csv(address, index=False)
    table = Table.open(address, one, spool=copies)
    release = made(table, ledger=Ledger.in_memory())
    assert table.ordered
    again: Any = fit(address, release, copies)
    assert len(again) == len(release.data)
    assert not again.ordered
