"""Privacy loss distributions against brute force, against dp_accounting, and never too small."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from dp_accounting.pld import PLDAccountant, privacy_loss_distribution
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sfumato.privacy import accounting
from sfumato.privacy import events as ev
from sfumato.privacy.accounting import compose, gaussian, pld, terms
from sfumato.privacy.accounting.pld import INTERVAL, Loss, Pair, TooWideError
from sfumato.privacy.accounting.resolve import resolve
from sfumato.privacy.accounting.terms import additive, response
from sfumato.privacy.neighbours import Neighbours

AR, RO, ZO = Neighbours.ADD_REMOVE, Neighbours.REPLACE_ONE, Neighbours.ZERO_OUT
Array = NDArray[np.float64]
EPSILONS = (0.0, 0.05, 0.3, 1.0, 2.5)


# --- brute force: every outcome of a small mechanism, summed -------------------------------------


def hockey_stick(upper: Array, lower: Array, epsilon: float) -> float:
    return float(np.maximum(upper - math.exp(epsilon) * lower, 0).sum())


def product(*factors: Array) -> Array:
    """The joint probabilities of independent outcomes."""
    joint = np.ones(1)
    for factor in factors:
        joint = np.outer(joint, factor).ravel()
    return joint


def laplace_on_integers(parameter: float, at: int, reach: int = 60) -> Array:
    masses = np.exp(-parameter * np.abs(np.arange(-reach, reach + 1) - at))
    return np.asarray(masses * math.tanh(parameter / 2))


def gaussian_on_integers(stddev: float, at: int, reach: int = 40) -> Array:
    x = np.arange(-reach, reach + 1)
    centre = np.exp(-(x**2) / (2 * stddev**2)).sum()
    return np.asarray(np.exp(-((x - at) ** 2) / (2 * stddev**2)) / centre)


def reported(noise: float, levels: int, truth: int | None) -> Array:
    uniform = np.full(levels, 1 / levels)
    if truth is None:
        return uniform
    return (1 - noise) * np.eye(levels)[truth] + noise * uniform


DL, DG = ev.DiscreteLaplaceDpEvent, ev.DiscreteGaussianDpEvent
RR = ev.RandomizedResponseDpEvent
lap, gau = laplace_on_integers, gaussian_on_integers
BRUTE: list[tuple[ev.DpEvent, Neighbours, Array, Array]] = [
    (DL(0.7, 2), AR, lap(0.7, 0), lap(0.7, 2)),
    (DL(0.7, 2), RO, lap(0.7, -2), lap(0.7, 2)),
    (DG(1.3, 2, "cell"), AR, gau(1.3, 0), gau(1.3, 2)),
    (DG(1.3, 1, "cell"), RO, product(gau(1.3, 1), gau(1.3, 0)), product(gau(1.3, 0), gau(1.3, 1))),
    (DG(1.3, 1.5, "scalar"), RO, gau(1.3, 0), gau(1.3, 3)),
    (DG(1.3, 1.5, "scalar"), ZO, gau(1.3, 0), gau(1.3, 1)),
    (RR(0.4, 5), RO, reported(0.4, 5, 0), reported(0.4, 5, 1)),
    (RR(0.4, 5), ZO, reported(0.4, 5, 0), reported(0.4, 5, None)),
    (RR(0.4, 5), ZO, reported(0.4, 5, None), reported(0.4, 5, 0)),
    (
        ev.compose(DL(0.7, 1), DG(1.3, 1, "cell"), DL(0.7, 1)),
        AR,
        product(lap(0.7, 0), gau(1.3, 0), lap(0.7, 0)),
        product(lap(0.7, 1), gau(1.3, 1), lap(0.7, 1)),
    ),
    (
        ev.repeat(RR(0.4, 3), 6),
        RO,
        product(*[reported(0.4, 3, 0)] * 6),
        product(*[reported(0.4, 3, 1)] * 6),
    ),
    (
        ev.compose(RR(0.4, 3), RR(0.6, 2), RR(0.4, 3)),
        ZO,
        product(reported(0.4, 3, 0), reported(0.6, 2, 0), reported(0.4, 3, 0)),
        product(reported(0.4, 3, None), reported(0.6, 2, None), reported(0.4, 3, None)),
    ),
    (
        ev.PoissonSampledDpEvent(0.3, DL(0.7, 2)),
        AR,
        0.7 * lap(0.7, 0) + 0.3 * lap(0.7, 2),
        lap(0.7, 0),
    ),
    (
        ev.PoissonSampledDpEvent(0.3, DL(0.7, 2)),
        AR,
        lap(0.7, 0),
        0.7 * lap(0.7, 0) + 0.3 * lap(0.7, 2),
    ),
    (
        ev.repeat(ev.PoissonSampledDpEvent(0.3, DG(1.3, 1, "cell")), 2),
        AR,
        product(*[0.7 * gau(1.3, 0) + 0.3 * gau(1.3, 1)] * 2),
        product(*[gau(1.3, 0)] * 2),
    ),
]


def divergence_of(event: ev.DpEvent, relation: Neighbours, epsilon: float) -> float:
    return accounting.delta(event, epsilon, relation)


def check_nothing_is_missed(
    delta: Callable[[ev.DpEvent, Neighbours, float], float], slack: float = 1e-9
) -> None:
    """No pair of neighbours is further apart than claimed, at any epsilon."""
    for event, relation, upper, lower in BRUTE:
        for epsilon in EPSILONS:
            true = hockey_stick(upper, lower, epsilon)
            assert delta(event, relation, epsilon) >= true * (1 - slack) - 1e-12, (event, epsilon)


def test_no_delta_is_below_that_of_all_outcomes_summed() -> None:
    check_nothing_is_missed(divergence_of)


def test_deltas_are_those_of_all_outcomes_summed_to_the_grid() -> None:
    for event, relation, upper, lower in BRUTE:
        for epsilon in EPSILONS:
            larger = max(hockey_stick(upper, lower, epsilon), hockey_stick(lower, upper, epsilon))
            claimed = divergence_of(event, relation, epsilon)
            assert claimed == pytest.approx(larger, rel=1e-3, abs=1e-6), (event, epsilon)


def test_a_loss_one_part_in_a_thousand_too_small_is_caught() -> None:
    with pytest.raises(AssertionError):
        check_nothing_is_missed(lambda e, n, eps: divergence_of(e, n, eps * 1.001 + 1e-5))


def test_rounding_losses_down_instead_of_connecting_the_dots_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def round_down(losses: Array, masses: Array, infinity: float, interval: float) -> Loss:
        index = np.floor(losses / interval).astype(np.int64)
        grid = np.bincount(index - index.min(), masses).astype(np.float64)
        return Loss(interval, int(index.min()), grid, infinity)

    accounting._pair.cache_clear()
    for module in (additive, response):
        monkeypatch.setattr(module, "from_points", round_down)
    with pytest.raises(AssertionError):
        check_nothing_is_missed(divergence_of)
    accounting._pair.cache_clear()


# --- dp_accounting ------------------------------------------------------------------------------


def sampled(rate: float, noise: float, steps: int) -> ev.DpEvent:
    return ev.repeat(ev.PoissonSampledDpEvent(rate, ev.GaussianDpEvent(noise)), steps)


def laplaces(rate: float, noise: float, steps: int) -> ev.DpEvent:
    return ev.repeat(ev.PoissonSampledDpEvent(rate, ev.LaplaceDpEvent(noise)), steps)


TRUNCATED = ev.TruncatedSubsampledGaussianDpEvent(10_000, 0.01, 120, 1.0)
KNOWN_TO_THE_LIBRARY = [
    (ev.GaussianDpEvent(1.3), (AR, RO, ZO)),
    (ev.repeat(ev.GaussianDpEvent(3.0), 5), (AR, RO, ZO)),
    (ev.repeat(ev.LaplaceDpEvent(2.0), 7), (AR, ZO)),
    (ev.repeat(DL(0.5, 3), 4), (AR, ZO)),
    (RR(0.3, 10), (RO, ZO)),
    (sampled(0.1, 1.0, 1), (AR, RO, ZO)),
    (sampled(0.02, 0.8, 500), (AR, RO, ZO)),
    (sampled(0.3, 0.5, 3), (AR, RO)),
    (laplaces(0.1, 0.5, 1), (AR, ZO)),
    (laplaces(0.05, 1.0, 100), (AR,)),
    (ev.repeat(TRUNCATED, 30), (AR, RO)),
    (ev.compose(ev.GaussianDpEvent(2.0), ev.LaplaceDpEvent(1.5), sampled(0.1, 1.0, 2)), (AR, ZO)),
]


@pytest.mark.parametrize(("event", "relations"), KNOWN_TO_THE_LIBRARY)
def test_epsilon_is_that_of_dp_accounting(
    event: ev.DpEvent, relations: tuple[Neighbours, ...]
) -> None:
    for relation in relations:
        library = PLDAccountant(relation.relation, 1e-3).compose(event)
        for delta in (1e-3, 1e-6):
            ours = accounting.epsilon(event, delta, relation, interval=1e-3)
            theirs = library.get_epsilon(delta)
            # Never above; below only by the rounding that pure and Gaussian forms avoid.
            assert ours <= theirs * (1 + 1e-6) + 1e-9
            assert ours == pytest.approx(theirs, rel=2e-3, abs=1.1e-3)


def test_truncation_that_never_happens_is_plain_sampling() -> None:
    plain = sampled(0.01, 1.0, 1)
    event = ev.TruncatedSubsampledGaussianDpEvent(1_000, 0.01, 1_000, 1.0)
    assert accounting.epsilon(event, 1e-5, AR) == accounting.epsilon(plain, 1e-5, AR)
    whole = ev.TruncatedSubsampledGaussianDpEvent(100, 1.0, 100, 1.0)
    assert accounting.epsilon(whole, 1e-5, AR) >= accounting.epsilon(
        ev.GaussianDpEvent(1.0), 1e-5, AR
    )


# --- the grid -----------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.floats(0.01, 3), st.integers(1, 3000), st.floats(-10, -2))
def test_a_gaussian_composed_on_the_grid_is_just_above_the_closed_form(
    mu: float, count: int, log10: float
) -> None:
    delta, total = 10**log10, mu
    step = terms.Gaussian(mu / math.sqrt(count))
    grid = pld.compose([(step.pair(1e-3), count)], 1e-3)
    exact = gaussian.epsilon(delta, total)
    assert grid.epsilon(delta) >= exact * (1 - 1e-9)
    # Splitting a loss adds at most a quarter of the squared interval to the variance of a step.
    widened = math.sqrt(total**2 + count * 1e-6)
    assert grid.epsilon(delta) <= gaussian.epsilon(delta, widened) * 1.01 + 2e-3


def test_a_finer_grid_gives_a_smaller_epsilon() -> None:
    event = sampled(0.004, 1.0, 14_000)
    fine, coarse = (accounting.epsilon(event, 1e-5, AR, interval=h) for h in (1e-4, 1e-3))
    assert fine == pytest.approx(2.6188, abs=1e-3)
    assert coarse == pytest.approx(2.6271, abs=1e-3)


@pytest.mark.parametrize("relation", [AR, RO])
def test_losses_too_wide_for_the_grid_are_accounted_on_a_coarser_one(relation: Neighbours) -> None:
    scale = 300.0 * (1 if relation is AR else 2)
    # delta(eps) = 1 - e^((eps - scale) / 2) for Laplace noise.
    exact = scale + 2 * math.log1p(-0.5)
    claimed = accounting.epsilon(ev.LaplaceDpEvent(1 / 300), 0.5, relation)
    assert exact <= claimed <= exact + 0.01


# --- many different losses ------------------------------------------------------------------------


def falling(first: float, last: float, steps: int, rate: float = 0.1) -> ev.DpEvent:
    """Noise that falls from step to step."""
    return ev.compose(*(sampled(rate, float(s), 1) for s in np.linspace(first, last, steps)))


@pytest.mark.parametrize("relation", [AR, RO])
def test_many_different_losses_on_an_affordable_grid_cost_a_millionth_more(
    monkeypatch: pytest.MonkeyPatch, relation: Neighbours
) -> None:
    monkeypatch.setattr(compose, "WORK", 1)  # as coarse as the losses allow
    found = resolve(falling(0.45, 0.25, 24), relation)
    assert compose._affordable(found, INTERVAL) >= 8 * INTERVAL
    pairs = [(term.pair(INTERVAL), n) for term, n in found.counts.items()]
    fine = pld.compose(pairs, INTERVAL).epsilon(1e-5)
    assert fine <= compose.loss_of(found).epsilon(1e-5) <= fine * (1 + 2e-6)


def test_a_grid_ten_times_as_coarse_as_the_losses_allow_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compose, "SHARE", 10)
    with pytest.raises(AssertionError):
        test_many_different_losses_on_an_affordable_grid_cost_a_millionth_more(monkeypatch, AR)


def test_small_and_few_losses_keep_the_fine_grid() -> None:
    for event in (falling(2.0, 1.0, 24), falling(0.3, 0.1, 8), sampled(0.1, 0.1, 5000)):
        assert compose._affordable(resolve(event, AR), INTERVAL) == INTERVAL


def test_many_different_losses_lie_between_the_bounds_of_dp_accounting() -> None:
    stddevs = np.linspace(0.5, 0.2, 24)
    event = falling(0.5, 0.2, 24)
    assert compose._affordable(resolve(event, AR), INTERVAL) > INTERVAL
    low, high = (
        functools.reduce(
            lambda before, after: before.compose(after),
            [
                privacy_loss_distribution.from_gaussian_mechanism(
                    float(stddev),
                    sampling_prob=0.1,
                    value_discretization_interval=5e-3,
                    pessimistic_estimate=pessimistic,
                    use_connect_dots=pessimistic,
                )
                for stddev in stddevs
            ],
        ).get_epsilon_for_delta(1e-5)
        for pessimistic in (False, True)
    )
    assert high - low < 0.07
    assert low <= accounting.epsilon(event, 1e-5, AR) <= high


@pytest.mark.parametrize(
    "event",
    [
        sampled(0.01, 0.05, 10),
        ev.PoissonSampledDpEvent(0.5, ev.LaplaceDpEvent(1e-3)),
        ev.PoissonSampledDpEvent(0.5, ev.PureDpEvent(800.0, "add-remove")),
        ev.repeat(ev.ZCDpEvent(50.0), 4),
        ev.repeat(ev.ZCDpEvent(200.0, 1.0), 4),
        ev.compose(ev.ZCDpEvent(900.0), ev.LaplaceDpEvent(1.0)),
        ev.repeat(DG(1.0, 100, "cell"), 3),
        ev.repeat(DL(1.0, 1 << 23), 2),
        ev.compose(ev.PureDpEvent(500.0, "add-remove"), ev.GaussianDpEvent(0.1)),
    ],
)
def test_extreme_events_get_a_finite_epsilon_of_the_right_size(event: ev.DpEvent) -> None:
    epsilon = accounting.epsilon(event, 1e-5, AR)
    assert 50 < epsilon < 1e8
    assert accounting.delta(event, epsilon, AR) <= 1e-5 * (1 + 1e-6)


def test_a_grid_too_large_for_memory_is_refused() -> None:
    with pytest.raises(TooWideError):
        terms.Laplace(1000.0).pair(1e-5)
    with pytest.raises(TooWideError):
        pld.compose([(terms.Bounded(100.0).pair(1e-3), 10**6)], 1e-3)


def test_composing_nothing_and_composing_certainty() -> None:
    assert pld.compose([], 1e-4).epsilon(0.0) == 0.0
    certain = pld.symmetric(Loss(1e-4, 0, np.zeros(1), 1.0))
    assert pld.compose([(certain, 2)], 1e-4).epsilon(0.5) == math.inf
    assert pld.compose([(certain, 2)], 1e-4).delta(5.0) == 1.0


def test_a_loss_that_is_always_negative_costs_nothing() -> None:
    loss = Loss(1e-2, -10, np.full(5, 0.2), 0.0)
    assert loss.epsilon(1e-9) == 0.0
    assert loss.delta(0.0) == 0.0
    assert Pair(loss, loss).directions == (loss,)


def test_a_loss_that_is_always_positive_is_solved_below_its_first_point() -> None:
    loss = Loss(0.5, 4, np.array([0.5, 0.5]), 0.0)  # 2.0 and 2.5

    def delta(epsilon: float) -> float:
        return 0.5 * (1 - math.exp(epsilon - 2)) + 0.5 * (1 - math.exp(epsilon - 2.5))

    epsilon = loss.epsilon(0.6)
    assert epsilon < 2.0
    assert delta(epsilon) == pytest.approx(0.6)
    assert loss.delta(epsilon) == pytest.approx(0.6)
    assert loss.epsilon(1e-300) == 2.5


# --- what the events claim ----------------------------------------------------------------------


def test_the_concentrated_bound_covers_every_integer_vector_of_its_norm() -> None:
    """A discrete Gaussian on vectors claims zCDP only: check it against exact joint losses."""
    for stddev in (0.6, 1.0, 2.0):
        for vector in ((2,), (1, 1), (1, 1, 1), (2, 1), (2, 2), (1, 1, 1, 1)):
            parts = [(terms.DiscreteGaussian(stddev, shift).pair(1e-3), 1) for shift in vector]
            exact = pld.compose(parts, 1e-3)
            event = DG(stddev, math.sqrt(sum(shift**2 for shift in vector)))
            for epsilon in EPSILONS:
                bound = accounting.delta(event, epsilon, AR)
                assert bound >= exact.delta(epsilon) * (1 - 2e-3)  # the grid rounds exact up


def test_shifting_one_coordinate_by_all_is_worse_than_sharing_the_shift() -> None:
    """Why an L1 bound is accounted as one coordinate, for Laplace noise of both kinds."""
    for total, parts in itertools.product((2, 5, 12), ((1, 1), (1, 2), (3, 2), (1, 1, 1))):
        weights = np.array(parts) / sum(parts)
        for scale in (0.05, 0.3, 1.0):
            one = terms.Laplace(scale * total).pair(1e-3)
            shared = [(terms.Laplace(scale * total * w).pair(1e-3), 1) for w in weights]
            together = pld.compose(shared, 1e-3)
            for epsilon in EPSILONS:
                assert together.delta(epsilon) <= one.delta(epsilon) * (1 + 1e-3) + 1e-6
    for parameter in (0.05, 0.5, 2.0):
        for parts in ((1, 1), (1, 2), (3, 2), (1, 1, 1), (4, 4)):
            one = terms.DiscreteLaplace(parameter, sum(parts)).pair(1e-3)
            shared = [(terms.DiscreteLaplace(parameter, s).pair(1e-3), 1) for s in parts]
            together = pld.compose(shared, 1e-3)
            for epsilon in EPSILONS:
                assert together.delta(epsilon) <= one.delta(epsilon) * (1 + 1e-3) + 1e-6


def test_smaller_shifts_of_integer_noise_leak_less() -> None:
    for stddev in (0.4, 1.0, 3.0):
        pairs = [terms.DiscreteGaussian(stddev, shift).pair(1e-3) for shift in (1, 2, 3, 5)]
        for epsilon in EPSILONS:
            deltas = [pair.delta(epsilon) for pair in pairs]
            assert deltas == sorted(deltas)


def test_a_discrete_gaussian_of_any_width_is_accounted_close_to_the_continuous_one() -> None:
    for stddev in (5.0, 300.0, 5e4):
        for relation in Neighbours:
            mu = math.sqrt(2 if relation is RO else 1) / stddev * 200  # 40,000 histograms
            event = ev.repeat(DG(stddev, 1, "cell"), 40_000)
            exact = gaussian.epsilon(1e-6, mu)
            assert accounting.epsilon(event, 1e-6, relation) == pytest.approx(exact, rel=0.02)


def test_wide_integer_noise_falls_back_to_its_concentrated_bound() -> None:
    wide = DG(1e7, 1_000_000, "scalar")
    claimed = accounting.epsilon(wide, 1e-5, AR)
    exact = gaussian.epsilon(1e-5, 0.1)
    assert exact < claimed < 1.25 * exact
    assert claimed <= accounting.rdp_epsilon(wide, 1e-5, AR) * 1.001


def test_a_mass_that_is_no_number_is_an_error_and_no_epsilon_of_zero() -> None:
    with pytest.raises(ArithmeticError, match="no number"):
        Loss(1e-4, 0, np.array([0.5, math.nan]), 0.0)
    with pytest.raises(ArithmeticError, match="no number"):
        Loss(1e-4, 0, np.array([0.5, 0.5]), math.nan)
