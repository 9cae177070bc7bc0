"""The auditors: published bounds reproduced, and mechanisms that are known exactly."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sfumato.measure import audit
from sfumato.privacy.budget import Budget
from sfumato.privacy.calibration import analytic_gaussian_mu

ALARM = 1e-6


@pytest.mark.parametrize(
    ("m", "ceiling"), [(1000, 5.78), (5000, 7.28), (10_000, 7.83), (100_000, 8.13)]
)
def test_all_guesses_right_give_the_published_ceiling(m: int, ceiling: float) -> None:
    assert audit.one_run_bound(m, m, m, 1e-5, 0.05) == pytest.approx(ceiling, abs=0.005)


@pytest.mark.parametrize(
    ("epsilon", "expected"),
    [(1, (0.33, 0.46)), (2, (0.91, 1.11)), (4, (1.59, 2.36)), (8, (3.16, 3.95))],
)
def test_one_run_reproduces_the_published_bounds(
    epsilon: float, expected: tuple[float, float]
) -> None:
    # A Gaussian mechanism with ideal canaries, at 95 %; best of six shares, uncorrected.
    mu = analytic_gaussian_mu(Budget(epsilon, 1e-5))
    for m, value in zip((1000, 10_000), expected, strict=True):
        bounds = []
        for seed in range(5):
            rng = np.random.default_rng(seed)
            included = rng.random(m) < 0.5
            scores = mu * included + rng.standard_normal(m)
            shares = (0.01, 0.05, 0.1, 0.2, 0.5, 1.0)
            bounds.append(
                max(audit.one_run(scores, included, 1e-5, 0.05, shares=(s,)) for s in shares)
            )
        # One realisation is published: it lies among others, give or take.
        spread = max(0.15, 3 * float(np.std(bounds)))
        assert abs(float(np.mean(bounds)) - value) < spread


@pytest.mark.parametrize(
    ("epsilon", "plain", "gdp"),
    [
        (1, (0.22, 0.39), (0.47, 0.80)),
        (2, (0.64, 0.88), (1.39, 1.77)),
        (4, (1.33, 1.90), (3.41, 3.72)),
        (8, (2.88, 3.66), (7.40, 7.65)),
    ],
)
def test_many_runs_reproduce_the_published_bounds(
    epsilon: float, plain: tuple[float, float], gdp: tuple[float, float]
) -> None:
    # At 95 % a side; best of 60 thresholds, uncorrected.
    from sfumato.privacy.accounting import gaussian

    mu = analytic_gaussian_mu(Budget(epsilon, 1e-5))
    for n, simple, strong in zip((500, 5000), plain, gdp, strict=True):
        bounds = []
        for seed in range(10):
            samples = np.random.default_rng(seed).standard_normal((2, n))
            samples[0] += mu
            tests = []
            for cut in np.linspace(-3, mu + 3, 60):
                rates = []
                for hits in (samples > cut).sum(axis=1):
                    low, high = audit.limits(int(hits), n, 0.05)
                    rates.append((low, hits / n, high))
                tests.append(audit.Rates(*rates))
            best_mu = max(test.mu() for test in tests)
            bounds.append((max(t.epsilon(1e-5) for t in tests), gaussian.epsilon(1e-5, best_mu)))
        # One realisation is published: it lies among others, give or take.
        for value, found in zip((simple, strong), np.array(bounds).T, strict=True):
            assert abs(float(found.mean()) - value) < max(0.1, 3 * float(found.std()))


def test_bounds_hold_for_randomised_response_and_see_half_the_noise() -> None:
    def reports(epsilon: float, bit: int, seed: int) -> np.ndarray:
        truth = np.random.default_rng(seed).random(20_000) < 1 / (1 + math.exp(-epsilon))
        return np.where(truth, bit, 1 - bit).astype(float)

    for epsilon in (0.5, 1.0, 3.0):
        bound = audit.two_point(reports(epsilon, 0, 1), reports(epsilon, 1, 2), 0.0, ALARM)
        assert 0.7 * epsilon < bound <= epsilon
        twice = audit.two_point(reports(2 * epsilon, 0, 3), reports(2 * epsilon, 1, 4), 0.0, ALARM)
        assert twice > epsilon


def test_one_run_bounds_hold_for_randomised_response_and_see_half_the_noise() -> None:
    rng = np.random.default_rng(5)
    included = rng.random(4000) < 0.5
    for epsilon in (0.5, 1.0, 3.0):
        for spent, caught in ((epsilon, False), (2 * epsilon, True)):
            right = rng.random(4000) < 1 / (1 + math.exp(-spent))
            bound = audit.one_run((included == right) * 1.0, included, 0.0, ALARM)
            assert (bound > epsilon) == caught


def test_a_ratio_is_not_learnt_and_judged_on_the_same_samples() -> None:
    # 40 columns of pure noise: whatever is learnt from them is worth nothing on the rest.
    rng = np.random.default_rng(6)
    a, b = rng.integers(0, 30, (2, 1000, 40))
    assert audit.two_point(a, b, 0.0, ALARM) == 0.0
    assert audit.excess(a, b, lambda fpr: fpr, ALARM) <= 0


def test_a_linear_statistic_finds_a_gaussian_shift_in_many_features() -> None:
    # 60 features that share large noise and are moved along what they do not share.
    rng = np.random.default_rng(8)
    a, b = rng.standard_normal((2, 4000, 60)) + 2 * rng.standard_normal((2, 4000, 1))
    a += 1.5 / math.sqrt(60) * np.where(np.arange(60) % 2, 1, -1)
    learners = (audit.learn_linear, audit.learn_ratio_of_levels)
    assert 1.2 < audit.two_point_mu(a, b, 0.01, learners) <= 1.5


def test_a_statistic_of_levels_finds_what_no_line_does() -> None:
    rng = np.random.default_rng(9)
    wide, narrow = 3 * rng.standard_normal((4000, 2)), rng.standard_normal((4000, 2))
    by_levels = audit.two_point_mu(wide, narrow, 0.01, (audit.learn_ratio_of_levels,))
    assert by_levels > audit.two_point_mu(wide, narrow, 0.01, (audit.learn_linear,)) + 0.3


@pytest.mark.parametrize("seed", range(5))
def test_a_plain_gaussian_at_epsilon_4_is_audited_at_3_or_more(seed: int) -> None:
    # At 99 %. The form by (epsilon, delta) alone is looser, however many runs there are.
    from sfumato.privacy.accounting import gaussian

    mu = analytic_gaussian_mu(Budget(4.0, 1e-5))
    rng = np.random.default_rng(seed)
    samples = rng.standard_normal((2, 500_000))
    samples[0] += mu
    assert 2.0 <= audit.two_point(samples[0], samples[1], 1e-5, 0.01) <= 4.0
    few = samples[:, :4000]
    assert 3.0 <= gaussian.epsilon(1e-5, audit.two_point_mu(few[0], few[1], 0.01)) <= 4.0
