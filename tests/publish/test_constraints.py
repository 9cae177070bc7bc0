"""Public columns and impossible rows: what people require of a release beside its guarantee."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import sfumato.api as api
from sfumato import registry
from sfumato.data import Categorical, Date, Numeric, Schema, Table
from sfumato.data.impossible import Impossible
from sfumato.errors import InputError
from sfumato.privacy.budget import Budget
from sfumato.privacy.ledger import Ledger
from sfumato.publish import constraints
from sfumato.publish.constraints import even

RULES = (
    {"sex": "male", "pregnant": "yes"},
    {"age": "..11", "pregnant": "yes"},
    {"sex": "male", "year": "2019"},
)
SCHEMA = Schema(
    (
        Numeric("age", 0, 89, 1, integer=True),
        Categorical("sex", ("female", "male")),
        Categorical("year", ("2019", "2020", "2021"), dtype="int64"),
        Categorical("pregnant", ("no", "yes")),
    ),
    target="pregnant",
    impossible=RULES,
)


@pytest.fixture(autouse=True)
def _own_ledgers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SFUMATO_HOME", str(tmp_path / "home"))


def people(rows: int = 1500, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    data = pd.DataFrame(
        {
            "age": rng.integers(90, size=rows),
            "sex": rng.choice(["female", "male"], rows),
            "year": rng.integers(2019, 2022, size=rows),
        }
    )
    man = (data["sex"] == "male").to_numpy()
    data.loc[man, "year"] = rng.integers(2020, 2022, size=rows)[man]
    may = (data["sex"] == "female") & (data["age"] > 11)
    return data.assign(pregnant=np.where(may & (rng.random(rows) < 0.5), "yes", "no"))


def released(method: str, schema: Schema, epsilon: float = 1.0, **settings: Any) -> Any:
    made = constraints.calibrate(
        registry.build("method", method, settings), Budget(epsilon), schema
    )
    return made(Table.from_pandas(people(), schema), ledger=Ledger.in_memory())


def impossible(data: pd.DataFrame) -> int:
    pregnant = data["pregnant"] == "yes"
    man = data["sex"] == "male"
    return int(((pregnant & (man | (data["age"] < 12))) | (man & (data["year"] == 2019))).sum())


@pytest.mark.parametrize("method", ["tables.independent", "tables.adaptive"])
def test_no_released_row_is_impossible(method: str) -> None:
    free = released(method, Schema(SCHEMA.columns, target="pregnant"))
    assert impossible(free.data.to_pandas()) > 20  # nothing else keeps such rows out
    release = released(method, SCHEMA)
    assert impossible(release.data.to_pandas()) == 0
    assert release.card.plan["impossible_rows_replaced"] > 20
    assert "{sex: male, pregnant: yes}" in " ".join(release.card.caveats)
    if method == "tables.adaptive":  # a row for each row, and the label as it was reported
        assert release.data.num_rows == 1500


def test_private_rows_that_contradict_the_facts_are_named() -> None:
    data = people()
    data.loc[41, ["sex", "pregnant"]] = ["male", "yes"]
    table = Table.from_pandas(data, SCHEMA)
    with pytest.raises(InputError, match=r"row 42 has \{sex: male, pregnant: yes\}"):
        table.validate(SCHEMA)
    table.codes()  # and the same from codes that are known
    with pytest.raises(InputError, match="row 42"):
        table.validate(SCHEMA)


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ({"sex": "male"}, "two columns"),
        ({"sex": "male", "size": "x"}, "no column 'size'"),
        ({"sex": "other", "pregnant": "yes"}, "'other' is no level"),
        ({"age": "90..95", "pregnant": "yes"}, "holds no value"),
        ({"age": "ten", "pregnant": "yes"}, "is no number"),
        ({"sex": ("female", "male"), "pregnant": "yes"}, "all values of 'sex'"),
    ],
)
def test_combinations_that_cannot_be_meant_are_refused(rule: Any, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        Schema(SCHEMA.columns, impossible=(rule,))


def test_ranges_of_numbers_and_dates_name_codes() -> None:
    schema = Schema(
        (
            Numeric("size", 0, 1, 0.25, missing=True),
            Date("born", "2000-01-01", "2000-12-31"),
        )
    )
    rule = Impossible({"size": ("0.3..0.8", "0"), "born": ("2000-12-30..",)})
    assert rule.forbidden(schema["size"]).tolist() == [True, False, True, True, False, False]
    assert np.flatnonzero(rule.forbidden(schema["born"])).tolist() == [364, 365]


def test_columns_that_are_passed_through_are_copied_where_rows_are() -> None:
    schema = Schema(SCHEMA.columns, target="pregnant", pass_through=("year", "sex"))
    release = released("tables.adaptive", schema)
    data = release.data.to_pandas()
    assert list(data.columns) == ["age", "sex", "year", "pregnant"]
    for name in ("year", "sex"):
        assert (data[name] == people()[name]).all()
    assert (data["age"] != people()["age"]).mean() > 0.5
    # What is spent is spent on the rest: nothing is set aside for what is public.
    assert [a["name"] for a in release.card.plan["attributes"]] == ["age"]
    assert "copied row by row" in " ".join(release.card.caveats)


def test_a_synthetic_table_models_what_is_passed_through() -> None:
    schema = Schema(SCHEMA.columns, target="pregnant", pass_through=("year",))
    release = released("tables.independent", schema)
    assert release.card.plan["tables"] == 3  # the year is counted, and paid for
    assert "modelled like any other" in " ".join(release.card.caveats)


def test_attacks_are_not_credited_with_what_everybody_knows(tmp_path: Path) -> None:
    # A column that is nearly an id: copied, it would link every row.
    data = people().assign(day=np.arange(1500))
    schema = Schema(
        (*SCHEMA.columns, Numeric("day", 0, 1499, 1, integer=True)),
        target="pregnant",
        pass_through=("day",),
    )
    release = api.publish(
        data, epsilon=0.5, schema=schema, method="tables.adaptive", evaluate=True, ledger=None
    )
    assert release.evaluation is not None
    assert not any(f.breaks_guarantee for f in release.evaluation.findings)


@pytest.mark.parametrize("method", ["tables.independent", "tables.adaptive"])
def test_combinations_that_together_exclude_a_value_are_kept_out(method: str) -> None:
    """No new value of ``pregnant``, named last, makes a man of a row possible."""
    columns = (Categorical("sex", ("female", "male")), Categorical("pregnant", ("no", "yes")))
    rules = tuple({"sex": "male", "pregnant": answer} for answer in ("no", "yes"))
    schema = Schema((*columns, Numeric("age", 0, 9, 1)), target="age", impossible=rules)
    women = Table.from_codes({name: np.zeros(300, int) for name in schema.names}, schema)
    made = constraints.calibrate(registry.build("method", method, {}), Budget(0.5), schema)
    release = made(women, ledger=Ledger.in_memory())
    assert set(release.data.to_pandas()["sex"]) == {"female"}


def test_combinations_that_leave_no_row_are_refused_before_anything_is_paid_for() -> None:
    columns = (Categorical("sex", ("female", "male")), Categorical("pregnant", ("no", "yes")))
    pairs = [(sex, answer) for sex in ("female", "male") for answer in ("no", "yes")]
    rules = tuple({"sex": sex, "pregnant": answer} for sex, answer in pairs)
    schema = Schema((*columns, Numeric("age", 0, 9, 1)), target="age", impossible=rules)
    with pytest.raises(InputError, match="contradict each other"):
        constraints.calibrate(
            registry.build("method", "tables.independent", {}), Budget(1.0), schema
        )


@pytest.mark.filterwarnings("ignore:no ledger")
def test_settings_that_leave_nothing_are_refused() -> None:
    names = SCHEMA.names
    with pytest.raises(InputError, match="every column is passed through"):
        released("tables.adaptive", Schema(SCHEMA.columns, pass_through=names))
    schema = Schema(SCHEMA.columns, pass_through=("sex", "pregnant"), impossible=RULES[:1])
    with pytest.raises(InputError, match="passed through as they are"):
        released("tables.adaptive", schema)
    with pytest.raises(InputError, match="passed through and no column"):
        Schema(SCHEMA.columns, pass_through=("size",))


def test_constraints_survive_yaml() -> None:
    schema = Schema(
        SCHEMA.columns, target="pregnant", pass_through=("year",), impossible=RULES, unit="who"
    )
    assert Schema.from_yaml(schema.to_yaml()) == schema
    text = SCHEMA.to_yaml().split("impossible:")[0]
    text += (
        "impossible:\n- {sex: male, pregnant: 'yes'}\n- {age: ..11, pregnant: ['yes']}\n"
        "- {sex: male, year: '2019'}\ncolumns:"
    )
    text += SCHEMA.to_yaml().split("columns:")[1]
    assert Schema.from_yaml(text) == SCHEMA


@pytest.mark.parametrize("sizes", [[3, 3, 3], [10], [1, 1, 8], [4, 0, 6]])
def test_batches_are_made_even(sizes: list[int]) -> None:
    ends = np.cumsum([0, *sizes])
    parts = ({"a": np.arange(i, j)} for i, j in pairwise(ends))
    got = list(even(parts, 4))
    assert [len(part["a"]) for part in got] == [
        min(4, sum(sizes) - i) for i in range(0, sum(sizes), 4)
    ]
    np.testing.assert_array_equal(np.concatenate([p["a"] for p in got]), np.arange(sum(sizes)))


def test_rows_in_no_order_are_not_copied_beside_others() -> None:
    schema = Schema(SCHEMA.columns, target="pregnant", pass_through=("year",))
    made = constraints.calibrate(registry.build("method", "tables.adaptive", {}), Budget(1), schema)
    table = Table.from_pandas(people(), schema)
    table._shuffled = True
    ledger = Ledger.in_memory()
    with pytest.raises(InputError, match="rows in no order"):
        made(table, ledger=ledger)
    assert not ledger.entries()


YEARS = Categorical("year", ("2019", "2020"))
CODE = Numeric("code", 0, 9999, 1, integer=True)
DOSE = Numeric("dose", 0, 99, 1, integer=True)


def beside_copied(rules: list[dict[str, str]], code: int, dose: int) -> tuple[Any, Table]:
    """A run that copies the year, and rows that are possible in 2020 by one code and dose."""
    columns = (YEARS, CODE, DOSE, Categorical("ill", ("no", "yes")))
    schema = Schema(columns, target="ill", pass_through=("year",), impossible=tuple(rules))
    rng = np.random.default_rng(0)
    codes = {c.name: rng.integers(c.size, size=400) for c in columns}
    codes["code"][codes["year"] == 1] = code
    codes["dose"][codes["year"] == 1] = dose
    method = registry.build("method", "tables.adaptive", {})
    return constraints.calibrate(method, Budget(1.0), schema), Table.from_codes(codes, schema)


def test_one_value_that_is_left_beside_a_copied_one_is_found() -> None:
    """Two combinations leave one code of 10,000 in 2020; drawing blindly finds it in no time."""
    rules = [{"year": "2020", "code": "..41"}, {"year": "2020", "code": "43.."}]
    made, table = beside_copied(rules, 42, 5)
    released: Any = made(table, ledger=Ledger.in_memory()).data
    in_2020 = released.codes()["year"] == 1
    assert set(released.codes()["code"][in_2020]) == {42}
    assert np.array_equal(in_2020, table.codes()["year"] == 1)


def test_combinations_that_leave_nothing_beside_a_copied_value_cost_nothing() -> None:
    """One pair of code and dose of a million is possible in 2020, and no search finds it."""
    wrong = [("..49", "..49"), ("50..", "..49"), ("..49", "51.."), ("50..", "51..")]
    wrong += [("..6", "50"), ("8..", "50")]
    rules = [{"year": "2020", "code": code, "dose": dose} for code, dose in wrong]
    made, table = beside_copied(rules, 7, 50)
    ledger = Ledger.in_memory()
    with pytest.raises(InputError, match=r"beside \{year: 2020\}, passed through.*Take a comb"):
        made(table, ledger=ledger)
    assert not ledger.entries()
