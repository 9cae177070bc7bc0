from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sfumato.data import Schema, Table, estimate, sources
from sfumato.data.draft import draft
from sfumato.errors import BudgetError, InputError
from sfumato.privacy.budget import Budget
from sfumato.privacy.ledger import Ledger
from sfumato.privacy.noise import SeededSource


def people(rows=4000, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "age": rng.integers(18, 90, rows),
            "debt": rng.uniform(-30, 200, rows).round(2),
            "city": rng.choice(["Bonn", "Köln", "Ulm"], rows, p=[0.5, 0.3, 0.2]),
            "name": [f"person {i}" for i in range(rows)],
            "ill": rng.random(rows) < 0.3,
        }
    )


@pytest.fixture
def csv(tmp_path):
    people().to_csv(tmp_path / "people.csv", index=False)
    return tmp_path / "people.csv"


@pytest.fixture
def parquet(tmp_path):
    people().to_parquet(tmp_path / "people.parquet")
    return tmp_path / "people.parquet"


def unread(*args, **kwargs):
    raise AssertionError("rows were read")


def test_a_csv_without_a_budget_yields_its_header_and_nothing_else(csv, monkeypatch):
    monkeypatch.setattr(sources.CsvSource, "batches", unread)
    found = draft(csv, target="ill", drop=["name"])
    assert found.columns["age"] == {"type": "?", "provenance": "public"}
    assert found.open_facts == ("age: type", "debt: type", "city: type", "ill: type")
    with pytest.raises(InputError, match="column 'age': type is left open"):
        found.schema()
    text = found.to_yaml()
    assert "never by a look at the rows" in text
    with pytest.raises(InputError, match="is left open"):
        Schema.from_yaml(text)


def test_a_header_parted_by_another_delimiter_is_no_draft_of_one_column(tmp_path):
    path = tmp_path / "people.csv"
    people(5).to_csv(path, index=False, sep=";")
    with pytest.raises(InputError, match=r'read as one column, \'age;debt.*delimiter: ";" in'):
        draft(path)
    assert list(draft(path, delimiter=";").columns)[:2] == ["age", "debt"]
    path.write_text("amount;EUR,year\n1,2\n")
    assert len(draft(path).columns) == 2
    path.write_text('"Name, first"\nA\n')
    assert len(draft(path, types={"Name, first": "categorical"}).columns) == 1


def test_two_files_with_one_header_have_one_draft(csv, tmp_path):
    people(50, seed=9).assign(city="elsewhere").to_csv(tmp_path / "other.csv", index=False)
    assert draft(csv).to_yaml() == draft(tmp_path / "other.csv").to_yaml()


def test_parquet_without_a_budget_yields_its_declared_types(parquet, monkeypatch):
    monkeypatch.setattr(sources.ParquetSource, "batches", unread)
    columns = draft(parquet).columns
    assert columns["age"]["type"] == "integer"
    assert columns["age"]["lower"] == columns["age"]["upper"] == "?"
    assert columns["debt"] == {
        "type": "number",
        "lower": "?",
        "upper": "?",
        "granularity": "?",
        "provenance": "public",
    }
    assert columns["city"] == {"type": "categorical", "levels": ["?"], "provenance": "public"}
    assert columns["ill"]["levels"] == ["false", "true"]


def test_types_that_say_nothing_are_left_open(tmp_path):
    table = pa.table(
        {
            "day": pa.array([1], pa.date32()),
            "word": pa.array(["a"]).dictionary_encode(),
            "sum": pa.array([Decimal("1.50")], pa.decimal128(20, 2)),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    columns = draft(tmp_path / "a.parquet").columns
    assert [columns[name]["type"] for name in columns] == ["?", "categorical", "number"]
    assert columns["word"]["levels"] == ["?"]


def test_declared_types_are_taken_over(csv):
    columns = draft(csv, types={"age": "integer", "ill": "bool", "city": "ordinal"}).columns
    assert columns["age"]["type"] == "integer"
    assert columns["ill"]["dtype"] == "bool"
    assert columns["city"]["type"] == "ordinal"


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"types": {"agee": "integer"}}, "there is no column 'agee'"),
        ({"types": {"age": "date"}}, "type of 'age' is 'date'"),
        ({"drop": ["nobody"]}, "there is no column 'nobody'"),
        ({"target": "sick"}, "target 'sick' is not a column"),
        ({"drop": list(people(1))}, "every column is dropped"),
        ({"epsilon": 1.0, "delta": 1e-6}, "no ledger"),
    ],
)
def test_settings_that_do_not_fit_are_refused(csv, settings, problem):
    with pytest.raises(InputError, match=problem):
        draft(csv, **settings)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"epsilon": 0.0, "delta": 1e-6}, "epsilon is 0"),
        ({"epsilon": -1.0, "delta": 1e-6}, "epsilon is -1"),
        ({"epsilon": float("nan"), "delta": 1e-6}, "epsilon is nan"),
        ({"epsilon": 1.0}, "delta of 0"),
        ({"epsilon": 1.0, "delta": 1.0}, "delta is 1"),
        ({"epsilon": 1.0, "delta": 0.01}, "at least 1/records"),
    ],
)
def test_budgets_that_prove_nothing_are_refused_and_nothing_is_spent(csv, settings, problem):
    ledger = Ledger.in_memory()
    with pytest.raises(InputError, match=problem):
        draft(csv, ledger=ledger, **settings)
    assert ledger.entries() == []


