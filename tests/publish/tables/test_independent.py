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
from sfumato.publish.tables import independent
from sfumato.publish.tables.independent import Independent


@pytest.mark.parametrize("delta", [0.0, 1e-6])
@pytest.mark.parametrize("epsilon", [0.2, 1.0, 8.0])
def test_the_guarantee_is_the_budget_and_no_more(
    schema: Schema, epsilon: float, delta: float
) -> None:
    run = Independent().calibrate(Budget(epsilon, delta), schema)
    guarantee = run.guarantee
    assert isinstance(guarantee, Central)
    assert (guarantee.unit, guarantee.neighbours) == ("record", Neighbours.ADD_REMOVE)
    assert 0.999 * epsilon <= guarantee.epsilon() <= epsilon
    assert guarantee.delta <= delta
    json.dumps(run.plan, allow_nan=False)


def wide(features: int) -> Schema:
    """Many columns of two levels."""
    levels = ("a", "b")
    columns = tuple(Categorical(f"x{i}", levels) for i in range(features))
    return Schema((*columns, Categorical("y", levels)), target="y")


def test_takes_the_less_noisy_of_both_mechanisms() -> None:
    budget = Budget(1.0, 1e-6)
    few = Independent().calibrate(budget, wide(3))
    many = Independent().calibrate(budget, wide(60))
    assert isinstance(few.run.noise, DiscreteLaplace)
    assert few.guarantee.delta == 0
    assert isinstance(many.run.noise, DiscreteGaussian)
    assert many.run.noise.stddev**2 < 2 * 60**2
    pure = Independent().calibrate(Budget(1.0), wide(60))
    assert isinstance(pure.run.noise, DiscreteLaplace)
    assert pure.run.noise.scale == pytest.approx(60)


@pytest.mark.parametrize("method", ["tables.independent", "tables.marginals"])
def test_a_budget_beyond_what_can_be_drawn_or_told_apart_is_still_met(method: str) -> None:
    for budget in (Budget(1e4, 1e-6), Budget(500, 1e-3), Budget(1e-3, 1e-9)):
        made = registry.build("method", method, {}).calibrate(budget, wide(5))
        assert 0 < made.guarantee.epsilon() <= budget.epsilon
        assert made.guarantee.epsilon() > min(0.99 * budget.epsilon, 100)


def test_noise_falls_as_epsilon_grows(schema: Schema) -> None:
    """Battery 2."""
    scales = [
        Independent().calibrate(Budget(epsilon), schema).plan["scale"]
        for epsilon in (0.25, 0.5, 1.0, 2.0, 4.0)
    ]
    assert scales == sorted(scales, reverse=True)
    assert len(set(scales)) == 5


@pytest.mark.parametrize("target", ["sick", "age", "wage", None])
@pytest.mark.parametrize("binning", ["refined", "equal", "log"])
def test_publishes_a_table_with_a_true_card(
    schema: Schema, make_random, target: str | None, binning: str, tmp_path
) -> None:
    facts = schema.with_target(target)
    run = Independent(binning=binning, seed=7).calibrate(Budget(3.0, 1e-5), facts)
    release = run(make_random(facts, 400, 0), ledger=Ledger.in_memory(), source=SeededSource(0))
    release.data.validate(facts)
    assert release.card.verify() == []
    assert release.card.seeds == {"sampling": 7}
    assert len(release.data) == release.card.plan["noisy_records"]
    release.save(tmp_path / "out")


def test_the_number_of_rows_is_private_and_never_used(schema: Schema, make_random) -> None:
    """Battery 8: the count is a noisy one, different in every run, and right on average."""
    run = Independent().calibrate(Budget(1.0), schema)
    table = make_random(schema, 500, 0)
    counts = [run.run.measure(table, SeededSource(i)).records for i in range(60)]
    assert len(set(counts)) > 20
    assert abs(np.mean(counts) - 500) < 5 * np.std(counts) / np.sqrt(60) + 1


def test_a_declared_number_of_rows_is_neither_stated_nor_checked(
    schema: Schema, make_random
) -> None:
    """Under add/remove it would tell neighbours apart."""
    run = Independent().calibrate(Budget(1.0), schema.with_records(100))
    card = run(make_random(schema, 99, 0), ledger=Ledger.in_memory()).card
    assert "records" not in {fact.name for fact in card.facts}


