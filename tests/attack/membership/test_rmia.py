from __future__ import annotations

import numpy as np

from sfumato.attack.membership.rmia import mean_over, shares, tuned, without


def test_the_score_is_the_share_of_the_population_that_is_exceeded_gamma_times() -> None:
    rng = np.random.default_rng(0)
    ratios, compared = rng.normal(0.5, 1, 40), rng.normal(0, 1, 500)
    for gamma in (1.0, 2.0):
        found = shares(ratios, compared, gamma)
        counted = [np.mean(np.exp(r) >= gamma * np.exp(compared)) for r in ratios]
        assert (np.abs(found - counted) <= 1 / 500).all()


def test_equal_shares_stay_in_the_order_of_their_ratios() -> None:
    ratios = np.sort(np.random.default_rng(1).normal(10, 1, 50))
    found = shares(ratios, np.zeros(10), 1.0)
    assert (np.diff(found) > 0).all()


def test_the_offline_mean_is_between_the_mean_and_certainty() -> None:
    mean = np.array([0.0, 0.4, 1.0])
    np.testing.assert_allclose(without(mean, 1.0), mean)
    np.testing.assert_allclose(without(mean, 0.0), (mean + 1) / 2)


def test_a_is_tuned_on_a_shadow_model_with_those_that_lack_the_record() -> None:
    """Models with a record are certain of it; their mean without it says how hard it is."""
    rng = np.random.default_rng(2)
    inside = rng.permuted(np.arange(8)[:, None] % 2 + np.zeros((1, 400)), axis=0) > 0
    hard = rng.uniform(0.05, 0.95, 400)
    known = np.clip(
        np.where(inside, 0.9 + 0.1 * hard, hard + rng.normal(0, 0.1, (8, 400))), 0.01, 1
    )
    a = tuned(known, inside)
    assert 0 <= a <= 1
    flat = np.where(inside, 0.9, 0.2 + rng.normal(0, 0.01, (8, 400)))
    assert 0 <= tuned(flat, inside) <= 1
    np.testing.assert_allclose(mean_over(np.ones((3, 2)), np.ones((3, 2), bool)), [1, 1])
    np.testing.assert_allclose(
        mean_over(np.array([[1.0, 5.0], [3.0, 7.0]]), np.array([[True, False], [True, True]])),
        [2, 7],
    )


def test_a_is_the_one_that_tells_members_best() -> None:
    """Planted: the one that tells them worst. Members are half as likely again."""
    rng = np.random.default_rng(3)
    inside = rng.permuted(np.arange(8)[:, None] % 2 + np.zeros((1, 400)), axis=0) > 0
    hard = rng.uniform(0.02, 0.6, 400)
    assert tuned(np.where(inside, 1.5 * hard, hard), inside) == 1.0
