"""Laplace, Gaussian and the grid: real sums."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sfumato.errors import InputError
from sfumato.privacy import accounting
from sfumato.privacy.budget import Budget
from sfumato.privacy.mechanisms import Gaussian, Laplace, to_grid
from sfumato.privacy.mechanisms.grid import on_grid, power_below, round_to_grid, rounding_cost
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import SeededSource

RELATIONS = list(Neighbours)
VECTORS = arrays(np.float64, st.integers(1, 20), elements=st.floats(-1e6, 1e6))
STEPS = st.integers(-12, 4).map(lambda k: 2.0**k)


@given(VECTORS, STEPS)
@settings(max_examples=100, deadline=None)
def test_rounding_a_record_never_increases_its_norm(values: np.ndarray, step: float) -> None:
    steps = to_grid(values, step)
    assert steps.dtype == np.int64
    for whole, value in zip(steps.tolist(), values.tolist(), strict=True):
        back = Fraction(whole) * Fraction(step)
        assert abs(back) <= abs(Fraction(value))
        assert abs(back - Fraction(value)) < Fraction(step)
        assert back * Fraction(value) >= 0


def test_planted_rounding_to_nearest_increases_a_norm() -> None:
    assert np.linalg.norm(round_to_grid([0.2] * 4, 0.25) * 0.25) > np.linalg.norm([0.2] * 4)
    assert np.linalg.norm(to_grid([0.2] * 4, 0.25)) == 0


@given(
    st.integers(1, 12).flatmap(
        lambda n: st.tuples(*[arrays(np.float64, n, elements=st.floats(-1e3, 1e3))] * 2)
    ),
    STEPS,
)
@settings(max_examples=100, deadline=None)
def test_rounding_sums_moves_them_apart_by_no_more_than_its_cost(pair, step: float) -> None:
    a, b = pair
    moved = (round_to_grid(a, step) - round_to_grid(b, step)) * step
    for norm, order in (("l1", 1), ("l2", 2)):
        apart = np.linalg.norm(moved, order) - np.linalg.norm(a - b, order)
        assert apart <= rounding_cost(step, len(a), norm) * (1 + 1e-9)


def test_the_cost_of_rounding_is_reached() -> None:
    a, b = np.full(9, 0.49999), np.full(9, 0.50001)
    moved = round_to_grid(b, 1.0) - round_to_grid(a, 1.0)
    assert np.linalg.norm(moved, 1) == rounding_cost(1.0, 9, "l1") == 9
    assert np.linalg.norm(moved, 2) == rounding_cost(1.0, 9, "l2") == 3


def test_integer_sums_do_not_depend_on_their_order_where_float_sums_do() -> None:
    rows = np.random.default_rng(1).normal(size=10_000) * 10.0 ** np.arange(-5, 5).repeat(1000)
    steps = to_grid(rows, 2.0**-30)
    assert steps.sum() == steps[::-1].sum() == np.random.default_rng(2).permutation(steps).sum()
    assert math.fsum(rows) != sum(rows.tolist())


@pytest.mark.parametrize("values", [[math.nan], [math.inf], [0.0, -math.inf], ["x"]])
def test_numbers_that_are_none_are_refused(values) -> None:
    with pytest.raises(InputError, match="values"):
        to_grid(values, 0.5)


def test_numbers_too_large_for_the_grid_are_refused() -> None:
    with pytest.raises(InputError, match="coarser"):
        to_grid([1e300], 0.5)
    assert to_grid([2.0**62], 1.0)[0] == 1 << 62


@pytest.mark.parametrize("step", [0.1, 0.0, -0.5, 3, math.nan, math.inf, "1", True, 2.0**-1070])
def test_a_grid_whose_step_is_no_power_of_two_is_refused(step) -> None:
    with pytest.raises(InputError, match="granularity"):
        to_grid([1.0], step)


def test_the_power_of_two_below_a_number() -> None:
    assert [power_below(x) for x in (1.0, 1.99, 2.0, 0.3)] == [1.0, 1.0, 2.0, 0.25]


def test_what_should_lie_on_the_grid_and_does_not_is_refused() -> None:
    assert on_grid([0.5, -1.0], 0.5).tolist() == [1, -2]
    with pytest.raises(InputError, match="value 1 lies off the grid"):
        on_grid([0.5, 0.75], 0.5)
    for mechanism in (Gaussian(1.0, 1.0, 2.0**-30), Laplace(1.0, 1.0, 2.0**-30)):
        with pytest.raises(InputError, match="lies off the grid"):
            mechanism.release([0.1])


@pytest.mark.parametrize("neighbours", RELATIONS)
@pytest.mark.parametrize("coordinates", [0, 50])
def test_calibrated_mechanisms_cost_at_most_what_was_asked_for(neighbours, coordinates) -> None:
    for epsilon in (0.001, 0.3, 5.0):
        for step in (None, 2.0**-33):
            budget = Budget(epsilon, 1e-6)
            a = Laplace.calibrate(budget, 0.7, neighbours, step, coordinates)
            spent = accounting.epsilon(a.event, 0.0, neighbours)
            assert epsilon * (1 - 1e-9) <= spent <= epsilon
            b = Gaussian.calibrate(budget, 0.7, neighbours, step, coordinates)
            spent = accounting.epsilon(b.event, 1e-6, neighbours)
            assert epsilon * (1 - 1e-3) <= spent <= epsilon
            times = 2 if neighbours is Neighbours.REPLACE_ONE else 1
            for mechanism in (a, b):
                assert mechanism.sensitivity(neighbours) == times * mechanism.padded_contribution
                assert step in (None, mechanism.granularity)


def test_rounding_after_summation_is_paid_for() -> None:
    step = 2.0**-20
    for make, cost in ((Laplace, 1000 * step), (Gaussian, math.sqrt(1000) * step)):
        exact, rounded = make(20.0, 1.0, step), make(20.0, 1.0, step, 1000)
        assert exact.padded_contribution == 1.0
        assert rounded.padded_contribution == pytest.approx(1.0 + cost, rel=1e-12)
        assert rounded.event.noise_multiplier < exact.event.noise_multiplier
        with pytest.raises(InputError, match="3 values are to be rounded, 1000 were declared"):
            rounded.release([0.1, 0.2, 0.3])
        assert rounded.release(np.full((10, 100), 0.1)).shape == (10, 100)


MECHANISMS = [Laplace(2.0, 1.0, 2.0**-20, 1), Gaussian(2.0, 1.0, 2.0**-30, 1)]


def naive(value: float, n: int) -> np.ndarray:
    """Planted defect: floating-point noise added to the value as it is."""
    return value + np.random.default_rng(1).laplace(size=n)


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, 1e3 + 0.1])
def test_every_value_has_the_same_support_a_public_grid(mechanism, value: float) -> None:
    def on(released: np.ndarray) -> bool:
        steps = released / mechanism.granularity
        return bool(np.array_equal(steps, np.rint(steps)))

    released = np.array([mechanism.release([value], SeededSource(i))[0] for i in range(200)])
    assert on(released)
    assert len(set(released)) == 200
    assert not on(naive(value, 200))


@pytest.mark.parametrize("make", [Laplace, Gaussian])
def test_noise_has_the_distribution_claimed_and_a_draw_for_each_number(make, independent) -> None:
    from scipy.stats import kstest, laplace, norm

    law = {Laplace: laplace, Gaussian: norm}[make]
    mechanism = make(2.0, 1.0, 2.0**-30)
    noise = mechanism.release(np.full((20_000, 6), 3.5), SeededSource(1)) - 3.5
    assert kstest(noise.ravel() / 2.0, law.cdf).pvalue > 1e-6
    assert kstest(noise.ravel() / 2.0 * math.sqrt(2), law.cdf).pvalue < 1e-6  # planted
    assert independent(noise)
    assert not independent(np.repeat(noise[:, :1], 6, axis=1))  # planted: one scalar for all


def discrete_laplace_delta(scale: float, shift: int, epsilon: float) -> float:
    """The hockey stick of discrete Laplace noise moved by ``shift``, summed term by term."""
    x = np.arange(-math.ceil(60 * scale), math.ceil(60 * scale) + shift + 1)
    p = math.tanh(0.5 / scale) * np.exp(-np.abs(x) / scale)
    q = math.tanh(0.5 / scale) * np.exp(-np.abs(x - shift) / scale)
    return math.fsum(np.maximum(p - math.exp(epsilon) * q, 0))


@pytest.mark.parametrize("shift", [1, 2, 3, 7, 50, 51])
def test_noise_on_a_grid_loses_no_more_than_the_continuous_noise_claimed(shift: int) -> None:
    """One step more on the scale covers what the grid adds, at every epsilon."""
    violated = 0
    for k in (10.0, 33.3, 200.0):
        total = shift / k
        for epsilon in np.linspace(0, total, 23)[:-1]:
            continuous = -math.expm1((epsilon - total) / 2)
            assert discrete_laplace_delta(k + 1.0, shift, epsilon) <= continuous * (1 + 1e-12)
            violated += discrete_laplace_delta(k, shift, epsilon) > continuous * (1 + 1e-12)
    assert violated > 0  # planted: without it the claim would be wrong


def test_the_grids_bump_is_drawn() -> None:
    from sfumato.privacy.noise import discrete_laplace

    mechanism = Laplace(1.0, 1.0, 2.0**-20)
    drawn = mechanism.release(np.zeros(9), SeededSource(3)) * 2.0**20
    assert np.array_equal(drawn, discrete_laplace(2.0**20 + 1, 9, SeededSource(3)))


@pytest.mark.parametrize("make", [Laplace, Gaussian])
def test_settings_that_do_not_fit_are_refused(make) -> None:
    for bad in (0, -1.0, math.nan, "1"):
        with pytest.raises(InputError, match=str(bad)):
            make(bad, 1.0, 2.0**-30)
        with pytest.raises(InputError, match=str(bad)):
            make(1.0, bad, 2.0**-30)
        with pytest.raises(InputError, match=str(bad)):
            make.calibrate(Budget(1.0, 1e-6), bad, Neighbours.ADD_REMOVE)
    for step in (2.0**-10, 2.0**-60):
        with pytest.raises(InputError, match="does not suit"):
            make(1.0, 1.0, step)
    with pytest.raises(InputError, match="rounded_coordinates is -1"):
        make(1.0, 1.0, 2.0**-30, -1)


def test_a_contribution_below_the_grid_and_a_missing_delta_are_refused() -> None:
    with pytest.raises(InputError, match="below the grid's step"):
        Laplace(2.0**25, 0.5, 1.0)
    with pytest.raises(InputError, match="delta"):
        Gaussian.calibrate(Budget(1.0), 1.0, Neighbours.ADD_REMOVE)
