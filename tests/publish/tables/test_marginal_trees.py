from __future__ import annotations

import json

import numpy as np
import pytest

from sfumato import registry
from sfumato.data import Categorical, Numeric, Schema, Table
from sfumato.errors import InputError
from sfumato.privacy import accounting
from sfumato.privacy.budget import Budget
from sfumato.privacy.guarantee import Central
from sfumato.privacy.ledger import Ledger
from sfumato.privacy.mechanisms import DiscreteGaussian, DiscreteLaplace
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import SeededSource
from sfumato.publish.method import silent
from sfumato.publish.tables.independent import Independent
from sfumato.publish.tables.marginal_trees import Marginals


@pytest.mark.parametrize("delta", [0.0, 1e-6])
@pytest.mark.parametrize("epsilon", [0.2, 1.0, 8.0])
def test_the_guarantee_is_the_budget_and_no_more(
    schema: Schema, epsilon: float, delta: float
) -> None:
    run = Marginals().calibrate(Budget(epsilon, delta), schema)
    guarantee = run.guarantee
    assert isinstance(guarantee, Central)
    assert (guarantee.unit, guarantee.neighbours) == ("record", Neighbours.ADD_REMOVE)
    assert 0.995 * epsilon <= guarantee.epsilon() <= epsilon
    assert guarantee.delta <= delta
    json.dumps(run.plan, allow_nan=False)


def wide(features: int) -> Schema:
    """Many columns of two levels."""
    levels = ("a", "b")
    columns = tuple(Categorical(f"x{i}", levels) for i in range(features))
    return Schema((*columns, Categorical("y", levels)), target="y")


def test_takes_the_less_noisy_of_both_mechanisms() -> None:
    few, many = (
        Marginals().calibrate(Budget(1.0, 1e-6), wide(features)).run.spending
        for features in (3, 60)
    )
    assert isinstance(few.first, DiscreteLaplace)
    assert isinstance(few.second, DiscreteLaplace)
    assert isinstance(many.first, DiscreteGaussian)
    assert isinstance(many.second, DiscreteGaussian)
    pure = Marginals().calibrate(Budget(1.0), wide(60))
    assert isinstance(pure.run.spending.first, DiscreteLaplace)


def test_a_pure_budget_is_divided_to_the_last_bit() -> None:
    run = Marginals(pairs=0.5, choosing=0.1).calibrate(Budget(2.0), wide(5))
    spending = run.run.spending
    parts = [
        5 / spending.first.scale,
        4 * spending.choice.epsilon,
        4 / spending.second.scale,
    ]
    assert parts == pytest.approx([0.8, 0.2, 1.0], rel=1e-3)
    assert sum(parts) <= 2.0


@pytest.mark.parametrize("target", ["sick", "age", "wage", None])
@pytest.mark.parametrize("rows", [1, 400])
def test_publishes_a_table_with_a_true_card(
    schema: Schema, make_random, target: str | None, rows: int, tmp_path
) -> None:
    facts = schema.with_target(target)
    run = Marginals(seed=7).calibrate(Budget(3.0, 1e-5), facts)
    release = run(make_random(facts, rows, 0), ledger=Ledger.in_memory(), source=SeededSource(0))
    release.data.validate(facts)
    assert release.card.verify() == []
    assert len(release.data) == release.card.plan["noisy_records"]
    release.save(tmp_path / "out")


def linked(rows: int, seed: int = 0) -> Table:
    """A label that is the agreement of two features, neither of which says anything alone."""
    rng = np.random.default_rng(seed)
    schema = Schema(
        (
            Numeric("income", 0, 99_999, 1),
            Categorical("left", tuple("abcd"), missing=True),
            Categorical("right", tuple("abcd")),
            Categorical("same", ("x",)),
            Categorical("y", ("no", "yes")),
        ),
        target="y",
    )
    left = rng.integers(0, 4, rows)
    y = (rng.random(rows) < 0.4).astype(int)
    right = np.where(y == 1, left, (left + rng.integers(1, 4, rows)) % 4)
    income = rng.integers(0, 20_000, rows) + 20_000 * right
    codes = {"income": income, "left": left, "right": right, "same": 0 * y, "y": y}
    return Table.from_codes(codes, schema)


def test_keeps_what_two_features_say_together_and_independence_loses_it() -> None:
    table = linked(20_000)
    ledger = Ledger.in_memory()
    kept = {}
    for name, method in (("tree", Marginals(seed=0)), ("independent", Independent(seed=0))):
        run = method.calibrate(Budget(1.0, 1e-6), table.schema)
        rows = run(table, ledger=ledger, source=SeededSource(3)).data.codes()
        kept[name] = np.mean((rows["left"] == rows["right"]) == (rows["y"] == 1))
    assert kept["tree"] > 0.95
    assert kept["independent"] < 0.75


def test_the_chosen_pairs_are_those_that_go_together() -> None:
    table = linked(20_000)
    run = Marginals(seed=0).calibrate(Budget(1.0, 1e-6), table.schema)
    card = run(table, ledger=Ledger.in_memory(), source=SeededSource(1)).card
    assert ["left", "right"] in card.plan["pairs"]
    assert ["income", "right"] in card.plan["pairs"]


def test_few_rows_are_worth_no_pair_and_cost_little_against_counting_features_alone() -> None:
    """All rounds go to the features: their noise is within 4 % of that of tables.independent."""
    facts = wide(30)
    rng = np.random.default_rng(0)
    table = Table.from_codes({n: rng.integers(0, 2, 60) for n in facts.names}, facts)
    budget = Budget(0.3, 1e-6)
    run = Marginals(seed=0).calibrate(budget, facts)
    artefact = run.run(table, SeededSource(0), silent)
    assert len(artefact.notes["pairs"]) <= 3
    spending = run.run.spending
    alone = Independent().calibrate(budget, facts).run.noise
    both = (1 / spending.first.stddev**2 + 1 / spending.second.stddev**2) ** -0.5
    assert both < 1.04 * alone.stddev


