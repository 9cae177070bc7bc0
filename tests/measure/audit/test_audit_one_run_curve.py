"""The bound by trade-off curves against a linear programme, and against what is known exactly."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import linprog
from scipy.stats import binom, norm

from sfumato.measure import audit
from sfumato.measure.audit.one_run_curve import Inverse, of_epsilon, of_mu
from sfumato.privacy.budget import Budget
from sfumato.privacy.calibration import analytic_gaussian_mu


def largest_tail(m: int, guesses: int, correct: int, lines: list[tuple[float, float]]) -> float:
    """The most that ``Pr[V >= correct]`` can be, as a linear programme over all ``p``.

    Args:
        m: Canaries.
        guesses: How many are guessed.
        correct: How many of those right.
        lines: (height at 0, slope): the curve is the least of them.
    """
    i = np.arange(guesses + 1)
    rows, limits = [], []
    for t in range(1, guesses + 1):
        right, wrong = np.where(i >= t, i, 0) / m, np.where(i >= t - 1, guesses - i, 0) / m
        for height, slope in lines:
            rows.append(right - slope * wrong)
            limits.append(height)
    found = linprog(
        -(i >= correct).astype(float), rows, limits, [np.ones(guesses + 1)], [1.0], (0, 1)
    )
    assert found.status == 0
    return -float(found.fun)


def likelihood(m: int, guesses: int, correct: int, least_fpr: Inverse) -> float:
    """The probability of so many right guesses, or more, from which on they refute nothing."""
    if not audit.refutes(m, guesses, correct, least_fpr, 1.0):
        return 1.0
    low, high = 1e-30, 1.0
    assert not audit.refutes(m, guesses, correct, least_fpr, low)
    for _ in range(80):
        middle = math.sqrt(low * high)
        refuted = audit.refutes(m, guesses, correct, least_fpr, middle)
        low, high = (low, middle) if refuted else (middle, high)
    return high


@pytest.mark.parametrize(
    ("m", "guesses", "correct"), [(10, 10, 8), (12, 6, 6), (30, 20, 15), (20, 20, 14), (40, 8, 7)]
)
@pytest.mark.parametrize(("epsilon", "delta"), [(0.3, 0.0), (1.0, 0.0), (1.0, 0.01), (2.0, 1e-4)])
def test_the_recursion_finds_what_a_linear_programme_finds(
    m: int, guesses: int, correct: int, epsilon: float, delta: float
) -> None:
    slope = float(np.exp(epsilon))
    lines = [(delta, slope), (1 - (1 - delta) / slope, 1 / slope), (1.0, 0.0)]
    expected = largest_tail(m, guesses, correct, lines)
    found = likelihood(m, guesses, correct, of_epsilon(epsilon, delta))
    assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 3.0])
def test_randomised_response_is_no_likelier_than_the_bound_says(epsilon: float) -> None:
    # Its right guesses are binomial: the largest tail of all, which the bound may not be below.
    q = 1 / (1 + np.exp(-epsilon))
    for correct in range(60, 101, 4):
        exact = float(binom.sf(correct - 1, 100, q))
        bound = likelihood(100, 100, correct, of_epsilon(epsilon, 0.0))
        assert bound >= min(exact, 1.0) * (1 - 1e-9)


def test_a_bound_holds_for_gaussian_canaries_and_finds_more_than_by_epsilon_and_delta() -> None:
    mu, m, level, above, found, simple = 1.0, 2000, 0.05, 0, [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        included = rng.random(m) < 0.5
        scores = mu * included + rng.standard_normal(m)
        ((guesses, correct),) = audit.guessed(scores, included, (0.1,))
        found.append(audit.one_run_mu(m, guesses, correct, level))
        above += found[-1] > mu
        epsilon = audit.one_run_bound(m, guesses, correct, 1e-5, level)
        simple.append(analytic_gaussian_mu(Budget(epsilon, 1e-5)))
    assert above <= 8  # of 60 at 5 %: more than 8 by chance once in 500, and these are seeded
    assert np.mean(found) > 1.2 * np.mean(simple)


def test_too_many_right_guesses_refute_a_claim_and_honest_ones_do_not() -> None:
    rng = np.random.default_rng(3)
    included = rng.random(3000) < 0.5
    claim = audit.Tabulated.of(lambda fpr: float(norm.cdf(norm.ppf(fpr) + 1.0)))
    for mu, expected in ((1.0, False), (2.0, True)):
        scores = mu * included + rng.standard_normal(3000)
        ((guesses, correct),) = audit.guessed(scores, included, (0.1,))
        assert audit.refutes(3000, guesses, correct, claim, 0.01) == expected


def test_a_tabulated_curve_is_never_above_the_one_it_was_made_from() -> None:
    exact = of_mu(0.7)
    table = audit.Tabulated.of(lambda fpr: float(norm.cdf(norm.ppf(fpr) + 0.7)))
    for tpr in np.concatenate([np.geomspace(1e-8, 0.1, 40), np.linspace(0.1, 0.999, 60)]):
        assert table(float(tpr)) <= exact(float(tpr)) + 1e-12
        assert exact(float(tpr)) - table(float(tpr)) < 0.002


def test_no_right_guess_refutes_nothing() -> None:
    assert audit.one_run_mu(10, 4, 0, 0.05) == 0.0
    assert not audit.refutes(10, 4, 0, of_epsilon(0.0, 0.0), 1e-12)
