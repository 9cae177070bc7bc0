from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from sfumato import registry
from sfumato.data import Categorical, Numeric, Schema, Table
from sfumato.errors import BudgetError, InputError
from sfumato.privacy.budget import Budget
from sfumato.privacy.guarantee import Central, Local
from sfumato.privacy.ledger import Ledger
from sfumato.privacy.mechanisms import LocalNumeric, RandomizedResponse
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import SeededSource
from sfumato.privacy.noise.laplace import discrete_laplace
from sfumato.publish.tables.adaptive import Adaptive, perturb
from sfumato.publish.tables.row import Row

METHODS = (
    Adaptive(),
    Adaptive(allocation="uniform", label_share=0.2),
    Adaptive(weights={"age": 3.0, "job": 1.0}, allocation="sqrt"),
    Adaptive(noise="gaussian"),
    Adaptive(wide="oue"),
    Adaptive(noise="piecewise"),
    Adaptive(noise="duchi", allocation="sqrt"),
    Adaptive(sampled=2, seed=0),
    Adaptive(importance="paid"),
    Adaptive(importance="paid", sampled=1, seed=0, noise="duchi"),
    Adaptive(importance="paid", noise="gaussian", allocation="proportional"),
)


def calibrated(method: Adaptive, schema: Schema, epsilon: float = 2.0, records: int = 200):
    facts = schema.with_records(records) if method.needs_records else schema
    return method.calibrate(Budget(epsilon, method.default_delta), facts)


@pytest.mark.parametrize("method", METHODS, ids=str)
@pytest.mark.parametrize("epsilon", [0.5, 4.0])
def test_the_guarantee_is_within_the_budget(
    method: Adaptive, schema: Schema, epsilon: float
) -> None:
    run = calibrated(method, schema, epsilon)
    spent = run.guarantee.epsilon()
    assert 0.9 * epsilon <= spent <= epsilon
    assert run.guarantee.delta <= run.budget.delta
    json.dumps(run.plan, allow_nan=False)


def test_public_importance_is_local_and_paid_importance_is_central(schema: Schema) -> None:
    local = calibrated(Adaptive(), schema).guarantee
    assert isinstance(local, Local)
    assert (local.unit, local.delta) == ("row", 0.0)
    central = calibrated(Adaptive(importance="paid"), schema).guarantee
    assert isinstance(central, Central)
    assert (central.unit, central.neighbours) == ("record", Neighbours.REPLACE_ONE)


def test_a_delta_that_is_not_needed_is_not_spent(schema: Schema) -> None:
    guarantee = Adaptive().calibrate(Budget(1.0, 1e-5), schema).guarantee
    assert guarantee.delta == 0
    assert guarantee.epsilon() <= 1.0


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_a_release_is_a_table_of_the_same_shape_with_a_true_card(
    method: Adaptive, schema: Schema, make_random, tmp_path
) -> None:
    run = calibrated(method, schema)
    table = make_random(schema, 200, 0)
    release = run(table, ledger=Ledger.in_memory(), source=SeededSource(0))
    assert len(release.data) == 200
    assert release.card.verify() == []
    assert release.card.proven.epsilon() <= 2.0
    saved = release.save(tmp_path / "out")
    assert type(saved).load(tmp_path / "out").data.schema.target == "sick"
    assert [entry["name"] for entry in release.card.plan["attributes"]] == [
        "age",
        "wage",
        "job",
        "school",
        "country",
    ]


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_the_card_is_a_function_of_public_facts_and_of_what_was_paid_for(
    method: Adaptive, schema: Schema, make_random, make_constant
) -> None:
    """Battery 6: two tables that share no row give the same card but for the paid importance."""
    run = calibrated(method, schema)
    tables = [
        make_random(schema, 200, 3),
        make_constant(schema, 200, dict.fromkeys(schema.names, 0)),
    ]
    cards = []
    for table in tables:
        card = run(table, ledger=Ledger.in_memory(), source=SeededSource(0)).card.to_dict()
        for key in ("release_id", "created", "ledger"):
            del card[key]
        if method.importance == "paid":
            for key in ("attributes", "label"):
                del card["plan"][key]
        cards.append(json.dumps(card, sort_keys=True))
    assert cards[0] == cards[1]


