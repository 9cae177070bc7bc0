"""Schemas read off released files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sfumato.data import Schema, Table
from sfumato.data.read_off import read_off
from sfumato.errors import InputError

FRAME = pd.DataFrame(
    {
        "age": [30, 41, 17, 30],
        "weight": [70.25, 81.5, 60.0, 70.3],
        "town": ["Ulm", "Bonn", None, "Ulm"],
        "smoker": ["yes", "no", "no", "yes"],
        "seen": ["2020-01-03", "2019-12-31", "2020-02-01", "2020-01-03"],
        "story": [f"a long story about patient number {i}, told at length" for i in range(4)],
        "score": [1, 2, 2, 1],
    }
)


@pytest.fixture(params=["csv", "parquet"])
def file(request: Any, tmp_path: Path) -> Path:
    path = tmp_path / f"out.{request.param}"
    FRAME.to_csv(path, index=False) if request.param == "csv" else FRAME.to_parquet(path)
    return path


def test_every_fact_is_filled_in_and_fits_the_file(file: Path) -> None:
    drafted = read_off(file, target="score")
    assert drafted.open_facts == ()
    assert list(drafted.refused) == ["story"]
    schema = drafted.schema()
    assert schema.drop == ("story",)
    assert schema.names == ("age", "weight", "town", "smoker", "seen", "score")
    age, weight = schema["age"], schema["weight"]
    assert (age.lower, age.upper, age.granularity, age.integer) == (17, 41, 1, True)  # type: ignore[union-attr]
    assert (weight.lower, weight.upper, weight.granularity) == (60, 81.5, 0.01)  # type: ignore[union-attr]
    assert schema["town"].levels == ("Bonn", "Ulm")  # type: ignore[union-attr]
    assert schema["score"].levels == ("1", "2")  # type: ignore[union-attr]
    assert all(c.provenance.startswith("public: values of the released out.") for c in schema)
    table = Table.open(file, schema)
    table.validate(schema)
    assert table.to_pandas()["weight"].tolist() == FRAME["weight"].tolist()
    assert Schema.from_yaml(drafted.to_yaml()) == schema


def test_private_rows_beyond_it_are_clamped_or_missing(file: Path, tmp_path: Path) -> None:
    schema = read_off(file, target="score").schema()
    beyond = FRAME.assign(age=[99, 0, 20, 30], town=["Trier", "Ulm", "Ulm", "Ulm"])
    path = tmp_path / "members.csv"
    beyond.to_csv(path, index=False)
    found = Table.open(path, schema).to_pandas()
    assert found["age"].tolist() == [41, 17, 20, 30]
    assert found["town"].isna().tolist() == [True, False, False, False]


def test_a_class_that_was_never_released_is_an_error(file: Path, tmp_path: Path) -> None:
    schema = read_off(file, target="score").schema()
    path = tmp_path / "members.csv"
    FRAME.assign(score=[1, 2, 3, 1]).to_csv(path, index=False)
    with pytest.raises(InputError, match="3"):
        Table.open(path, schema).validate(schema)


def test_types_may_be_declared(file: Path) -> None:
    schema = read_off(file, types={"age": "categorical", "score": "integer"}, drop=["story"])
    assert schema.schema()["age"].levels == ("17", "30", "41")  # type: ignore[union-attr]
    assert schema.schema()["score"].upper == 2  # type: ignore[union-attr]


def test_a_number_that_never_varies_has_room(tmp_path: Path) -> None:
    pd.DataFrame({"n": [5, 5], "x": [0.123456789012, 1000.5]}).to_csv(
        tmp_path / "a.csv", index=False
    )
    schema = read_off(tmp_path / "a.csv").schema()
    assert (schema["n"].lower, schema["n"].upper) == (5, 6)  # type: ignore[union-attr]
    assert schema["x"].cardinality <= 1_000_002


@pytest.mark.parametrize(
    "values", [["1e400", "2"], ["1.5e308", "-1.7e308", "0.5"], ["1e-310", "2e-310"]]
)
def test_numbers_that_no_grid_holds_are_refused_by_column(
    values: list[str], tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text("\n".join(["n", *values]))
    with pytest.raises(InputError, match="in 'n' is no number that bounds can be read off"):
        read_off(tmp_path / "a.csv")
    assert read_off(tmp_path / "a.csv", types={"n": "categorical"}).schema().names == ("n",)


def test_infinity_is_refused_by_column(tmp_path: Path) -> None:
    pd.DataFrame({"x": [1.0, float("inf"), 2.5], "n": [1, 2, 3]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(InputError, match="'x' holds infinity"):
        read_off(tmp_path / "a.parquet")
    assert read_off(tmp_path / "a.parquet", drop=["x"]).schema().names == ("n",)


def test_days_that_no_calendar_has_are_levels_and_no_dates(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("day\n2020-02-30\n2020-01-01\n")
    day: Any = read_off(tmp_path / "a.csv").schema()["day"]
    assert day.levels == ("2020-01-01", "2020-02-30")


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"target": "wealth"}, "no column 'wealth'"),
        ({"types": {"wealth": "integer"}}, "no column 'wealth'"),
        ({"types": {"age": "text"}}, "type of 'age' is 'text'"),
        ({"types": {"town": "integer"}}, "is no number"),
        ({"target": "story"}, "target 'story' holds free text"),
    ],
)
def test_what_does_not_fit_is_refused(settings: dict[str, Any], named: str, file: Path) -> None:
    with pytest.raises(InputError, match=named):
        read_off(file, **settings)


def test_another_delimiter_is_named_whatever_was_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("age;out\n3;1,5\n4;2\n", encoding="utf-8-sig")
    for settings in ({}, {"target": "out"}, {"drop": ["out"]}):
        with pytest.raises(InputError, match='Name its delimiter: delimiter: ";"'):
            read_off(tmp_path / "a.csv", **settings)


def test_decimals_behind_a_comma_are_numbers(tmp_path: Path) -> None:
    """As levels they would be equal or not, and a member written with a point would lack them."""
    lines = ["age;weight;pay;code"] + [f"{i};{i},5;1,{100 + i};{i},x" for i in range(5)]
    (tmp_path / "a.csv").write_text("\n".join(lines), encoding="utf-8")
    read_off(tmp_path / "a.csv", delimiter=";").save(tmp_path / "a.schema.yaml")
    schema = Schema.load(tmp_path / "a.schema.yaml")
    assert (schema["weight"].lower, schema["weight"].upper) == (0.5, 4.5)
    assert len(schema["pay"].levels) == 5  # thousands, perhaps
    table = Table.open(tmp_path / "a.csv", schema)
    table.validate(schema)
    np.testing.assert_allclose(table.to_pandas()["weight"], np.arange(5) + 0.5)
