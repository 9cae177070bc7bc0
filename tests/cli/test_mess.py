"""A table as people have it, from the file to an attacked release; and targets of every kind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sfumato.api as api
from sfumato.data import Categorical, Column, Date, Numeric, Schema
from sfumato.errors import InputError
from sfumato.report import page

Command = Callable[..., Any]

MESSY = """\
sfumato_schema: 1
target: geheilt
unit: Patienten-Nr
encoding: cp1252
delimiter: ";"
na_values: ["", "k.A."]
drop: [Name, E-Mail]
impossible:
- {Geschlecht: männlich, schwanger: "true"}
columns:
  Alter: {type: integer, lower: 0, upper: 110, from: Geburtsdatum, as: age, at: 2024-01-01,
    format: "%d.%m.%Y"}
  Aufnahme: {type: date, lower: 2023-01-01, upper: 2023-12-31, format: "%d.%m.%Y"}
  "Kosten (€)": {type: number, lower: 0, upper: 50000, granularity: 0.5, decimal: ",",
    thousands: ".", strip: "€", missing: true}
  Geschlecht: {type: categorical, levels: [weiblich, männlich]}
  schwanger: {type: categorical, dtype: bool, levels: ["false", "true"]}
  Befund: {type: integer, lower: 0, upper: 9, missing: true}
  geheilt: {type: categorical, levels: [ja, nein, teils]}