@pytest.mark.parametrize("noise", ["laplace", "gaussian"])
def test_without_noise_to_speak_of_the_release_is_the_table(noise: str, make_random) -> None:
    """Battery 4: no noise, no change."""
    table = make_random(PAIR, 500, 0)
    weights = np.full(3, 1 / 3)
    row = Adaptive(noise=noise, label_share=0.1).row(Budget(90_000.0, 1e-6), PAIR, weights)
    if noise == "gaussian":
        row = replace(row, mu=1e6)  # what no accountant needs to be asked about
    released = perturb(table, row, weights, SeededSource(0), lambda *_: None).codes()
    for name, codes in table.codes().items():
        np.testing.assert_array_equal(released[name], codes)


# -- audits at the diameter -----------------------------------------------------------------------

PAIR = Schema(
    (
        Numeric("age", 0, 90, 1),
        Numeric("rooms", 0, 5, 1),
        Categorical("job", ("a", "b", "c")),
        Categorical("sick", ("no", "yes")),
    ),
    target="sick",
)
LOW = {"age": 0, "rooms": 0, "job": 0, "sick": 0}
HIGH = {"age": 90, "rooms": 5, "job": 1, "sick": 1}
CLAIM = 1.0
TRIALS = 60_000


@pytest.fixture
def audit_row(audit, make_constant) -> Callable[..., float]:
    """A bound on epsilon from reports that equal the high row, of high and of low rows."""

    def bound(run, columns: tuple[str, ...]) -> float:
        hits = []
        for seed, codes in enumerate((HIGH, LOW)):
            table = make_constant(PAIR, TRIALS, codes)
            released = run.run(table, SeededSource(seed), lambda *_: None).data.codes()
            at = [released[name] == HIGH[name] for name in columns]
            hits.append(int(np.logical_and.reduce(at).sum()))
        return audit(hits[0], hits[1], TRIALS)

    return bound


@pytest.mark.parametrize("noise", ["laplace", "gaussian"])
def test_audit_of_the_whole_row_finds_no_more_than_its_epsilon(audit_row, noise: str) -> None:
    """Battery 3 and 13; false alarm 1e-6."""
    run = Adaptive(noise=noise).calibrate(Budget(CLAIM, 1e-6), PAIR)
    found = audit_row(run, PAIR.names)
    assert found <= CLAIM
    if noise == "laplace":  # the event is the likeliest one: the audit is close to the claim
        assert found > 0.75 * CLAIM


def test_audit_of_one_attribute_finds_no_more_than_its_part(audit_row) -> None:
    """False alarm 1e-6."""
    run = Adaptive().calibrate(Budget(CLAIM), PAIR)
    parts = {entry["name"]: entry["epsilon"] for entry in run.plan["attributes"]}
    for name, part in parts.items():
        assert audit_row(run, (name,)) <= part


