"""Any method for people with several rows: what is printed for a person holds for a person."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import sfumato.api as api
from sfumato import registry
from sfumato.data import Categorical, Numeric, Schema, Table
from sfumato.errors import InputError
from sfumato.measure.audit import two_point
from sfumato.privacy import accounting, events
from sfumato.privacy.budget import Budget
from sfumato.privacy.guarantee import Central, Local
from sfumato.privacy.ledger import Ledger
from sfumato.privacy.noise import SECURE
from sfumato.publish import units
from sfumato.release.release import Release

ALPHA = 1e-6
SCHEMA = Schema(
    (
        Numeric("age", 0, 59, 1, integer=True),
        Categorical("ward", ("north", "south", "east")),
        Categorical("sick", ("no", "yes")),
    ),
    target="sick",
    unit="patient_id",
)
METHODS: dict[str, dict[str, Any]] = {
    "tables.independent": {},
    "tables.marginals": {},
    "tables.mcgen": {},
    "tables.adaptive": {},
    "tables.adaptive paid": {"importance": "paid"},
    "tables.adaptive gaussian": {"noise": "gaussian"},
    "tables.gan": {"epochs": 2, "hidden": 8},
    "tables.augm": {"epochs": 2, "hidden": 8},
    "learn.dpsgd": {"epochs": 2},
    "learn.dpsgd replaced": {"epochs": 2, "neighbours": "replace-one"},
}


@pytest.fixture(autouse=True)
def _own_ledgers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SFUMATO_HOME", str(tmp_path / "home"))


def visits(rows: int = 1500, people: int = 300, seed: int = 0) -> pd.DataFrame:
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


def of(name: str) -> Any:
    return registry.build("method", name.split()[0], METHODS[name])


@pytest.mark.parametrize("rows", [1, 2, 5])
@pytest.mark.parametrize("name", METHODS)
def test_the_persons_budget_is_met_and_nearly_spent(name: str, rows: int) -> None:
    facts = SCHEMA.with_unit("patient_id", rows).with_records(1000)
    budget = Budget(1.0, 1e-5)
    made = units.calibrate(of(name), budget, facts)
    guarantee = made.guarantee
    assert isinstance(guarantee, Central | Local)
    assert guarantee.unit == "patient"
    assert guarantee.delta in (0.0, 1e-5)
    assert 0.97 < guarantee.epsilon() <= 1 + 1e-9
    # The event alone, under its relation, gives the printed figure.
    again = events.from_dict(json.loads(json.dumps(events.to_dict(guarantee.event))))
    recomputed = accounting.epsilon(again, guarantee.delta, guarantee.neighbours)
    assert recomputed == guarantee.epsilon()
    # One row alone is told apart less easily than all of a person's.
    one = of(name).calibrate(budget, facts.without_unit()).guarantee
    noisier = made.plan.get("of_one_row", {"epsilon": 1.0})["epsilon"]
    assert noisier <= 1 / math.sqrt(rows) + 1e-9
    assert isinstance(one, Central | Local)
    assert one.epsilon() <= 1 + 1e-9


@pytest.mark.parametrize("name", METHODS)
def test_no_release_holds_a_persons_id(name: str, tmp_path: Path) -> None:
    file = tmp_path / "visits.csv"
    visits().to_csv(file, index=False)
    gives = "model" if name.startswith("learn") else "data"
    release = api.publish(
        str(file),
        epsilon=1.0,
        delta=1e-5,
        schema=SCHEMA,
        rows_per_unit=2,
        method=name.split()[0],
        settings=METHODS[name],
        gives=gives,
        out=tmp_path / "out",
        attacks=[],
    )
    if gives == "data":
        assert release.data.to_arrow().column_names == ["age", "ward", "sick"]
    for part in (tmp_path / "out").rglob("*"):
        if part.is_file():
            assert b"secret-" not in part.read_bytes(), part
    loaded = Release.load(tmp_path / "out")
    assert loaded.card.guarantee["unit"] == "patient"
    assert loaded.card.verify() == []
    assert loaded.card.plan["rows_per_unit"] == 2
    fact = next(f.value for f in loaded.card.facts if f.name == "unit")
    assert fact == {"column": "patient_id", "rows": 2}
    page = (tmp_path / "out" / "report.html").read_text()
    assert "all their rows" in page
    assert "not all that belongs to one person" not in page
    assert not any("person with k records" in caveat for caveat in loaded.card.caveats)


@pytest.mark.parametrize(
    ("name", "rows", "said"),
    [
        ("learn.dpsgd", 1, False),  # the number of persons, which another caveat declares public
        ("learn.dpsgd", 2, True),
        ("learn.dpsgd replaced", 2, True),
        ("tables.independent", 2, False),  # which counts rows with noise
    ],
)
def test_where_the_number_of_rows_is_public_so_is_how_many_a_person_has(
    name: str, rows: int, said: bool
) -> None:
    facts = replace(SCHEMA, rows_per_unit=rows)
    public = facts.with_records(400) if name.startswith("learn") else facts
    method = registry.build("method", name.split()[0], METHODS[name])
    made = units.calibrate(method, Budget(1.0, 1e-5), public)
    assert any("rows that were kept of a patient" in line for line in made.caveats) is said


def check_bounded_before_counting() -> None:
    """One person with a thousand rows adds one row to what is counted.

    At epsilon 20 the counts are exact up to 2 with probability above 1 - 1e-6 a cell.
    """
    data = pd.concat(
        [
            visits(200, 10**9),
            pd.DataFrame({"patient_id": "x", "age": 7, "ward": "east", "sick": ["no"] * 1000}),
        ]
    )
    table = Table.from_pandas(data, SCHEMA)
    made = units.calibrate(of("tables.independent"), Budget(20.0), SCHEMA)
    release = made(table, ledger=Ledger.in_memory())
    assert abs(release.card.plan["noisy_records"] - 201) <= 10


def test_rows_are_bounded_before_they_are_counted() -> None:
    check_bounded_before_counting()


def test_bounding_after_counting_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "bounded", lambda data, *_, **__: data)
    with pytest.raises(AssertionError):
        check_bounded_before_counting()


def check_person_audit(trials: int = 8000) -> None:
    """A two-point audit of a person with three rows, there or not: at most what is printed.

    False-alarm rate ALPHA.
    """
    facts = SCHEMA.select("ward", "sick").with_unit("patient_id", 3)
    made = units.calibrate(of("tables.independent"), Budget(1.0), facts)
    run: Any = made.run
    person = pd.DataFrame({"patient_id": "x", "age": 7, "ward": "east", "sick": ["no"] * 3})
    rest = pd.DataFrame({"patient_id": ["y"], "age": [50], "ward": ["north"], "sick": ["yes"]})
    seen = []
    for data in (pd.concat([person, rest]), rest):
        table = units.anonymous(Table.from_pandas(data, facts).bound(bytes(32)))
        (counts,) = run._counts(table)
        # Every cell draws its own noise: one call for all trials of the person's cell.
        seen.append(run.noise.release(np.full(trials, counts[2, 0]), SECURE).astype(float))
    assert isinstance(made.guarantee, Central)
    assert two_point(seen[0], seen[1], 0.0, ALPHA) <= made.guarantee.epsilon()


def test_a_person_with_three_rows_is_protected_as_printed() -> None:
    check_person_audit()


def test_a_rows_epsilon_printed_as_the_persons_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def renamed(guarantee: Central, unit: str, rows: int, delta: float) -> Central:
        return replace(guarantee, unit=unit)

    monkeypatch.setattr(units, "for_unit", renamed)
    monkeypatch.setattr(units, "of_one_record", lambda budget, rows: budget)
    with pytest.raises(AssertionError):
        check_person_audit()


def test_a_person_who_is_on_both_sides_is_no_evidence() -> None:
    from sfumato.attack.evidence import Evidence

    frame = visits()
    codes = np.arange(1500) % 2 == 0
    by_row = [Table.from_pandas(frame[side], SCHEMA) for side in (codes, ~codes)]
    with pytest.raises(InputError, match="on both sides"):
        Evidence(*by_row)
    Evidence(*Table.from_pandas(frame, SCHEMA).split(0.4, 1))


def test_a_holdout_file_that_shares_persons_is_refused(tmp_path: Path) -> None:
    data = visits()
    for name, part in (("a", data.iloc[:1000]), ("b", data.iloc[1000:])):
        part.to_csv(tmp_path / f"{name}.csv", index=False)
    with pytest.raises(InputError, match="have rows in both parts"):
        api.plan(
            str(tmp_path / "a.csv"), epsilon=1.0, schema=SCHEMA, holdout=str(tmp_path / "b.csv")
        )


def test_a_method_is_not_calibrated_past_the_unit() -> None:
    with pytest.raises(InputError, match="guarantee is for one record"):
        of("tables.independent").calibrate(Budget(1.0), SCHEMA)
    made = units.calibrate(of("tables.independent"), Budget(1.0), SCHEMA)
    other = Table.from_pandas(visits().drop(columns="patient_id"), SCHEMA.without_unit())
    with pytest.raises(InputError, match="whom a row is of"):
        made(other, ledger=Ledger.in_memory())


def test_persons_and_records_have_accounts_of_their_own() -> None:
    ledger = Ledger.in_memory()
    table = Table.from_pandas(visits(), SCHEMA)
    units.calibrate(of("tables.independent"), Budget(1.0), SCHEMA)(table, ledger=ledger)
    of("tables.independent").calibrate(Budget(1.0), SCHEMA.without_unit())(
        table.without_unit(), ledger=ledger
    )
    assert [total.unit for total in ledger.total()] == ["patient", "record"]


def test_an_interrupted_training_goes_on_with_the_same_rows(tmp_path: Path) -> None:
    file = tmp_path / "visits.csv"
    visits().to_csv(file, index=False)
    given: dict[str, Any] = {
        "epsilon": 1.0,
        "schema": SCHEMA,
        "method": "learn.dpsgd",
        "settings": {"epochs": 2},
        "gives": "model",
        "checkpoint": tmp_path / "kept",
    }
    made = api.publishing.plan(str(file), **given)

    def stop(done: int, total: int, label: str) -> None:
        if done >= 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        api.publish(str(file), **given, progress=stop)
    again = api.publishing.plan(str(file), **given)
    third = api.publishing.plan(str(file), **given)
    assert again.key == third.key != made.key
    pd.testing.assert_frame_equal(
        again.inputs.members.to_pandas(), third.inputs.members.to_pandas()
    )
    release = api.publish(str(file), **given)
    assert len(list(Ledger.open(Ledger.default_path(_own(file))).entries())) == 1
    assert release.card.guarantee["unit"] == "patient"


def _own(file: Path) -> str:
    import hashlib

    return f"visits-{hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:8]}"


def test_a_release_is_attacked_and_measured_by_person(tmp_path: Path) -> None:
    data = visits(3000, 500)
    people = data["patient_id"].drop_duplicates()
    inside = data["patient_id"].isin(people.iloc[:350])
    for name, part in (("in", data[inside]), ("out", data[~inside])):
        part.to_csv(tmp_path / f"{name}.csv", index=False)
    release = api.publish(
        str(tmp_path / "in.csv"), epsilon=2.0, schema=SCHEMA, holdout=0, out=tmp_path / "release"
    )
    assert release.path is not None
    files = [str(tmp_path / f"{name}.csv") for name in ("in", "out")]
    assert api.attack(release.path, members=files[0], non_members=files[1])
    assert api.measure(release.path, train=files[0], test=files[1]).utility is not None
    with pytest.raises(InputError, match="on both sides"):
        api.attack(release.path, members=files[0], non_members=files[0])