def test_bad_files_are_found_before_anything_is_spent(tmp_path):
    ledger = Ledger.in_memory()
    path = tmp_path / "a.csv"
    for data in (b"a,b\n1,2\n3\n", b"a,b\n1,\xff\n", b"a,b\n"):
        path.write_bytes(data)
        with pytest.raises(InputError):
            draft(path, epsilon=1.0, delta=1e-6, ledger=ledger)
    assert ledger.entries() == []


def test_a_ceiling_refuses_a_draft_and_nothing_is_drawn(csv, monkeypatch):
    ledger = Ledger.in_memory()
    ledger.set_ceiling(Budget(0.5, 1e-6))
    monkeypatch.setattr(estimate, "facts", unread)
    with pytest.raises(BudgetError):
        draft(csv, epsilon=1.0, delta=1e-6, ledger=ledger)


def test_the_debit_comes_before_the_noise(csv, monkeypatch):
    ledger = Ledger.in_memory()
    drawn = []
    facts = estimate.facts

    def watched(*args):
        drawn.append(len(ledger.entries()))
        return facts(*args)

    monkeypatch.setattr(estimate, "facts", watched)
    draft(csv, epsilon=1.0, delta=1e-6, ledger=ledger)
    assert drawn == [1] * 4  # a name is no fact to be estimated


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_paid_draft_opens_the_data_it_was_drawn_from(request, kind):
    path = request.getfixturevalue(kind)
    ledger = Ledger.in_memory()
    found = draft(
        path,
        epsilon=10.0,
        delta=1e-6,
        ledger=ledger,
        target="ill",
        drop=["name"],
        source=SeededSource(0),
    )
    (entry,) = ledger.entries()
    assert entry.method == "schema.draft"
    assert found.open_facts == ()
    schema = found.schema()
    assert {column.provenance for column in schema} == {f"ledger:{entry.hash}"}
    assert schema["age"].integer
    assert (schema["age"].lower, schema["age"].upper) == (10, 100)
    assert (schema["debt"].lower, schema["debt"].upper) == (-50, 200)
    assert schema["city"].levels == ("Bonn", "Köln", "Ulm")
    table = Table.open(path, schema)
    table.validate(schema)
    assert (table.to_pandas()["age"] == people()["age"]).all()
    assert np.abs(table.to_pandas()["debt"] - people()["debt"]).max() < 0.01
    assert table.counts(["city"])[-1] == 0


def test_what_is_printed_is_what_is_spent(csv):
    ledger = Ledger.in_memory()
    budget = Budget(1.0, 1e-6)
    found = draft(csv, epsilon=budget.epsilon, delta=budget.delta, ledger=ledger)
    plan = estimate.Plan.calibrate(budget, dict.fromkeys(found.columns, "?"))
    assert plan.guarantee.epsilon() <= budget.epsilon * (1 + 1e-6)
    assert plan.guarantee.epsilon() > 0.5 * budget.epsilon
    assert ledger.entries()[0].guarantee == plan.guarantee.to_dict()
    pure = estimate.Plan.calibrate(Budget(1.0), {"a": "integer", "b": "number", "c": "bool"})
    assert pure.guarantee.epsilon() == pytest.approx(1.0, rel=1e-4)


def test_a_value_of_one_record_is_named_as_seldom_as_delta_says():
    """Not one of 4,000 unique values, at delta 1e-12 each: a false alarm has chance 4e-9."""
    epsilon = 1.0
    sums = {f"person {i}": 1 for i in range(4000)}
    column = estimate.Sums(np.zeros(3, int), np.zeros(1, int), sums, 0)

    def named(delta):
        facts = estimate._levels(column, "categorical", epsilon, delta, SeededSource(0))
        return 0 if facts["levels"] == ["?"] else len(facts["levels"])

    assert named(1e-12) == 0
    # The planted defect, a threshold for a delta of 0.1, is caught by the same count.
    assert named(1e-1) > 0