"""


def german(rows: int = 500) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    born = pd.to_datetime("1930-01-01") + pd.to_timedelta(rng.integers(30_000, size=rows), "D")
    seen = pd.to_datetime("2023-01-01") + pd.to_timedelta(rng.integers(365, size=rows), "D")
    woman = rng.random(rows) < 0.5
    costs = [f"{x:,.2f} €" for x in rng.uniform(10, 40_000, rows)]
    costs = [x.translate(str.maketrans(",.", ".,")) for x in costs]
    costs[5] = "k.A."
    return pd.DataFrame(
        {
            "Patienten-Nr": [f"P-{i:05d}" for i in rng.integers(400, size=rows)],
            "Name": ['Müller, "Hänschen"\nKöln'] * rows,
            "E-Mail": ["a@example.org"] * rows,
            "Geburtsdatum": born.strftime("%d.%m.%Y"),
            "Aufnahme": seen.strftime("%d.%m.%Y"),
            "Kosten (€)": costs,
            "Geschlecht": np.where(woman, "weiblich", "männlich"),
            "schwanger": np.where(woman & (rng.random(rows) < 0.2), "YES", "no"),
            "Befund": "",
            "geheilt": rng.choice(["ja", "nein", "teils"], rows),
        }
    )


@pytest.fixture
def messy(tmp_path: Path) -> Path:
    file = tmp_path / "klinik.csv"
    german().to_csv(file, index=False, sep=";", encoding="cp1252", lineterminator="\r\n")
    (tmp_path / "klinik.schema.yaml").write_text(MESSY, encoding="utf-8")
    return file


@pytest.mark.parametrize("method", ["tables.independent", "tables.adaptive"])
def test_a_messy_file_becomes_a_release_with_types_and_order(
    sfumato: Command, messy: Path, tmp_path: Path, method: str
) -> None:
    out = tmp_path / "release"
    given = ["--method", method, "--out", out, "--no-evaluate", "--json"]
    ran = sfumato("publish", messy, "--epsilon", 2, *given)
    assert ran.code == 0, ran.err
    card = json.loads(ran.out)["card"]
    assert card["guarantee"]["unit"] == "patienten"
    table = pq.read_table(out / "data.parquet")
    assert [(field.name, field.type) for field in table.schema] == [
        ("Alter", pa.int64()),
        ("Aufnahme", pa.date32()),
        ("Kosten (€)", pa.float64()),
        ("Geschlecht", pa.string()),
        ("schwanger", pa.bool_()),
        ("Befund", pa.int64()),
        ("geheilt", pa.string()),
    ]
    data = table.to_pandas()
    assert not ((data["Geschlecht"] == "männlich") & data["schwanger"]).any()
    assert set(data["geheilt"]) <= {"ja", "nein", "teils"}
    assert (data["Kosten (€)"].dropna() % 0.5 == 0).all()
    for file in out.iterdir():
        assert b"P-0" not in file.read_bytes()
        assert b"example.org" not in file.read_bytes()
    if method == "tables.adaptive":  # judged on the very files it came from
        judged = sfumato("measure", out, "--train", messy, "--test", messy)
        assert judged.code == 0, judged.err


def test_a_model_of_a_messy_file_predicts_from_raw_rows(
    sfumato: Command, messy: Path, tmp_path: Path
) -> None:
    out = tmp_path / "model"
    given = ["--epsilon", 2, "--rows-per-unit", 2, "--set", "epochs=2", "--no-evaluate"]
    ran = sfumato("train", messy, *given, "--out", out)
    assert ran.code == 0, ran.err
    from sfumato.release.release import Release

    model = Release.load(out)
    raw = german(30)
    labels = model.predict(raw.drop(columns="geheilt"))
    assert len(labels) == 30


def test_a_row_that_says_what_cannot_be_is_refused_before_anything_is_spent(
    sfumato: Command, messy: Path, tmp_path: Path
) -> None:
    data = german()
    data.loc[7, ["Geschlecht", "schwanger"]] = ["männlich", "yes"]
    data.to_csv(messy, index=False, sep=";", encoding="cp1252")
    ran = sfumato("publish", messy, "--epsilon", 1, "--out", tmp_path / "release")
    assert ran.code == 2
    assert "row 8 has {Geschlecht: männlich, schwanger: true}" in ran.err
    assert not (tmp_path / "release").exists()
    assert not list((tmp_path / "home").rglob("*.db"))


def test_units_that_do_not_fit_are_refused_in_one_line(
    sfumato: Command, messy: Path, tmp_path: Path
) -> None:
    out = tmp_path / "release"
    for more, problem in (
        (["--unit", "Nummer"], "Nummer"),
        (["--unit", "geheilt"], "is the target"),
        (["--rows-per-unit", 0], "rows_per_unit is 0"),
    ):
        ran = sfumato("publish", messy, "--epsilon", 1, "--out", out, *more)
        assert ran.code == 2
        assert problem in ran.err
        assert "Traceback" not in ran.err
    pictures = sfumato("publish", "dataset:digits", "--epsilon", 1, "--unit", "who", "--out", out)
    assert pictures.code == 2
    assert not out.exists()


ROWS = 240
AGE = np.random.default_rng(1).integers(60, size=ROWS)
THREE = np.array(["a", "b", "c"])[AGE // 20]
COLUMNS: tuple[Column, ...] = (
    Numeric("age", 0, 59, 1, integer=True),
    Categorical("ward", tuple(f"w{i}" for i in range(10_000))),
    Numeric("gone", 0, 9, 1, missing=True, integer=True),
    Categorical("one", ("x",)),
)


def classes(*names: str, missing: bool = False) -> Categorical:
    return Categorical("y", names, missing=missing)


TARGETS: dict[str, tuple[Any, Column]] = {
    "three classes": (THREE, classes("a", "b", "c")),
    "a class that nobody has": (THREE, classes("a", "b", "c", "d")),
    "a class that one row has": (
        np.where(np.arange(ROWS) == 5, "d", THREE),
        classes("a", "b", "c", "d"),
    ),
    "six in a hundred": (np.where(AGE < 4, "yes", "no"), classes("no", "yes")),
    "nobody in two classes": (["no"] * ROWS, classes("no", "yes")),
    "one class": (["no"] * ROWS, classes("no")),
    "some labels missing": (np.where(AGE < 6, None, THREE), classes("a", "b", "c", missing=True)),
    "a number": (AGE + 0.5, Numeric("y", 0, 60, 0.5)),
    "a date": (
        pd.to_datetime("2020-01-01") + pd.to_timedelta(AGE, "D"),
        Date("y", "2020-01-01", "2020-12-31"),
    ),
}
MODELS_TAKE = ("a number", "a date")


@pytest.mark.filterwarnings("ignore:no ledger")
@pytest.mark.parametrize("method", ["tables.independent", "tables.adaptive", "learn.dpsgd"])
@pytest.mark.parametrize("kind", TARGETS)
def test_every_kind_of_target_is_published_attacked_and_measured(kind: str, method: str) -> None:
    values, column = TARGETS[kind]
    data = pd.DataFrame(
        {"age": AGE, "ward": [f"w{41 * i % 10_000}" for i in range(ROWS)], "gone": None, "one": "x"}
    ).assign(y=values)
    given: dict[str, Any] = {
        "epsilon": 1.0,
        "delta": 1e-5,
        "schema": Schema((*COLUMNS, column), target="y"),
        "method": method,
        "settings": {"epochs": 1} if method == "learn.dpsgd" else {},
        "gives": "model" if method == "learn.dpsgd" else "data",
        "holdout": 0.3,
        "evaluate": True,
        "attacks": ["membership.loss" if method == "learn.dpsgd" else "attribute.inference"],
    }
    if method == "learn.dpsgd" and kind in MODELS_TAKE:
        with pytest.raises(InputError, match="is a number"):
            api.publish(data, **given)
        return
    if method == "learn.dpsgd" and kind == "one class":
        with pytest.raises(InputError, match="there is one class"):
            api.publish(data, **given)
        return
    release = api.publish(data, **given)
    assert release.evaluation is not None
    assert release.evaluation.utility is not None
    assert len(release.evaluation.findings) == 1
    assert "</html>" in page(release, release.evaluation)
    if given["gives"] == "data":
        names = ["age", "ward", "gone", "one", "y"]
        assert release.data.to_arrow().column_names == names


@pytest.mark.filterwarnings("ignore:no ledger")
@pytest.mark.parametrize("method", ["tables.independent", "tables.adaptive"])
def test_one_row_is_published_or_refused(method: str) -> None:
    data = pd.DataFrame({"age": [7], "y": ["a"]})
    schema = Schema((COLUMNS[0], classes("a", "b")), target="y")
    release = api.publish(data, epsilon=1.0, schema=schema, method=method, holdout=0)
    assert release.data.num_rows >= 1
    with pytest.raises(InputError, match="too few"):
        api.publish(data, epsilon=1.0, schema=schema, method=method)
    with pytest.raises(InputError, match="no rows"):
        api.publish(data.iloc[:0], epsilon=1.0, schema=schema, method=method)
