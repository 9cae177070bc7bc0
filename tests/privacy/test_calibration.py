"""Calibration: never too little noise, hardly too much, and the published noise scales."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sfumato.errors import InputError
from sfumato.privacy import accounting, calibration
from sfumato.privacy import events as ev
from sfumato.privacy.accounting import gaussian
from sfumato.privacy.budget import Budget
from sfumato.privacy.calibration import analytic_gaussian_mu, calibrate, calibrate_gaussian
from sfumato.privacy.neighbours import Neighbours

AR, RO, ZO = Neighbours.ADD_REMOVE, Neighbours.REPLACE_ONE, Neighbours.ZERO_OUT
Calibrate = Callable[[Budget, Neighbours, float, int], float]


def sampled(rate: float, noise: float, steps: int) -> ev.DpEvent:
    step: ev.DpEvent = ev.GaussianDpEvent(noise)
    return ev.repeat(ev.PoissonSampledDpEvent(rate, step) if rate < 1 else step, steps)


# generative.md 2.2, by loss distributions: rate, steps, delta, epsilon, sigma.
PUBLISHED = [
    (4096 / 60_000, 4_394, 1e-5, 1, 17.01),
    (4096 / 60_000, 4_394, 1e-5, 10, 2.38),
    (4096 / 55_000, 2_014, 1.67e-6, 1, 13.86),
    (4096 / 55_000, 2_014, 1.67e-6, 10, 1.93),
    (500 / 32_561, 1_954, 1e-5, 1, 2.67),
    (500 / 32_561, 1_954, 1e-5, 10, 0.69),
    (0.004, 14_000, 1e-5, 1, 1.9106),
    (0.004, 14_000, 1e-5, 3, 0.9325),
    (0.004, 14_000, 1e-5, 8, 0.6412),
    (1.0, 1, 1e-5, 0.2, 16.30),
    (1.0, 1, 1e-5, 1, 3.73),
    (1.0, 1, 1e-5, 10, 0.50),
    (1.0, 1, 1.67e-6, 0.2, 18.42),
    (1.0, 1, 1.67e-6, 1, 4.12),
    (1.0, 1, 1.67e-6, 10, 0.532),
]


@pytest.mark.parametrize(("rate", "steps", "delta", "epsilon", "sigma"), PUBLISHED)
def test_published_noise_scales_are_reproduced(
    rate: float, steps: int, delta: float, epsilon: float, sigma: float
) -> None:
    found = calibrate_gaussian(Budget(epsilon, delta), AR, rate, steps)
    assert found == pytest.approx(sigma, rel=0.02 if rate == 1 or steps < 14_000 else 0.001)


# perturbation.md 0.2: sigma of a vector clipped to norm 1, whose neighbours are 2 apart.
@pytest.mark.parametrize(
    ("epsilon", "mu", "sigma"),
    [
        (0.5, 0.142, 14.06),
        (1, 0.268, 7.46),
        (2, 0.502, 3.99),
        (4, 0.925, 2.16),
        (8, 1.666, 1.20),
        (16, 2.906, 0.69),
    ],
)
def test_the_table_of_one_clipped_vector_is_reproduced(
    epsilon: float, mu: float, sigma: float
) -> None:
    budget = Budget(epsilon, 1e-5)
    assert analytic_gaussian_mu(budget) == pytest.approx(mu, abs=6e-4)
    assert calibrate_gaussian(budget, RO) == pytest.approx(sigma, abs=6e-3)
    assert calibrate_gaussian(budget, RO) * analytic_gaussian_mu(budget) == pytest.approx(2.0)


def check_calibration(
    found: float, rate: float, steps: int, budget: Budget, relation: Neighbours
) -> None:
    """The event meets the budget, and a thousandth less noise does not."""

    def epsilon(noise: float) -> float:
        return accounting.epsilon(sampled(rate, noise, steps), budget.delta, relation)

    assert epsilon(found) <= budget.epsilon
    assert epsilon(found / 1.001) > budget.epsilon


budgets = st.builds(
    Budget, st.floats(-1.5, 1.2).map(lambda x: 10**x), st.floats(-9, -3).map(lambda x: 10**x)
)


@settings(max_examples=20, deadline=None)
@given(
    budgets,
    st.floats(-3, -0.3).map(lambda x: 10**x),
    st.integers(1, 3000),
    st.sampled_from(list(Neighbours)),
)
def test_sampled_noise_meets_any_budget_and_hardly_exceeds_it(
    budget: Budget, rate: float, steps: int, relation: Neighbours
) -> None:
    assume(1 - (1 - rate) ** steps > 2 * budget.delta)
    found = calibrate_gaussian(budget, relation, rate, steps)
    check_calibration(found, rate, steps, budget, relation)


@settings(max_examples=100, deadline=None)
@given(budgets, st.integers(1, 10**6), st.sampled_from(list(Neighbours)))
def test_noise_without_sampling_meets_any_budget_exactly(
    budget: Budget, steps: int, relation: Neighbours
) -> None:
    found = calibrate_gaussian(budget, relation, steps=steps)
    check_calibration(found, 1.0, steps, budget, relation)
    spent = accounting.epsilon(sampled(1.0, found, steps), budget.delta, relation)
    assert spent == pytest.approx(budget.epsilon, rel=1e-9)


@pytest.mark.parametrize("factor", [1 - 1e-6, 0.999, 1.002])
def test_a_calibration_slightly_off_to_either_side_is_caught(factor: float) -> None:
    budget = Budget(1.0, 1e-5)
    exact = calibrate_gaussian(budget, AR)
    with pytest.raises(AssertionError):
        check_calibration(exact * factor, 1.0, 1, budget, AR)


@pytest.mark.parametrize("factor", [0.998, 1.002])
def test_a_sampled_calibration_slightly_off_to_either_side_is_caught(factor: float) -> None:
    budget = Budget(1.0, 1e-5)
    found = calibrate_gaussian(budget, AR, 0.01, 1000)
    with pytest.raises(AssertionError):
        check_calibration(found * factor, 0.01, 1000, budget, AR)


def test_a_calibration_at_the_radius_instead_of_the_diameter_is_caught() -> None:
    budget = Budget(1.0, 1e-5)
    for rate, steps in ((1.0, 1), (0.01, 1000)):
        with pytest.raises(AssertionError):
            check_calibration(calibrate_gaussian(budget, AR, rate, steps), rate, steps, budget, RO)


def test_noise_falls_as_epsilon_delta_and_the_sampling_shrinks() -> None:
    base = calibrate_gaussian(Budget(1.0, 1e-5), AR, 0.1, 100)
    assert calibrate_gaussian(Budget(2.0, 1e-5), AR, 0.1, 100) < base
    assert calibrate_gaussian(Budget(1.0, 1e-3), AR, 0.1, 100) < base
    assert calibrate_gaussian(Budget(1.0, 1e-5), AR, 0.05, 100) < base
    assert calibrate_gaussian(Budget(1.0, 1e-5), AR, 0.1, 50) < base
    assert calibrate_gaussian(Budget(1.0, 1e-5), RO, 0.1, 100) > 1.4 * base


@pytest.mark.parametrize(
    ("make_event", "budget", "relation", "bracket", "exact"),
    [
        (ev.LaplaceDpEvent, Budget(0.7), AR, (1e-3, 1e3), 1 / 0.7),
        (ev.LaplaceDpEvent, Budget(0.7), RO, (1e-3, 1e3), 2 / 0.7),
        (
            lambda scale: ev.repeat(ev.DiscreteLaplaceDpEvent(1 / scale, 3), 4),
            Budget(0.5),
            AR,
            (0.01, 1e4),
            24.0,
        ),
        (
            lambda x: ev.RandomizedResponseDpEvent(x, 2),
            Budget(math.log(3)),
            RO,
            (1e-6, 1.0),
            0.5,
        ),
    ],
)
def test_pure_mechanisms_are_calibrated_to_their_known_scale(
    make_event: Callable[[float], ev.DpEvent],
    budget: Budget,
    relation: Neighbours,
    bracket: tuple[float, float],
    exact: float,
) -> None:
    found = calibrate(make_event, budget, relation, bracket)
    assert accounting.epsilon(make_event(found), budget.delta, relation) <= budget.epsilon
    assert exact * (1 - 1e-12) <= found <= exact * 1.001


@pytest.mark.parametrize("shape", ["cell", "vector", "scalar"])
@pytest.mark.parametrize("relation", [AR, RO])
def test_integer_noise_is_calibrated_through_its_exact_loss(
    shape: Any, relation: Neighbours
) -> None:
    def make_event(stddev: float) -> ev.DpEvent:
        return ev.repeat(ev.DiscreteGaussianDpEvent(stddev, 1, shape), 30)

    budget = Budget(1.0, 1e-6)
    found = calibrate(make_event, budget, relation, (0.1, 1e4))
    assert accounting.epsilon(make_event(found), 1e-6, relation) <= 1.0
    assert accounting.epsilon(make_event(found / 1.001), 1e-6, relation) > 1.0
    apart = {"cell": math.sqrt(2), "vector": 2, "scalar": 2}[shape] if relation is RO else 1
    continuous = apart * math.sqrt(30) / gaussian.mu(1.0, 1e-6)
    # Only the concentrated bound pays for being a bound.
    slack = 1.12 if shape == "vector" else 1.003
    assert continuous * 0.998 <= found <= continuous * slack


def test_a_bracket_whose_lower_end_is_enough_gives_that_end() -> None:
    assert calibrate(ev.LaplaceDpEvent, Budget(1.0), AR, (5.0, 100.0)) == 5.0


@pytest.mark.parametrize("bracket", [(0.0, 1.0), (2.0, 1.0), (1.0, math.inf), (-1.0, 1.0)])
def test_a_bracket_that_is_no_interval_is_refused(bracket: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="bracket"):
        calibrate(ev.LaplaceDpEvent, Budget(1.0), AR, bracket)


def test_a_bracket_that_holds_no_answer_is_refused() -> None:
    with pytest.raises(InputError, match=r"no noise up to 0\.5"):
        calibrate(ev.LaplaceDpEvent, Budget(1.0), AR, (1e-3, 0.5))


def test_noise_that_never_meets_the_budget_is_refused() -> None:
    with pytest.raises(InputError, match="no noise up to"):
        calibrate(ev.GaussianDpEvent, Budget(1.0), AR, (1e-3, 1e3))  # delta 0
    with pytest.raises(InputError, match="no amount of noise"):
        calibration._root(lambda value: 1.0, 1.0, -1.0, 0.0, math.inf, 1e-3)


def test_gaussian_noise_needs_a_delta() -> None:
    for ask in (
        lambda: calibrate_gaussian(Budget(1.0), AR),
        lambda: calibrate_gaussian(Budget(1.0), AR, 0.1, 10),
        lambda: analytic_gaussian_mu(Budget(1.0)),
    ):
        with pytest.raises(InputError, match="delta is 0"):
            ask()


def test_a_delta_that_would_let_the_sample_be_published_is_refused() -> None:
    with pytest.raises(InputError, match=r"delta is 0\.001, but a record is sampled"):
        calibrate_gaussian(Budget(1.0, 1e-3), AR, 1e-4, 10)
    assert calibrate_gaussian(Budget(1.0, 1e-3), AR, 1e-3, 10) > 0.1


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.1, math.nan])
def test_a_sampling_rate_out_of_range_is_refused(rate: float) -> None:
    with pytest.raises(InputError, match="sampling rate"):
        calibrate_gaussian(Budget(1.0, 1e-5), AR, rate)


@pytest.mark.parametrize("steps", [0, -1, 1.5])
def test_a_number_of_steps_out_of_range_is_refused(steps: Any) -> None:
    with pytest.raises(InputError, match="steps"):
        calibrate_gaussian(Budget(1.0, 1e-5), AR, 0.1, steps)


@settings(max_examples=200, deadline=None)
@given(
    st.floats(-3, 3).map(lambda x: 10**x),
    st.floats(0.2, 5),
    st.floats(-4, 4).map(lambda x: 10**x),
    st.floats(1e-4, 0.5),
)
def test_the_search_finds_any_falling_root_in_few_steps(
    root: float, power: float, start: float, tolerance: float
) -> None:
    tried: list[float] = []

    def excess(value: float) -> float:
        tried.append(value)
        gap = power * math.log(root / value)
        return -math.inf if gap < -3 else math.inf if gap > 6 else gap

    found, _ = calibration._root(excess, start, -1.0, 0.0, math.inf, tolerance)
    assert found in tried
    assert excess(found) <= 0
    assert found <= root * (1 + tolerance) * (1 + 1e-12)
    assert len(tried) < 60
