"""``learn.dpsgd``: settings, presets, calibration under each relation, seeds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from dp_accounting.pld import PLDAccountant

from sfumato.api.configuring import configure
from sfumato.errors import InputError
from sfumato.learn.adaptive import AdaptiveQuantile
from sfumato.learn.architectures import build, weights
from sfumato.learn.clipping import Automatic, Flat, PerGroup
from sfumato.privacy import events
from sfumato.privacy.budget import Budget
from sfumato.privacy.guarantee import Central
from sfumato.privacy.ledger import Ledger
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import SeededSource
from sfumato.publish.method import Calibrated
from sfumato.publish.models.dpsgd import CLIPPINGS, DpSgdMethod

RECORDS = 60
BUDGET = Budget(2.0, 1e-5)
SMALL: dict[str, Any] = {
    "network": "dense",
    "epochs": 1.0,
    "expected_batch_size": 10,
    "max_grad_norm": 1.0,
    "averaging": None,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def facts(small_pictures: Any) -> Any:
    return small_pictures(RECORDS).schema.with_records(RECORDS)


def mechanism_of(made: Calibrated) -> Any:
    return made.run.training.mechanism  # type: ignore[attr-defined]


def epsilon_of(made: Calibrated) -> float:
    assert isinstance(made.guarantee, Central)
    return made.guarantee.epsilon()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"clipping": "none"}, "clipping is 'none'. Use one of flat"),
        ({"neighbours": "friends"}, "neighbours is 'friends'"),
        ({"device": "tpu"}, "device is 'tpu'"),
        ({"epochs": 0}, "epochs is 0"),
        ({"epochs": math.inf}, "epochs is inf"),
        ({"max_grad_norm": 0}, "max_grad_norm is 0"),
        ({"expected_batch_size": 0}, "expected_batch_size is 0"),
        ({"expected_batch_size": 2.5}, "expected_batch_size is 2.5"),
        ({"components": 0}, "components is 0"),
        ({"components_share": 1.0}, "components_share is 1.0"),
        ({"seed": -1}, "seed is -1"),
        ({"hidden": "128"}, "hidden is '128'"),
        ({"hidden": [0]}, "a width in hidden is 0"),
        ({"layer_weights": {"1": 1.0}}, "layer_weights are given with clipping 'flat'"),
        ({"layer_weights": [1], "clipping": "layer-budgets"}, "Give a weight by layer name"),
        ({"layer_weights": {"1": 0}, "clipping": "layer-budgets"}, "the weight of layer '1' is 0"),
        ({"optimizer": "lbfgs"}, "optimizer is"),
        ({"schedule": "steps"}, "schedule is"),
        ({"averaging": 1.0}, "averaging is"),
        ({"momentum": 1.0}, "momentum is"),
        ({"physical_batch_size": 0}, "physical_batch_size is"),
    ],
    ids=lambda value: "" if isinstance(value, str) else "-".join(value),
)
def test_bad_settings_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        DpSgdMethod(**changed)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"network": "transformer"}, "network is 'transformer'"),
        ({"network": "small-cnn"}, "4 x 4 pixels"),
        ({"network": "dense", "components": 17}, "an image has 16 numbers"),
        ({"network": "wide-resnet", "components": 2}, "feed the network 'dense'"),
        ({"network": "dense", "expected_batch_size": 61}, "61 of 60 records"),
        (
            {
                "network": "dense",
                "clipping": "layer-budgets",
                "layer_weights": {"one": 1.0},
            },
            "weight",
        ),
    ],
)
def test_what_does_not_fit_the_facts_is_refused_by_the_calibration(
    changed: dict[str, Any], message: str, facts: Any
) -> None:
    with pytest.raises(InputError, match=message):
        DpSgdMethod(device="cpu", **changed).calibrate(BUDGET, facts)


def test_the_number_of_records_and_a_delta_are_needed(facts: Any) -> None:
    with pytest.raises(InputError, match="the number of records is not declared"):
        DpSgdMethod(**SMALL).calibrate(BUDGET, facts.with_records(None))
    with pytest.raises(InputError, match="delta"):
        DpSgdMethod(**SMALL).calibrate(Budget(2.0), facts)
    with pytest.raises(InputError, match="at least 1/records"):
        DpSgdMethod(**SMALL).calibrate(Budget(2.0, 0.02), facts)


@pytest.mark.parametrize("relation", ["add-remove", "zero-out", "replace-one"])
def test_the_guarantee_is_that_of_the_steps_and_meets_the_budget(relation: str, facts: Any) -> None:
    made = DpSgdMethod(**SMALL, neighbours=relation).calibrate(BUDGET, facts)
    mechanism = mechanism_of(made)
    assert isinstance(made.guarantee, Central)
    assert made.guarantee.neighbours is Neighbours(relation)
    assert made.guarantee.event == mechanism.event
    step = events.PoissonSampledDpEvent(10 / 60, events.GaussianDpEvent(mechanism.noise_multiplier))
    assert mechanism.event == events.repeat(step, 6)
    assert 1.98 < epsilon_of(made) <= 2.0
    assert made.plan["noise_multiplier"] == mechanism.noise_multiplier
    assert made.plan["sampling"] == {"kind": "poisson", "records": 60, "rate": 10 / 60}


def test_another_accountant_arrives_at_the_same_epsilon(facts: Any) -> None:
    made = DpSgdMethod(**SMALL).calibrate(BUDGET, facts)
    accountant = PLDAccountant(value_discretization_interval=1e-3)
    accountant.compose(mechanism_of(made).event)
    assert accountant.get_epsilon(BUDGET.delta) == pytest.approx(epsilon_of(made), rel=5e-3)


def test_replacing_a_record_takes_more_noise_than_removing_it(facts: Any) -> None:
    removed, replaced = (
        mechanism_of(DpSgdMethod(**SMALL, neighbours=relation).calibrate(BUDGET, facts))
        for relation in ("add-remove", "replace-one")
    )
    assert replaced.noise_multiplier > 1.1 * removed.noise_multiplier


def test_noise_falls_with_epsilon_and_the_bound_does_not_move(facts: Any) -> None:
    made = [
        mechanism_of(DpSgdMethod(**SMALL).calibrate(Budget(epsilon, 1e-5), facts))
        for epsilon in (0.5, 2.0, 8.0)
    ]
    multipliers = [mechanism.noise_multiplier for mechanism in made]
    assert multipliers == sorted(multipliers, reverse=True)
    assert {mechanism.clipping for mechanism in made} == {Flat(1.0)}


@pytest.mark.parametrize("relation", ["add-remove", "replace-one"])
def test_directions_and_steps_together_meet_the_budget(relation: str, facts: Any) -> None:
    made = DpSgdMethod(**SMALL, neighbours=relation, components=3).calibrate(BUDGET, facts)
    assert 1.97 < epsilon_of(made) <= 2.0
    run: Any = made.run
    assert made.guarantee.event == events.compose(  # type: ignore[union-attr]
        run.directions.event, mechanism_of(made).event
    )
    plain = DpSgdMethod(**SMALL, neighbours=relation).calibrate(BUDGET, facts)
    assert mechanism_of(made).noise_multiplier > mechanism_of(plain).noise_multiplier
    assert made.plan["directions_noise_multiplier"] == run.directions.noise_multiplier


@pytest.mark.parametrize("clipping", CLIPPINGS)
def test_every_clipping_meets_the_budget_and_is_the_one_asked_for(
    clipping: str, facts: Any
) -> None:
    made = DpSgdMethod(**SMALL, hidden=(4,), clipping=clipping).calibrate(BUDGET, facts)
    kinds = {"flat": Flat, "automatic": Automatic, "adaptive": AdaptiveQuantile}
    assert isinstance(mechanism_of(made).clipping, kinds.get(clipping, PerGroup))
    assert epsilon_of(made) <= 2.0


def test_the_count_of_adaptive_clipping_costs_at_most_a_quarter_of_a_step(facts: Any) -> None:
    mechanism = mechanism_of(DpSgdMethod(**SMALL, clipping="adaptive").calibrate(BUDGET, facts))
    # 1 / z^2 = 1 / z_gradient^2 + (1 / 2 / stddev)^2, the second at most a quarter of the whole.
    count = (0.5 / mechanism.clipping.count_stddev) ** 2
    assert count <= 0.25 / mechanism.noise_multiplier**2 * (1 + 1e-9)


def test_layer_budgets_go_by_the_number_of_weights_unless_weights_are_given(facts: Any) -> None:
    own = DpSgdMethod(**SMALL, hidden=(4,), clipping="layer-budgets").calibrate(BUDGET, facts)
    np.testing.assert_allclose(mechanism_of(own).clipping.shares, np.array([68, 15]) / 83)
    given = DpSgdMethod(
        **SMALL, hidden=(4,), clipping="layer-budgets", layer_weights={"1": 3.0, "3": 1.0}
    ).calibrate(BUDGET, facts)
    np.testing.assert_allclose(mechanism_of(given).clipping.shares, [0.75, 0.25])


def test_presets_are_the_published_settings_and_own_settings_win() -> None:
    abadi = configure("learn.dpsgd", {"preset": "abadi"}, "cpu")
    assert (abadi.components, abadi.hidden, abadi.expected_batch_size) == (60, (1000,), 600)
    assert (abadi.max_grad_norm, abadi.clipping, abadi.device) == (4.0, "flat", "cpu")
    s001 = configure("learn.dpsgd", {"preset": "s001", "epochs": 3}, "cpu")
    assert (s001.clipping, s001.epochs, s001.components) == ("layer-budgets", 3, 60)
    assert configure("learn.dpsgd", {"preset": "small-cnn"}, "cpu").network == "small-cnn"
    with pytest.raises(InputError, match=r"no preset 'best'. It has abadi, s001, small-cnn"):
        configure("learn.dpsgd", {"preset": "best"}, "cpu")
    with pytest.raises(InputError, match=r"tables.independent has no preset 'x'. It has none"):
        configure("tables.independent", {"preset": "x"}, "cpu")


def released(data: Any, source: Any = None, records: int = RECORDS, **settings: Any) -> Any:
    made = DpSgdMethod(**{**SMALL, **settings}).calibrate(BUDGET, data.schema.with_records(records))
    return made(data, ledger=Ledger.in_memory(), source=source)


def test_the_card_s_seed_gives_the_initial_weights(small_pictures: Any) -> None:
    """With next to no learning, what is published is what the training began with."""
    for seed in (7, None):
        release = released(small_pictures(RECORDS), learning_rate=1e-12, seed=seed)
        kept = release.card.seeds["initial weights"]
        assert seed is None or kept == seed
        begun = weights(build(release.model.architecture, seed=kept))
        for name, tensor in release.model.tensors.items():
            np.testing.assert_allclose(tensor, begun[name], atol=1e-9)


def test_a_seed_fixes_the_initial_weights_and_not_the_noise(small_pictures: Any) -> None:
    data = small_pictures(RECORDS)
    one, other = (released(data, seed=1) for _ in range(2))
    assert any(
        np.any(one.model.tensors[name] != other.model.tensors[name]) for name in one.model.tensors
    )
    played = [released(data, SeededSource(5), seed=1) for _ in range(2)]
    for name, tensor in played[0].model.tensors.items():
        np.testing.assert_array_equal(tensor, played[1].model.tensors[name])
    assert played[0].card.noise["secure"] is False
    assert one.card.noise["secure"] is True


def test_it_learns_pictures_and_rows_at_a_generous_budget(
    small_pictures: Any, small_people: Any
) -> None:
    budget = Budget(50.0, 1e-4)
    for data, network in ((small_pictures(300), "dense"), (small_people(300), "auto")):
        method = DpSgdMethod(network=network, epochs=15, expected_batch_size=50, device="cpu")
        facts = data.schema.with_records(300)
        model = method.calibrate(budget, facts)(data, ledger=Ledger.in_memory()).model
        fresh = small_pictures(200, seed=9) if network == "dense" else small_people(200, 9)
        truth = fresh.labels if network == "dense" else fresh.codes()["ill"]
        assert (model.probabilities(fresh).argmax(axis=1) == truth).mean() > 0.85


def test_the_caveats_name_the_relation_and_what_is_declared(facts: Any) -> None:
    for relation, named in (("add-remove", "adding or removing"), ("replace-one", "replacing")):
        made = DpSgdMethod(**SMALL, neighbours=relation).calibrate(BUDGET, facts)
        assert named in made.caveats[0]
        assert any("declared public" in caveat for caveat in made.caveats)