def test_the_card_is_a_function_of_public_facts(schema: Schema, make_random) -> None:
    """Battery 6: other rows, another number of rows, the same card but for noisy figures."""
    run = Independent(seed=1).calibrate(Budget(1.0), schema)
    cards = []
    for table in (make_random(schema, 80, 1), make_random(schema, 300, 2)):
        card = run(table, ledger=Ledger.in_memory(), source=SeededSource(0)).card.to_dict()
        for key in ("release_id", "created", "ledger"):
            del card[key]
        for key in ("noisy_records", "rows"):
            del card["plan"][key]
        cards.append(json.dumps(card, sort_keys=True))
    assert cards[0] == cards[1]


def test_sampling_repeats_from_its_seed_and_noise_does_not(schema: Schema, make_random) -> None:
    table = make_random(schema, 300, 0)
    run = Independent(seed=3, rows=200).calibrate(Budget(1.0), schema)
    ledger = Ledger.in_memory()
    same = [run(table, ledger=ledger, source=SeededSource(5)).data.codes() for _ in range(2)]
    secure = run(table, ledger=ledger).data.codes()
    for name in schema.names:
        np.testing.assert_array_equal(same[0][name], same[1][name])
    assert any(not np.array_equal(secure[n], same[0][n]) for n in schema.names)
    drawn = Independent(rows=5).calibrate(Budget(1.0), schema)
    seeds = {drawn(table, ledger=ledger).card.seeds["sampling"] for _ in range(3)}
    assert len(seeds) == 3


