"""The loss of a minimiser with a random linear term, alone and composed, against sums."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from sfumato.errors import InputError
from sfumato.privacy import accounting
from sfumato.privacy.accounting import gaussian
from sfumato.privacy.events import GaussianDpEvent, ObjectiveDpEvent, compose, repeat
from sfumato.privacy.neighbours import Neighbours

REPLACE = Neighbours.REPLACE_ONE


def expected(epsilon: float, ratio: float, determinants: float, dimensions: int) -> float:
    """The expectation by quadrature."""
    from scipy.integrate import quad

    law = stats.chi(dimensions)
    start = max(0.0, (epsilon - determinants - ratio**2 / 2) / ratio)

    def inside(x: float) -> float:
        loss = determinants + ratio * x + ratio**2 / 2
        return float(law.pdf(x) * -np.expm1(epsilon - loss))

    return float(quad(inside, start, start + 15, epsabs=0, limit=400)[0])


@pytest.mark.parametrize(("dimensions", "determinants"), [(1, 0.0), (2, 0.05), (18, 0.1)])
def test_epsilon_is_where_the_expectation_is_delta(dimensions: int, determinants: float) -> None:
    for multiplier in (3.0, 20.0):
        event = ObjectiveDpEvent(multiplier, determinants, dimensions)
        for delta in (1e-3, 1e-6):
            found = accounting.epsilon(event, delta, REPLACE)
            at = expected(found, 2 / multiplier, determinants, dimensions)
            assert at <= delta
            below = expected(found * (1 - 2e-3), 2 / multiplier, determinants, dimensions)
            assert below > delta


def test_it_is_never_less_than_a_gaussian_of_the_same_distance() -> None:
    for delta in (1e-3, 1e-6, 1e-9):
        one = accounting.epsilon(ObjectiveDpEvent(5.0, 0.0, 1), delta, REPLACE)
        assert one >= gaussian.epsilon(delta, 2 / 5.0)


@pytest.mark.parametrize("multiplier", [0.01, 0.05, 0.058, 0.07])
def test_losses_beyond_what_exp_holds_are_never_accounted_for_less(multiplier: float) -> None:
    """Half the squared ratio is lost at least; epsilon was 0 where the exponential overflowed."""
    event = ObjectiveDpEvent(multiplier, 0.0, 4)
    for found in (event, compose(event, GaussianDpEvent(50.0))):
        assert accounting.epsilon(found, 1e-5, REPLACE) > (2 / multiplier) ** 2 / 2
        assert accounting.max_tpr(found, 1e-3, REPLACE) == 1.0


def test_two_of_them_cost_less_than_twice_one_and_more_than_one() -> None:
    event = ObjectiveDpEvent(10.0, 0.02, 4)
    once, twice = (accounting.epsilon(repeat(event, n), 1e-6, REPLACE) for n in (1, 2))
    assert 1.2 * once < twice < 2 * once
    mixed = accounting.epsilon(compose(event, GaussianDpEvent(50.0)), 1e-6, REPLACE)
    assert once < mixed < once + accounting.epsilon(GaussianDpEvent(50.0), 1e-6, REPLACE)


def test_it_is_proven_for_a_replaced_record_alone() -> None:
    with pytest.raises(InputError, match="replaced"):
        accounting.epsilon(ObjectiveDpEvent(10.0, 0.02, 4), 1e-6, Neighbours.ADD_REMOVE)
    with pytest.raises(InputError, match="dimensions"):
        ObjectiveDpEvent(10.0, 0.02, 0)
    with pytest.raises(InputError, match="noise_multiplier"):
        ObjectiveDpEvent(0.0, 0.02, 2)


def test_no_attack_does_better_than_the_profile_allows() -> None:
    event = ObjectiveDpEvent(5.0, 0.05, 4)
    for fpr in (1e-3, 0.1, 0.5):
        tpr = accounting.max_tpr(event, fpr, REPLACE)
        assert fpr < tpr < 1
        assert math.isclose(accounting.max_tpr(event, 1.0, REPLACE), 1.0)
