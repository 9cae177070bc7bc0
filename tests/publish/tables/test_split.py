from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from sfumato.data import Categorical, Numeric, Schema, Table
from sfumato.errors import InputError
from sfumato.privacy import accounting, events
from sfumato.privacy.budget import Budget
from sfumato.privacy.guarantee import Central
from sfumato.privacy.ledger import Ledger
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import SeededSource
from sfumato.publish.tables.adaptive import Adaptive

RO = Neighbours.REPLACE_ONE
BUDGET = Budget(2.0, 1e-6)


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


def calibrated(rows: int = 1000, budget: Budget = BUDGET, **settings):
    settings = {"importance": "split", "held_out": 0.3, "seed": 1} | settings
    return Adaptive(**settings).calibrate(budget, predictive(rows, 0).schema)


@pytest.mark.parametrize("noise", ["laplace", "gaussian", "duchi"])
def test_each_part_spends_the_budget_and_the_larger_cost_is_the_claim(noise: str) -> None:
    made = calibrated(noise=noise)
    learning = accounting.epsilon(made.run.learner.event, BUDGET.delta, RO)
    rows = accounting.epsilon(made.run.row.cost, BUDGET.delta, RO)
    assert isinstance(made.guarantee, Central)
    assert made.guarantee.neighbours is RO
    assert made.guarantee.epsilon() == pytest.approx(max(learning, rows), rel=1e-3)
    assert made.guarantee.epsilon() <= BUDGET.epsilon
    assert min(learning, rows) > 0.9 * BUDGET.epsilon
    assert made.guarantee.epsilon(BUDGET.delta / 2) >= made.guarantee.epsilon()


def test_rows_get_more_than_where_importance_is_paid_for() -> None:
    paid = Adaptive(importance="paid").calibrate(BUDGET, predictive(1000, 0).schema)
    assert calibrated().plan["row_epsilon"] == 2.0 > paid.plan["row_epsilon"]


def test_the_records_that_taught_importance_are_not_released() -> None:
    table = predictive(1000, 2)
    made = calibrated(budget=Budget(500.0, 1e-4), label_share=0.3)
    released = made(table, ledger=Ledger.in_memory(), source=SeededSource(0))
    rest, held = table.split(0.3, 1)
    assert len(released.data) == len(rest) == 700
    assert len(held) == made.plan["held_out_records"] == 300
    # Without noise to speak of the release is the other part, in its order.
    for name, codes in rest.codes().items():
        assert (released.data.codes()[name] == codes).mean() > 0.85
    assert released.card.seeds == {"held_out": 1}


def test_importance_is_found_in_the_part_that_is_held_out() -> None:
    table = predictive(20_000, 0)
    made = Adaptive(importance="split", seed=0).calibrate(Budget(2.0, 1e-6), table.schema)
    release = made(table, ledger=Ledger.in_memory(), source=SeededSource(1))
    found = {e["name"]: e["importance"] for e in release.card.plan["attributes"]}
    assert found["b"] > 0.7
    assert release.card.verify() == []


def test_a_record_of_the_released_part_does_not_move_importance() -> None:
    table = predictive(1000, 3)
    made = calibrated()
    _, held = table.split(0.3, 1)
    codes = table.codes()
    hidden = {name: set(map(int, values)) for name, values in held.codes().items()}
    assert hidden
    changed = 0
    plans = set()
    for row in range(12):
        moved = {name: values.copy() for name, values in codes.items()}
        for column in table.schema:
            moved[column.name][row] = (moved[column.name][row] + 1) % column.size
        neighbour = Table.from_codes(moved, table.schema)
        _, taught = neighbour.split(0.3, 1)
        same = all(
            np.array_equal(taught.codes()[name], values) for name, values in held.codes().items()
        )
        artefact = made.run(neighbour, SeededSource(9), lambda *_: None)
        if same:
            plans.add(json.dumps(artefact.notes))
        else:
            changed += 1
    assert len(plans) == 1
    assert 0 < changed < 12


def test_rows_in_another_order_in_another_pass_release_nothing() -> None:
    class Restless(Table):
        """A table whose source keeps no order."""

        def codes_batches(self, rows: int = 1 << 16, columns=None):
            rng = np.random.default_rng()
            for batch in super().codes_batches(rows, columns):
                order = rng.permutation(len(next(iter(batch.values()))))
                yield {name: codes[order] for name, codes in batch.items()}

        def split(self, fraction: float, seed: int):
            return tuple(Restless(t.schema, None, t.codes()) for t in super().split(fraction, seed))

    base = predictive(1000, 0)
    restless = Restless(base.schema, None, base.codes())
    with pytest.raises(InputError, match="another order"):
        calibrated().run(restless, SeededSource(0), lambda *_: None)


def test_rows_without_a_place_are_refused_before_anything_is_paid_for() -> None:
    """Parted by their values, a record that changes moves to the other part."""
    from sfumato.privacy.ledger import Ledger

    base, ledger = predictive(1000, 0), Ledger.in_memory()
    assert base.ordered
    with pytest.raises(InputError, match=r"parts rows by their place.*--spool DIR"):
        calibrated()(base.unaligned(), ledger=ledger)
    assert not ledger.entries()


def test_planted_adding_up_is_no_more_than_what_composition_would_say() -> None:
    """Were the parts not apart, the cost would be the sum: twice what is claimed."""
    made = calibrated()
    both = events.compose(made.run.learner.event, made.run.row.cost)
    assert accounting.epsilon(both, BUDGET.delta, RO) > 1.5 * made.guarantee.epsilon()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"held_out": 0.001}, "held out"),
        ({"held_out": 1.5}, "held_out"),
        ({"weights": {"a": 1.0}}, "weights"),
        ({"importance": "paid"}, "held_out"),
        ({"attribution": "guess"}, "attribution"),
    ],
)
def test_what_cannot_be_is_refused(settings, message: str) -> None:
    with pytest.raises(InputError, match=message):
        calibrated(**settings)


def test_a_network_is_refused_where_a_part_has_no_exact_size() -> None:
    facts = predictive(100, 0).schema.with_records(20_000_000)
    asked = Adaptive(importance="split", held_out=0.001, attribution="lrp")
    with pytest.raises(InputError, match="attribution=squared"):
        asked.calibrate(Budget(1.0, 1e-9), facts)
    replace(asked, attribution="squared").calibrate(Budget(1.0, 1e-9), facts)


def test_facts_it_needs_are_asked_for() -> None:
    schema = predictive(100, 0).schema
    with pytest.raises(InputError, match="number of rows"):
        Adaptive(importance="split").calibrate(BUDGET, schema.with_records(None))
    with pytest.raises(InputError, match="target"):
        Adaptive(importance="split").calibrate(BUDGET, replace(schema, target=None))
    with pytest.raises(InputError, match="delta"):
        Adaptive(importance="split").calibrate(Budget(1.0, 0.02), schema)
    with pytest.raises(InputError, match="delta is 0"):
        Adaptive(importance="split").calibrate(Budget(1.0), schema)