@pytest.mark.parametrize("epsilon", [0.05, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("chance", [1e-2, 1e-6, 1e-12])
def test_the_tail_is_the_least_number_that_noise_seldom_reaches(epsilon, chance):
    def reaches(m):
        """P(X >= m), summed term by term."""
        norm = (1 - math.exp(-epsilon)) / (1 + math.exp(-epsilon))
        return norm * math.exp(-epsilon * m) / (1 - math.exp(-epsilon))

    m = estimate.tail(epsilon, chance)
    assert reaches(m) <= chance * (1 + 1e-9)
    assert m == 1 or reaches(m - 1) > chance


def test_a_record_enters_each_sum_at_most_once(tmp_path):
    """Adding one row moves each column's histogram, votes and levels by one in one place."""
    data = people(200)
    more = pd.concat(
        [data, pd.DataFrame([{"age": "old", "debt": 1e12, "city": "", "name": "x", "ill": 1}])]
    )
    kinds = {"age": "?", "debt": "number", "city": "categorical", "name": "?", "ill": "bool"}
    sums = []
    for i, frame in enumerate((data, more)):
        frame.to_csv(tmp_path / f"{i}.csv", index=False)
        source = sources.file_source(tmp_path / f"{i}.csv", "utf-8", ",")
        sums.append(estimate.count(source, kinds)[0])
    before, after = sums
    for name in kinds:
        for key in ("spellings", "bins"):
            change = getattr(after[name], key) - getattr(before[name], key)
            assert np.abs(change).sum() <= 1, (name, key)
        names = set(before[name].levels) | set(after[name].levels)
        change = [after[name].levels.get(n, 0) - before[name].levels.get(n, 0) for n in names]
        assert sum(map(abs, change)) <= 1
    assert before["debt"].bins.sum() == 200


def test_the_order_of_rows_changes_nothing(tmp_path):
    data = people()
    results = []
    for i, frame in enumerate((data, data[::-1])):
        frame.to_csv(tmp_path / f"{i}.csv", index=False)
        ledger = Ledger.in_memory()
        found = draft(
            tmp_path / f"{i}.csv",
            epsilon=5.0,
            delta=1e-6,
            ledger=ledger,
            source=SeededSource(1),
        )
        results.append({n: {**f, "provenance": ""} for n, f in found.columns.items()})
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("votes", "kind"),
    [
        ([100, 0, 0], "integer"),
        ([50, 50, 0], "number"),
        ([99, 1, 0], "integer"),
        ([90, 0, 10], "categorical"),
        ([99, 0, 1], "integer"),
        ([-3, -1, -2], "categorical"),
    ],
)
def test_the_vote_elects_a_type(votes, kind):
    assert estimate._elected(np.array(votes)) == kind


def test_text_among_numbers_is_missing_not_an_error(tmp_path):
    ages = [str(i % 50) for i in range(3000)] + ["unknown"] * 80
    pd.DataFrame({"age": ages}).to_csv(tmp_path / "a.csv", index=False)
    found = draft(tmp_path / "a.csv", epsilon=5.0, delta=1e-6, ledger=Ledger.in_memory())
    schema = found.schema()
    assert schema["age"].missing
    assert Table.open(tmp_path / "a.csv", schema).counts(["age"])[-1] == 80


def test_too_few_rows_leave_facts_open(tmp_path):
    pd.DataFrame({"age": [30, 40], "city": ["Ulm", "Bonn"]}).to_csv(tmp_path / "a.csv", index=False)
    found = draft(
        tmp_path / "a.csv",
        epsilon=0.01,
        delta=1e-9,
        ledger=Ledger.in_memory(),
        types={"age": "integer", "city": "categorical"},
        source=SeededSource(0),
    )
    assert found.columns["city"]["levels"] == ["?"]
    assert "city: levels" in found.open_facts
    with pytest.raises(InputError, match="is left open"):
        found.schema()


@pytest.mark.parametrize(
    ("lower", "upper", "kind"),
    [
        ("0", "100", "integer"),
        ("0", "5e9", "integer"),
        ("-50", "200", "number"),
        ("0", "0.001", "number"),
    ],
)
def test_estimated_grids_are_valid_and_not_too_fine(lower, upper, kind):
    from sfumato.data import Numeric

    facts = estimate._grid(Decimal(lower), Decimal(upper), kind)
    column = Numeric("x", integer=kind == "integer", **facts)
    assert column.lower <= float(lower)
    assert column.upper >= float(upper)
    assert column.cardinality <= 100_002


def test_a_draft_never_overwrites_a_file(csv, tmp_path):
    found = draft(csv)
    found.save(tmp_path / "s.yaml")
    with pytest.raises(InputError, match="already exists"):
        found.save(tmp_path / "s.yaml")
    with pytest.raises(InputError, match="cannot write"):
        found.save(tmp_path / "none" / "s.yaml")
    assert (tmp_path / "s.yaml").read_text(encoding="utf-8") == found.to_yaml()


def test_reading_settings_are_kept_in_the_draft(tmp_path):
    (tmp_path / "a.csv").write_bytes("größe;ort\n1;Köln\n".encode("latin-1"))
    text = draft(tmp_path / "a.csv", encoding="latin-1", delimiter=";").to_yaml()
    assert "encoding: latin-1" in text
    assert 'delimiter: ";"' in text
    assert "größe:" in text