def test_large_budgets_keep_every_feature_given_the_class() -> None:
    rng = np.random.default_rng(0)
    schema = Schema(
        (
            Numeric("income", 0, 99_999, 1),
            Categorical("job", tuple("abcde"), missing=True),
            Categorical("y", ("no", "yes")),
        ),
        target="y",
    )
    n = 20_000
    label = (rng.random(n) < 0.2).astype(int)
    income = np.where(rng.random(n) < 0.7, 0, rng.integers(0, 100_000, n) // (2 - label))
    job = np.where(label == 1, rng.integers(3, 6, n), rng.integers(0, 4, n))
    table = Table.from_codes({"income": income, "job": job, "y": label}, schema)
    run = Independent(seed=0).calibrate(Budget(1000.0), schema)
    out = run(table, ledger=Ledger.in_memory()).data.codes()
    assert abs(len(out["y"]) - n) <= 2
    for y in (0, 1):
        real, drawn = label == y, out["y"] == y
        assert np.mean(drawn) == pytest.approx(np.mean(real), abs=1e-3)
        shares = [
            np.bincount(codes[at], minlength=6) / at.sum()
            for codes, at in ((job, real), (out["job"], drawn))
        ]
        assert np.abs(shares[0] - shares[1]).sum() < 1e-2
        # A pile at the lower bound stays a pile: its bin is the lowest value alone.
        piles = [np.mean(codes == 0) for codes in (income[real], out["income"][drawn])]
        assert piles[0] == pytest.approx(piles[1], abs=1e-2)
        upper = [np.quantile(c, [0.8, 0.9]) for c in (income[real], out["income"][drawn])]
        assert np.abs(upper[0] - upper[1]).max() < 2000


# -- audits ------------------------------------------------------------------------------------

PAIR = Schema(
    (
        Categorical("a", ("p", "q")),
        Categorical("b", ("p", "q")),
        Categorical("c", ("p", "q")),
        Categorical("y", ("no", "yes")),
    ),
    target="y",
)


def audit_counts(audit, run, monkeypatch: pytest.MonkeyPatch, trials: int = 4000) -> float:
    """A table with and without one record, told apart by the noisy cells that it is in."""
    seen: list[list[np.ndarray]] = []
    fit = independent.Estimate.fit

    def spy(cls: type, tables: list[np.ndarray]) -> object:
        seen.append(tables)
        return fit(tables)

    monkeypatch.setattr(independent.Estimate, "fit", classmethod(spy))
    codes = {name: np.array([0, 1]) for name in PAIR.names}
    with_record = Table.from_codes(codes, PAIR)
    without = Table.from_codes({name: c[:1] for name, c in codes.items()}, PAIR)
    hits: list[int] = []
    for table in (with_record, without):
        seen.clear()
        for seed in range(trials):
            run.run.measure(table, SeededSource(seed + trials * len(hits)))
        hits.append(sum(all(noisy[1, 1] >= 1 for noisy in tables) for tables in seen))
    return audit(hits[0], hits[1], trials, run.guarantee.delta)


@pytest.mark.parametrize("delta", [0.0, 0.2])
def test_audit_finds_no_more_than_the_claim(audit, monkeypatch, delta: float) -> None:
    """Battery 13; false alarm 1e-6. So large a delta makes the noise Gaussian."""
    run = Independent().calibrate(Budget(1.0, delta), PAIR)
    assert isinstance(run.run.noise, DiscreteGaussian if delta else DiscreteLaplace)
    found = audit_counts(audit, run, monkeypatch)
    assert found <= 1.0
    if not delta:
        assert found > 0.4


def test_audit_catches_a_record_counted_in_three_tables_and_paid_for_in_one(
    audit, monkeypatch
) -> None:
    run = Independent().calibrate(Budget(1.0), PAIR)
    one = DiscreteLaplace.calibrate(Budget(1.0), 1, Neighbours.ADD_REMOVE)
    object.__setattr__(run.run, "noise", one)
    assert audit_counts(audit, run, monkeypatch) > 1.0


def test_noise_is_independent_between_cells_and_tables(monkeypatch) -> None:
    """Battery 7: the mean correlation is within 5 / sqrt(trials) of 0 (below 6e-7).

    A draw that is shared by a table's cells is caught.
    """
    schema = wide(4)
    table = Table.from_codes({n: np.zeros(3, int) for n in schema.names}, schema)
    run = Independent().calibrate(Budget(0.5), schema)
    counts = run.run._counts(table)
    trials = 1500

    def mean_correlation() -> float:
        draws = []
        for seed in range(trials):
            source = SeededSource(seed)
            noise = [run.run.noise.release(c, source) - c for c in counts]
            draws.append(np.concatenate([part.ravel() for part in noise]))
        matrix = np.corrcoef(np.array(draws).T)
        return abs(float(matrix[np.triu_indices(len(matrix), 1)].mean()))

    bound = 5 / np.sqrt(trials)
    assert mean_correlation() < bound
    release = DiscreteLaplace.release

    def shared(self, values, source):
        return values + release(self, np.zeros(1, int), source)[0]

    monkeypatch.setattr(DiscreteLaplace, "release", shared)
    assert mean_correlation() > bound


def test_gaussian_tables_are_accounted_cell_by_cell() -> None:
    run = Independent().calibrate(Budget(1.0, 1e-6), wide(60))
    # All tables as one vector of norm sqrt(m), in concentrated DP, would cost more.
    vector = DiscreteGaussian(run.run.noise.stddev, np.sqrt(60)).event
    assert accounting.epsilon(vector, 1e-6, Neighbours.ADD_REMOVE) > 1.0
    assert run.guarantee.epsilon() <= 1.0


# -- odd tables and bad settings ------------------------------------------------------------------


@pytest.mark.parametrize("epsilon", [0.01, 1.0])
def test_a_table_of_one_row_gives_a_table(schema: Schema, make_random, epsilon: float) -> None:
    run = Independent().calibrate(Budget(epsilon), schema)
    for seed in range(5):
        release = run(
            make_random(schema, 1, 0), ledger=Ledger.in_memory(), source=SeededSource(seed)
        )
        assert len(release.data) >= 1


def test_constant_columns_and_one_class_give_themselves(make_constant) -> None:
    schema = Schema((Categorical("same", ("x",)), Categorical("y", ("only",))), target="y")
    run = Independent().calibrate(Budget(1.0), schema)
    table = make_constant(schema, 20, {"same": 0, "y": 0})
    released = run(table, ledger=Ledger.in_memory()).data.codes()
    assert set(released["same"]) == set(released["y"]) == {0}


@pytest.mark.parametrize(
    "settings",
    [
        {"bins": 0},
        {"bins": 2.5},
        {"target_bins": 0},
        {"binning": "quantile"},
        {"rows": 0},
        {"seed": -1},
        {"seed": 1.5},
    ],
    ids=str,
)
def test_refuses_settings_that_make_no_sense(settings: dict) -> None:
    with pytest.raises(InputError):
        Independent(**settings)


def test_refuses_facts_that_leave_nothing_to_count() -> None:
    only_target = Schema((Categorical("y", ("a", "b")),), target="y")
    with pytest.raises(InputError, match="no column beside its target"):
        Independent().calibrate(Budget(1.0), only_target)
    many = tuple(map(str, range(10_000)))
    huge = Schema((Categorical("x", many), Categorical("y", many)), target="y")
    with pytest.raises(InputError, match="100000000 cells"):
        Independent().calibrate(Budget(1.0), huge)


def test_is_registered() -> None:
    assert registry.find("method", "tables.independent") is Independent
