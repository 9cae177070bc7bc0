from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfumato.errors import InputError
from sfumato.learn.features import Column, Features
from sfumato.privacy.mechanisms import DiscreteLaplace
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import SeededSource
from sfumato.publish.tables import importance
from sfumato.publish.tables.importance import UNITS, Attribution

FEATURES = Features((Column(5), Column(11, 10), Column(1), Column(100, 100)))


def random_codes(rows: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(c.size, size=rows) for c in FEATURES.columns], axis=1)


def random_attribution(seed: int, scale: float = 1.0) -> Attribution:
    rng = np.random.default_rng(seed)
    return Attribution(FEATURES, rng.normal(0, scale, (FEATURES.width, 3)))


@settings(deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1e-300, 1e-9, 1.0, 1e150]))
def test_no_record_contributes_more_than_the_sensitivity_says(seed: int, scale: float) -> None:
    units = random_attribution(seed, scale).units(random_codes(200, seed))
    assert units.min() >= 0
    totals = units.sum(axis=1)
    assert totals.max() <= UNITS
    assert totals.min() >= UNITS - 2 * len(FEATURES.columns) - UNITS // 10**8
    # Replacing one record moves the sum by at most the mechanism's sensitivity.
    moved = np.abs(units[:-1] - units[1:]).sum(axis=1)
    assert moved.max() <= importance.mechanism(0.1).sensitivity(Neighbours.REPLACE_ONE)


def test_attribution_of_a_record_ignores_the_other_records() -> None:
    attribution, codes = random_attribution(1), random_codes(50, 1)
    alone = np.concatenate([attribution.units(row[None]) for row in codes])
    np.testing.assert_array_equal(attribution.units(codes), alone)


def test_only_what_moves_the_logits_is_attributed() -> None:
    weights = np.zeros((FEATURES.width, 2))
    weights[0, 1] = 3.0  # a level of the first column
    units = Attribution(FEATURES, weights).units(np.array([[0, 4, 0, 9], [3, 4, 0, 9]]))
    assert units[0, 0] >= UNITS - 2
    assert units[:, 1:].sum() == 0


def test_a_shift_common_to_all_classes_is_no_importance() -> None:
    weights = np.zeros((FEATURES.width, 2))
    weights[FEATURES.offsets[1]] = 7.0
    units = Attribution(FEATURES, weights).units(random_codes(20, 0))
    # The model says nothing about any record: all attributes count alike.
    assert np.ptp(units) == 0


def test_a_number_at_the_public_centre_counts_for_nothing() -> None:
    features = Features((Column(3, 3), Column(2)))
    weights = np.array([[0.0, 5.0], [0.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    units = Attribution(features, weights).units(np.array([[1, 0], [0, 0]]))
    assert units[0, 0] == 0
    assert units[1, 0] > units[1, 1]


def test_the_event_of_the_noise_costs_exactly_its_share() -> None:
    from sfumato.privacy import accounting

    for epsilon in (0.01, 0.05, 1.0, 3.3):
        spent = accounting.epsilon(importance.mechanism(epsilon).event, 0.0, Neighbours.REPLACE_ONE)
        assert epsilon * (1 - 1e-12) <= spent <= epsilon


def audit_paid(audit, noise: DiscreteLaplace, trials: int = 4000) -> float:
    """Two neighbouring tables of one record each, told apart by whose weight is larger."""
    features = Features((Column(2), Column(2)))
    weights = np.array([[0.0, 0.0], [0.0, 1.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    weights[1, 1], weights[3, 1] = 1.0, 0.0
    # Record A is all about the first attribute, record B about the second.
    first = Attribution(features, weights)
    second = Attribution(features, weights[[2, 3, 0, 1, 4]])
    source = SeededSource(5)
    record = np.array([[1, 1]])
    hits, false_hits = (
        sum(
            np.diff(importance.paid(attribution, lambda: [record], noise, source))[0] < -0.5
            for _ in range(trials)
        )
        for attribution in (first, second)
    )
    return audit(int(hits), int(false_hits), trials)


def test_audit_finds_no_more_than_the_importance_claims(audit) -> None:
    """False alarm: 1e-6."""
    assert audit_paid(audit, importance.mechanism(1.0)) <= 1.0


def test_audit_catches_importance_that_is_called_paid_but_was_free(audit, monkeypatch) -> None:
    monkeypatch.setattr(DiscreteLaplace, "release", lambda self, values, source: values)
    assert audit_paid(audit, importance.mechanism(1.0)) > 1.0


def test_audit_catches_noise_for_one_record_added_instead_of_replaced(audit) -> None:
    assert audit_paid(audit, DiscreteLaplace(UNITS / 2.0, UNITS)) > 1.0


def test_paid_weights_sum_to_one_and_keep_the_floor_under_any_noise() -> None:
    attribution, codes = random_attribution(2), random_codes(30, 2)
    for seed in range(50):
        noise = importance.mechanism(1e-4)
        weights = importance.paid(attribution, lambda: [codes], noise, SeededSource(seed))
        assert weights.sum() == pytest.approx(1)
        assert weights.min() > 0.09 / len(weights)


def test_paid_weights_without_noise_to_speak_of_are_the_mean_attribution() -> None:
    attribution, codes = random_attribution(3), random_codes(500, 3)
    batches = [codes[:100], codes[100:]]
    weights = importance.paid(
        attribution, lambda: batches, importance.mechanism(1e6), SeededSource(0)
    )
    mean = attribution.units(codes).mean(axis=0) / UNITS
    kept = mean > 0.05
    np.testing.assert_allclose(
        weights[kept] / weights[kept].sum(), mean[kept] / mean[kept].sum(), rtol=1e-3
    )


def test_declared_weights_follow_the_attributes_order_and_none_means_equal() -> None:
    names = ("a", "b", "c")
    w = importance.declared({"c": 3, "a": 1}, names, "y")
    assert w[2] / w[0] == pytest.approx(3)
    assert 0 < w[1] < w[0]
    assert importance.declared(None, names, None).tolist() == pytest.approx([1 / 3] * 3)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"z": 1.0}, "'z', which is no attribute"),
        ({"y": 1.0}, "names the target 'y'"),
        ({"a": -1.0}, "weight of 'a' is -1.0"),
        ({"a": float("nan")}, "weight of 'a' is nan"),
        ({"a": "much"}, "weight of 'a' is 'much'"),
        ({"a": True}, "weight of 'a' is True"),
        ({"a": 0.0}, "sum to 0"),
        ({}, "sum to 0"),
    ],
)
def test_refuses_weights_that_mean_nothing(weights: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        importance.declared(weights, ("a", "b"), "y")