def test_the_number_of_rows_is_private_and_never_used(schema: Schema, make_random) -> None:
    run = Marginals().calibrate(Budget(1.0), schema)
    table = make_random(schema, 500, 0)
    found = [run.run.measure(table, SeededSource(i), silent)[0].records for i in range(40)]
    assert len(set(found)) > 15
    assert abs(np.mean(found) - 500) < 5 * np.std(found) / np.sqrt(40) + 1


def test_noise_alone_draws_no_millions_of_rows(schema: Schema, make_random) -> None:
    """At a tiny budget the noisy number of records is noise, here of some tens of thousands."""
    table = make_random(schema, 50, 0)
    run = Marginals(seed=3).calibrate(Budget(2e-5), schema)
    limited = 0
    for seed in range(8):
        artefact = run.run(table, SeededSource(seed), silent)
        noisy = artefact.notes["noisy_records"]
        assert artefact.notes["rows"] == len(artefact.data) == min(noisy, 10_000)
        limited += "rows_limited" in artefact.notes
    assert limited
    asked = Marginals(seed=3, rows=12_000).calibrate(Budget(2e-5), schema)
    assert len(asked.run(table, SeededSource(0), silent).data) == 12_000


def test_sampling_repeats_from_its_seed_and_noise_does_not(schema: Schema, make_random) -> None:
    table = make_random(schema, 300, 0)
    run = Marginals(seed=3, rows=200).calibrate(Budget(1.0), schema)
    ledger = Ledger.in_memory()
    same = [run(table, ledger=ledger, source=SeededSource(5)).data.codes() for _ in range(2)]
    secure = run(table, ledger=ledger).data.codes()
    for name in schema.names:
        np.testing.assert_array_equal(same[0][name], same[1][name])
    assert any(not np.array_equal(secure[n], same[0][n]) for n in schema.names)


def test_rows_in_files_give_what_rows_in_memory_give(schema: Schema, make_random, tmp_path) -> None:
    table = make_random(schema, 300, 0)
    table.save(tmp_path)
    stored = Table.open(tmp_path / "data.parquet", schema)
    run = Marginals(seed=3).calibrate(Budget(1.0), schema)
    one, two = (run.run(t, SeededSource(5), silent).data.codes() for t in (table, stored))
    for name in schema.names:
        np.testing.assert_array_equal(one[name], two[name])


def test_one_feature_gets_the_whole_budget() -> None:
    facts = Schema((Categorical("x", ("a", "b")), Categorical("y", ("no", "yes"))), target="y")
    run = Marginals().calibrate(Budget(1.0), facts)
    assert run.plan["rounds"] == 0
    assert run.run.spending.first.scale == pytest.approx(1.0, rel=1e-3)
    table = Table.from_codes({"x": np.zeros(50, int), "y": np.ones(50, int)}, facts)
    assert len(run(table, ledger=Ledger.in_memory()).data) > 20


def test_many_levels_and_a_long_grid_stay_within_bounds() -> None:
    facts = Schema(
        (
            Categorical("city", tuple(map(str, range(10_000)))),
            Numeric("cents", 0, 10**9, 1),
            Categorical("y", ("no", "yes", "unknown")),
        ),
        target="y",
    )
    rng = np.random.default_rng(0)
    table = Table.from_codes({c.name: rng.integers(0, c.size, 2000) for c in facts}, facts)
    run = Marginals(seed=0).calibrate(Budget(1.0, 1e-6), facts)
    release = run(table, ledger=Ledger.in_memory(), source=SeededSource(0))
    assert release.card.plan["groups"]["city"] <= 64


def test_gaussian_tables_and_choices_compose_to_what_is_printed() -> None:
    run = Marginals().calibrate(Budget(1.0, 1e-6), wide(60))
    event = run.guarantee.event
    assert accounting.epsilon(event, 1e-6, Neighbours.ADD_REMOVE) <= 1.0
    # Without its choices it would cost less: they are in the event.
    counts = type(event)([part for part in event.events if "Pure" not in repr(part)])
    assert accounting.epsilon(counts, 1e-6, Neighbours.ADD_REMOVE) < 0.99


@pytest.mark.parametrize(
    "settings",
    [
        {"bins": 0},
        {"target_bins": 0},
        {"binning": "quantile"},
        {"rows": 0},
        {"seed": -1},
        {"groups": 2},
        {"groups": None},
        {"pairs": 0.0},
        {"pairs": 1.0},
        {"choosing": -0.1},
        {"pairs": 0.7, "choosing": 0.3},
        {"pairs": float("nan")},
    ],
    ids=str,
)
def test_refuses_settings_that_make_no_sense(settings: dict) -> None:
    with pytest.raises(InputError):
        Marginals(**settings)


def test_refuses_facts_that_leave_nothing_to_count() -> None:
    only_target = Schema((Categorical("y", ("a", "b")),), target="y")
    with pytest.raises(InputError, match="no column beside its target"):
        Marginals().calibrate(Budget(1.0), only_target)
    many = tuple(map(str, range(10_000)))
    huge = Schema((Categorical("x", many), Categorical("y", many)), target="y")
    with pytest.raises(InputError, match="100000000 cells"):
        Marginals().calibrate(Budget(1.0), huge)
    with pytest.raises(InputError, match="target_bins"):
        Marginals(target_bins=4).calibrate(Budget(1.0), wide(3))


def test_is_registered() -> None:
    assert registry.find("method", "tables.marginals") is Marginals
