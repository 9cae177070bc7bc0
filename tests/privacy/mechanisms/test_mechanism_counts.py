"""DiscreteLaplace and DiscreteGaussian: integer sums."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sfumato.errors import InputError
from sfumato.privacy import accounting
from sfumato.privacy.budget import Budget
from sfumato.privacy.mechanisms import DiscreteGaussian, DiscreteLaplace
from sfumato.privacy.mechanisms.discrete_laplace import scale_for
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import SeededSource, discrete_laplace
from sfumato.privacy.noise.gaussian import privacy_delta
from sfumato.privacy.noise.laplace import MIN_SCALE

RELATIONS = list(Neighbours)


@pytest.mark.parametrize("neighbours", RELATIONS)
@pytest.mark.parametrize("epsilon", [0.01, 0.1, 1 / 3, 1.0, 7.0])
@pytest.mark.parametrize("contribution", [1, 3, 10])
def test_laplace_calibrated_costs_what_was_asked_for_and_no_more(
    neighbours: Neighbours, epsilon: float, contribution: int
) -> None:
    mechanism = DiscreteLaplace.calibrate(Budget(epsilon), contribution, neighbours)
    spent = accounting.epsilon(mechanism.event, 0.0, neighbours)
    assert epsilon * (1 - 1e-12) <= spent <= epsilon
    times = 2 if neighbours is Neighbours.REPLACE_ONE else 1
    assert mechanism.sensitivity(neighbours) == times * contribution


def test_an_epsilon_too_large_to_be_drawn_is_simply_not_spent() -> None:
    mechanism = DiscreteLaplace.calibrate(Budget(1000.0), 1, Neighbours.ADD_REMOVE)
    assert mechanism.scale == MIN_SCALE
    assert accounting.epsilon(mechanism.event, 0.0, Neighbours.ADD_REMOVE) == 32.0


@pytest.mark.parametrize("neighbours", RELATIONS)
@pytest.mark.parametrize("shape", ["vector", "cell", "scalar"])
def test_gaussian_calibrated_costs_at_most_what_was_asked_for(neighbours, shape) -> None:
    budget = Budget(0.8, 1e-6)
    mechanism = DiscreteGaussian.calibrate(budget, 2, neighbours, shape)
    spent = accounting.epsilon(mechanism.event, budget.delta, neighbours)
    assert 0.99 * budget.epsilon <= spent <= budget.epsilon
    times = 2 if neighbours is Neighbours.REPLACE_ONE else 1
    assert mechanism.sensitivity(neighbours) == times * 2
    # The table drawn from keeps the claim (a single coordinate moved as far as it can be).
    shift = int(mechanism.sensitivity(neighbours)) if shape != "cell" else 2
    assert privacy_delta(mechanism.stddev, shift, budget.epsilon) <= budget.delta


def test_less_is_known_of_a_vector_than_of_a_histogram_cell() -> None:
    budget = Budget(1.0, 1e-6)
    cell, vector = (
        DiscreteGaussian.calibrate(budget, 1, Neighbours.ADD_REMOVE, shape).stddev
        for shape in ("cell", "vector")
    )
    assert cell < vector


def test_noise_falls_as_epsilon_grows() -> None:
    scales = [
        DiscreteLaplace.calibrate(Budget(e), 1, Neighbours.ADD_REMOVE).scale for e in (0.1, 1, 9)
    ]
    stddevs = [
        DiscreteGaussian.calibrate(Budget(e, 1e-6), 1, Neighbours.ADD_REMOVE).stddev
        for e in (0.1, 1.0, 9.0)
    ]
    assert scales == sorted(scales, reverse=True)
    assert stddevs == sorted(stddevs, reverse=True)


MECHANISMS = [DiscreteLaplace(4.0, 1), DiscreteGaussian(4.0, 1.0)]


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_every_cell_gets_noise_of_its_own(mechanism, independent) -> None:
    counts = np.tile(np.arange(12).reshape(3, 4), (20_000, 1, 1))
    noise = mechanism.release(counts, SeededSource(1)) - counts
    assert noise.dtype == np.int64
    assert independent(noise.reshape(20_000, 12))
    # Planted: one number for the whole table.
    shared = np.repeat(noise[:, :1, :1], 12, axis=1).reshape(20_000, 12)
    assert not independent(shared)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_an_audit_of_one_count_stays_below_the_claim_and_catches_half_the_noise(
    mechanism, audit
) -> None:
    n = 200_000
    delta = 0.0 if isinstance(mechanism, DiscreteLaplace) else 0.01
    claim = accounting.epsilon(mechanism.event, delta, Neighbours.ADD_REMOVE)

    def bound(true: type) -> float:
        a = true.release(np.zeros(n, np.int64), SeededSource(1))
        b = true.release(np.ones(n, np.int64), SeededSource(2))
        return audit(a, b, delta)

    assert bound(mechanism) <= claim
    if delta == 0:
        half = DiscreteLaplace(mechanism.scale / 2, 1)  # planted: noise for half the sensitivity
        assert bound(half) > claim


def test_shapes_of_nothing_and_of_a_single_number_are_kept() -> None:
    for mechanism in MECHANISMS:
        assert mechanism.release(np.zeros((2, 0), np.int64)).shape == (2, 0)
        assert mechanism.release(5).shape == ()
        assert mechanism.release([1, 2, 3]).shape == (3,)


def test_a_laplace_scale_is_rounded_up_and_never_down() -> None:
    for sensitivity in (1, 3, 7, 999):
        for epsilon in np.linspace(0.05, 3.0, 300):
            scale = scale_for(sensitivity, float(epsilon))
            assert sensitivity / scale <= epsilon
            assert scale <= sensitivity / epsilon * (1 + 1e-15)


def test_noise_comes_from_the_source_given() -> None:
    mechanism = DiscreteLaplace(2.0, 1)
    expected = discrete_laplace(2.0, 5, SeededSource(9)) + 7
    assert np.array_equal(mechanism.release([7] * 5, SeededSource(9)), expected)


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize(
    "values", [[1.5], [math.nan], ["a"], [True], np.array([1 << 63], np.uint64), [-(1 << 63)]]
)
def test_values_that_are_no_integers_or_too_large_are_refused(mechanism, values) -> None:
    with pytest.raises(InputError, match="values"):
        mechanism.release(values)


@pytest.mark.parametrize("bad", [0, -1.0, math.nan, math.inf, "1", None, True])
def test_parameters_out_of_range_are_refused(bad) -> None:
    name = str(bad)
    for make in (
        lambda: DiscreteLaplace(bad, 1),
        lambda: DiscreteGaussian(bad, 1.0),
        lambda: DiscreteGaussian(1.0, bad),
        lambda: DiscreteLaplace(1.0, bad),
        lambda: DiscreteLaplace.calibrate(Budget(1.0), bad, Neighbours.ADD_REMOVE),
        lambda: DiscreteGaussian.calibrate(Budget(1.0, 1e-6), bad, Neighbours.ADD_REMOVE),
    ):
        with pytest.raises(InputError, match=name):
            make()


def test_noise_that_cannot_be_drawn_is_refused_before_anything_is_spent() -> None:
    for bad in (1e-3, 1e20):
        with pytest.raises(InputError, match="grid steps"):
            DiscreteLaplace(bad, 1)
        with pytest.raises(InputError, match="grid steps"):
            DiscreteGaussian(bad, 1.0)


def test_gaussian_noise_without_a_delta_or_with_an_unfitting_shape_is_refused() -> None:
    with pytest.raises(InputError, match="delta"):
        DiscreteGaussian.calibrate(Budget(1.0), 1, Neighbours.ADD_REMOVE)
    with pytest.raises(InputError, match="contribution"):
        DiscreteGaussian(1.0, 1.5, "cell")
    with pytest.raises(InputError, match="shape"):
        DiscreteGaussian(1.0, 1.5, "sphere")  # type: ignore[arg-type]