def test_audit_catches_the_records_epsilon_given_to_every_attribute(
    audit_row, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Adaptive(allocation="proportional").calibrate(Budget(CLAIM), PAIR)
    monkeypatch.setattr(
        Row, "_budgets", lambda self, weights: dict.fromkeys(self.facts.names, (self.pure,))
    )
    assert audit_row(run, PAIR.names) > CLAIM


def test_audit_catches_the_radius_taken_for_the_diameter(
    audit_row, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Adaptive(label_share=0.02, weights={"age": 1.0}, allocation="proportional").calibrate(
        Budget(CLAIM), PAIR
    )
    (part,) = [e["epsilon"] for e in run.plan["attributes"] if e["name"] == "age"]
    assert audit_row(run, ("age",)) <= part
    whole = LocalNumeric.scale.fget  # type: ignore[attr-defined]
    monkeypatch.setattr(LocalNumeric, "scale", property(lambda self: whole(self) / 2))
    assert audit_row(run, ("age",)) > part


# -- noise is drawn for every cell ----------------------------------------------------------------

TWINS = Schema(tuple(Numeric(f"x{i}", 0, 1_000_000, 1) for i in range(4)))


def repeats(run, make_constant, rows: int = 2000) -> tuple[float, float]:
    """How often a cell's noise equals that of the next row, and of the next column."""
    table = make_constant(TWINS, rows, dict.fromkeys(TWINS.names, 500_000))
    codes = run.run(table, SeededSource(0), lambda *_: None).data.codes()
    cells = np.stack([codes[name] for name in TWINS.names], axis=1)
    inside = (cells > 0) & (cells < 1_000_000)  # clamped cells are equal for a good reason
    down = (cells[1:] == cells[:-1]) & inside[1:]
    across = (cells[:, 1:] == cells[:, :-1]) & inside[:, 1:]
    return float(down.mean()), float(across.mean())


def shared_draw(self: LocalNumeric, codes, source):
    noise = discrete_laplace(self.scale, 1, source)
    return np.clip(np.asarray(codes) + noise, 0, self.diameter)


def test_noise_is_independent_between_rows_and_columns(make_constant) -> None:
    """Battery 7. Scale 400,000: two draws agree with probability below 1e-6, 6,000 to 8,000 pairs.

    More than 1 in 1,000 has a chance far below 1e-6 (at least 6 of 0.01 expected).
    """
    run = Adaptive().calibrate(Budget(10.0), TWINS)
    assert max(repeats(run, make_constant)) < 1e-3


def test_one_draw_shared_by_a_batch_is_caught(
    make_constant, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Adaptive().calibrate(Budget(10.0), TWINS)
    monkeypatch.setattr(LocalNumeric, "randomise", shared_draw)
    assert max(repeats(run, make_constant)) > 1e-3


def test_one_draw_shared_by_a_rows_columns_is_caught(
    make_constant, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Adaptive().calibrate(Budget(10.0), TWINS)
    drawn = LocalNumeric.randomise
    monkeypatch.setattr(
        LocalNumeric, "randomise", lambda self, codes, source: drawn(self, codes, SeededSource(1))
    )
    assert max(repeats(run, make_constant)) > 1e-3


def test_noise_falls_as_epsilon_grows(schema: Schema) -> None:
    """Battery 2."""
    spreads, truths = [], []
    for epsilon in (0.5, 1.0, 2.0, 4.0, 8.0):
        plan = calibrated(Adaptive(), schema, epsilon).plan
        by_name = {entry["name"]: entry for entry in plan["attributes"]}
        spreads.append(by_name["age"]["noise_over_range"])
        truths.append(by_name["job"]["truth_probability"])
    assert spreads == sorted(spreads, reverse=True)
    assert truths == sorted(truths)
    assert len(set(spreads)) == len(set(truths)) == 5


# -- the ledger -----------------------------------------------------------------------------------


def test_publishing_the_same_table_again_debits_again(schema: Schema, make_random) -> None:
    """Battery 11."""
    ledger = Ledger.in_memory()
    run, table = calibrated(Adaptive(), schema), make_random(schema, 50, 0)
    first, second = run(table, ledger=ledger), run(table, ledger=ledger)
    assert len([e for e in ledger.entries() if e.kind == "debit"]) == 2
    assert first.card.release_id != second.card.release_id
    (total,) = ledger.total()
    assert total.epsilon == pytest.approx(4.0)


def test_a_ceiling_refuses_before_any_noise_is_drawn(schema: Schema, make_random) -> None:
    class Untouched(SeededSource):
        def bytes(self, n: int) -> bytes:
            raise AssertionError("noise was drawn")

        uint64 = bytes  # type: ignore[assignment]

    ledger = Ledger.in_memory()
    ledger.set_ceiling(Budget(1.0))
    with pytest.raises(BudgetError):
        calibrated(Adaptive(), schema)(
            make_random(schema, 50, 0), ledger=ledger, source=Untouched(0)
        )


# -- odd tables and bad settings ------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_a_table_of_one_row_can_be_published(method: Adaptive, schema: Schema, make_random) -> None:
    release = calibrated(method, schema, records=1)(
        make_random(schema, 1, 0), ledger=Ledger.in_memory()
    )
    assert len(release.data) == 1


@pytest.mark.parametrize("importance", ["public", "paid"])
def test_constant_columns_and_a_single_class_are_no_obstacle(
    importance: str, make_constant
) -> None:
    schema = Schema(
        (
            Categorical("same", ("x",)),
            Numeric("n", 0, 4, 1),
            Categorical("y", ("only",)),
        ),
        target="y",
        records=30,
    )
    method = Adaptive(importance=importance)
    table = make_constant(schema, 30, {"same": 0, "n": 2, "y": 0})
    run = method.calibrate(Budget(1.0, 1e-3), schema)
    released = run(table, ledger=Ledger.in_memory()).data.codes()
    assert set(released["same"]) == {0}
    assert len(set(released["n"])) > 1


def test_a_table_without_a_target_spends_everything_on_its_columns(make_random) -> None:
    run = Adaptive().calibrate(Budget(3.0), TWINS)
    assert "label" not in run.plan
    assert sum(entry["epsilon"] for entry in run.plan["attributes"]) == pytest.approx(3.0)
    assert len(run(make_random(TWINS, 20, 0), ledger=Ledger.in_memory()).data) == 20


def test_says_on_the_card_which_importance_was_declared(schema: Schema) -> None:
    (fact,) = calibrated(Adaptive(), schema).public
    assert "none declared: equal weights" in fact.name
    (fact,) = calibrated(Adaptive(weights={"age": 1.0, "job": 1.0}), schema).public
    assert fact.provenance == "public"
    assert fact.value["age"] == fact.value["job"] > 5 * fact.value["wage"]


@pytest.mark.parametrize(
    "settings",
    [
        {"allocation": "best"},
        {"importance": "free"},
        {"noise": "uniform"},
        {"wide": "rappor"},
        {"label_share": 0.0},
        {"label_share": 1.0},
        {"label_share": "half"},
        {"weights": [1.0, 2.0]},
        {"weights": {"age": 1.0}, "importance": "paid"},
        {"model_share": 0.0},
        {"importance_share": float("nan")},
        {"model_share": 0.6, "importance_share": 0.5},
    ],
    ids=str,
)
def test_refuses_settings_that_mean_nothing(settings: dict) -> None:
    with pytest.raises(InputError):
        Adaptive(**settings)


@pytest.mark.parametrize(
    "weights", [{"shoe": 1.0}, {"sick": 1.0}, {"age": -1.0}, {"age": 0.0}], ids=str
)
def test_refuses_weights_that_fit_no_column(weights: dict, schema: Schema) -> None:
    with pytest.raises(InputError):
        calibrated(Adaptive(weights=weights), schema)


def test_refuses_facts_that_leave_nothing_to_publish(schema: Schema) -> None:
    only_target = Schema((Categorical("y", ("a", "b")),), target="y")
    with pytest.raises(InputError, match="no column beside its target"):
        Adaptive().calibrate(Budget(1.0), only_target)
    paid = Adaptive(importance="paid")
    with pytest.raises(InputError, match="Declare records"):
        paid.calibrate(Budget(1.0, 1e-6), schema)
    with pytest.raises(InputError, match="needs a target"):
        paid.calibrate(Budget(1.0, 1e-6), schema.with_target(None).with_records(5))
    with pytest.raises(InputError, match="delta is 0"):
        paid.calibrate(Budget(1.0), schema.with_records(5))
    with pytest.raises(InputError, match="delta is 0"):
        Adaptive(noise="gaussian").calibrate(Budget(1.0), schema)


def test_a_table_of_another_length_than_declared_spends_nothing(
    schema: Schema, make_random
) -> None:
    ledger = Ledger.in_memory()
    with pytest.raises(InputError, match="200 records"):
        calibrated(Adaptive(importance="paid"), schema)(make_random(schema, 60, 0), ledger=ledger)
    assert ledger.entries() == []


def test_is_registered_and_refuses_unknown_settings() -> None:
    assert registry.build("method", "tables.adaptive", {"allocation": "sqrt"}) == Adaptive("sqrt")
    with pytest.raises(InputError, match="Did you mean 'allocation'"):
        registry.build("method", "tables.adaptive", {"alocation": "sqrt"})


# -- paid importance ------------------------------------------------------------------------------


def predictive(rows: int, seed: int) -> Table:
    """A label that one of three columns decides."""
    schema = Schema(
        (
            Numeric("a", 0, 10, 1),
            Categorical("b", ("p", "q", "r")),
            Numeric("c", 0, 10, 1, missing=True),
            Categorical("y", ("no", "yes")),
        ),
        target="y",
        records=rows,
    )
    rng = np.random.default_rng(seed)
    codes = {c.name: rng.integers(c.size, size=rows) for c in schema.features}
    codes["y"] = np.where(rng.random(rows) < 0.9, codes["b"] == 2, codes["b"] != 2).astype(int)
    return Table.from_codes(codes, schema)


@pytest.mark.parametrize("noise", ["laplace", "gaussian"])
def test_paid_importance_finds_the_column_that_decides(noise: str) -> None:
    table = predictive(20_000, 0)
    run = Adaptive(importance="paid", noise=noise).calibrate(Budget(4.0, 1e-6), table.schema)
    release = run(table, ledger=Ledger.in_memory(), source=SeededSource(1))
    found = {e["name"]: e["importance"] for e in release.card.plan["attributes"]}
    assert found["b"] > 0.8
    assert "attributes" not in run.plan


def test_paid_importance_costs_the_same_whatever_it_finds() -> None:
    tables = [predictive(3000, 0), predictive(3000, 1)]
    shuffled = tables[1].codes()
    shuffled["y"] = np.zeros_like(shuffled["y"])
    tables.append(Table.from_codes(shuffled, tables[1].schema))
    run = Adaptive(importance="paid").calibrate(Budget(4.0, 1e-6), tables[0].schema)
    cards = [run(t, ledger=Ledger.in_memory(), source=SeededSource(0)).card for t in tables]
    assert len({json.dumps(card.guarantee) for card in cards}) == 1
    assert len({json.dumps(card.plan["attributes"]) for card in cards}) == 3


def test_paid_importance_takes_a_numeric_target() -> None:
    base = predictive(500, 0)
    codes = base.codes()
    schema = Schema(
        (*base.schema.features, Numeric("y", 0, 99, 1, missing=True)), target="y", records=500
    )
    codes["y"] = np.random.default_rng(0).integers(101, size=500)
    run = Adaptive(importance="paid").calibrate(Budget(2.0, 1e-5), schema)
    assert len(run(Table.from_codes(codes, schema), ledger=Ledger.in_memory()).data) == 500


def test_every_level_is_reported_by_its_own_probability(make_constant) -> None:
    """A column's report is the channel its card states: 5 standard errors, 6e-7."""
    run = Adaptive().calibrate(Budget(4.0), PAIR)
    (stated,) = [e["truth_probability"] for e in run.plan["attributes"] if e["name"] == "job"]
    released = run.run(make_constant(PAIR, 40_000, HIGH), SeededSource(0), lambda *_: None).data
    kept = np.mean(released.codes()["job"] == 1)
    assert abs(kept - stated) < 5 * np.sqrt(stated * (1 - stated) / 40_000)
    part = next(e["epsilon"] for e in run.plan["attributes"] if e["name"] == "job")
    assert stated == pytest.approx(RandomizedResponse(3, part).truth_probability)
