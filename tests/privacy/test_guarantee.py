"""Guarantees: each kind says what it proves, answers the same questions and survives JSON."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from scipy.special import ndtr, ndtri

from sfumato.errors import InputError
from sfumato.privacy import accounting
from sfumato.privacy import events as ev
from sfumato.privacy.accounting import gaussian
from sfumato.privacy.guarantee import Central, Empirical, Guarantee, Local, Metric, from_dict
from sfumato.privacy.neighbours import Neighbours

EXAMPLES: list[Guarantee] = [
    Central(ev.GaussianDpEvent(4.0), 1e-5, "patient", Neighbours.REPLACE_ONE),
    Central(ev.repeat(ev.LaplaceDpEvent(2.0), 3), 0.0),
    Local(ev.RandomizedResponseDpEvent(0.5, 10), 0.0, "whole image"),
    Metric(0.25, "angle in radians", {"same person": 0.3, "strangers": 1.6}),
    Metric(
        0.25,
        "angle in radians",
        {"same person": 0.3},
        Central(ev.GaussianDpEvent(3.0), 1e-5, "patient", Neighbours.REPLACE_ONE),
    ),
    Empirical(("membership.distance", "linkage.nearest")),
    Empirical(),
]


@pytest.mark.parametrize("guarantee", EXAMPLES, ids=lambda g: g.kind)
def test_a_guarantee_survives_json(guarantee: Guarantee) -> None:
    assert from_dict(json.loads(json.dumps(guarantee.to_dict(), allow_nan=False))) == guarantee


def test_a_central_guarantee_answers_from_its_event_and_relation() -> None:
    event = ev.GaussianDpEvent(4.0)
    for relation, mu in ((Neighbours.ADD_REMOVE, 0.25), (Neighbours.REPLACE_ONE, 0.5)):
        guarantee = Central(event, 1e-5, neighbours=relation)
        assert guarantee.epsilon() == accounting.epsilon(event, 1e-5, relation)
        assert guarantee.epsilon(1e-3) == accounting.epsilon(event, 1e-3, relation)
        assert guarantee.gdp_mu() == pytest.approx(mu)
        assert guarantee.advantage_ceiling(0.01) == pytest.approx(ndtr(ndtri(0.01) + mu))


def test_a_central_guarantee_is_described_with_its_unit_relation_and_figures() -> None:
    noise = 2 / gaussian.mu(1.0, 1e-5)
    text = Central(ev.GaussianDpEvent(noise), 1e-5, "patient", Neighbours.REPLACE_ONE).describe()
    assert text.startswith("Differential privacy of the whole release with (ε, δ) = (1.0, 1e-05)")
    assert "2.719 times" in text
    assert "one patient" in text
    assert "differ in the value" in text


def test_a_local_guarantee_is_replace_one_and_describes_a_report() -> None:
    guarantee = Local(ev.RandomizedResponseDpEvent(0.5, 2), 0.0, "row")
    assert guarantee.neighbours is Neighbours.REPLACE_ONE
    assert guarantee.epsilon() == pytest.approx(math.log(3))
    assert guarantee.advantage_ceiling(0.1) == pytest.approx(0.3)
    assert guarantee.describe().startswith("Local differential privacy of each row with ε = 1.099")
    assert "δ" not in guarantee.describe()


def test_a_metric_guarantee_has_no_epsilon_and_says_so() -> None:
    guarantee = Metric(0.25, "angle")
    assert guarantee.epsilon() == math.inf
    assert guarantee.gdp_mu() is None
    assert guarantee.advantage_ceiling(0.0) == 1.0
    assert "not differential privacy" in guarantee.describe()


def test_the_figures_of_a_metric_guarantee_are_those_of_its_worst_case() -> None:
    worst = Central(ev.GaussianDpEvent(3.0), 1e-5, neighbours=Neighbours.REPLACE_ONE)
    guarantee = Metric(0.25, "angle", worst_case=worst)
    assert guarantee.epsilon() == worst.epsilon()
    assert guarantee.epsilon(1e-3) == worst.epsilon(1e-3) < worst.epsilon()
    assert guarantee.delta == 1e-5
    assert guarantee.gdp_mu() == worst.gdp_mu()
    assert guarantee.advantage_ceiling(0.01) == worst.advantage_ceiling(0.01)
    assert "at any distance, (ε, δ) = (" in guarantee.describe()
    assert "differ in the value" in guarantee.describe()
    assert Metric(0.25, "angle").delta is None


def test_an_empirical_guarantee_proves_nothing_and_says_so() -> None:
    guarantee = Empirical(("membership.distance",))
    assert guarantee.epsilon(1e-5) == math.inf
    assert guarantee.gdp_mu() is None
    assert guarantee.advantage_ceiling(0.0) == 1.0
    assert "membership.distance" in guarantee.describe()
    assert "no attack was run" in Empirical().describe()


def test_a_change_of_relation_in_a_card_changes_its_epsilon() -> None:
    values = Central(ev.GaussianDpEvent(4.0), 1e-5).to_dict()
    other = from_dict({**values, "neighbours": "replace-one"})
    assert other.epsilon() > 1.5 * from_dict(values).epsilon()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"kind": "absolute"}, "absolute"),
        ({}, "None"),
        ({"kind": ["central"]}, "central"),
        ({"kind": "central", "delta": 0.0, "unit": "row"}, "lacks 'event'"),
        ({"kind": "local", "event": {"type": "NoOpDpEvent"}, "unit": "row"}, "lacks 'delta'"),
        (
            {
                "kind": "central",
                "event": {"type": "NoOpDpEvent"},
                "delta": 0.0,
                "unit": "row",
                "neighbours": "friends",
            },
            "friends",
        ),
        ({"kind": "local", "event": {"type": "NoOpDpEvent"}, "delta": "x", "unit": "row"}, "'x'"),
        ({"kind": "metric", "epsilon_per_distance": 1, "metric": "l2"}, "typical_distances"),
        (
            {
                "kind": "metric",
                "epsilon_per_distance": 1,
                "metric": "l2",
                "typical_distances": 3,
            },
            "metric",
        ),
        ({"kind": "empirical", "attacks": 3}, "empirical"),
    ],
)
def test_a_damaged_guarantee_is_refused_with_its_fault(values: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        from_dict(values)
