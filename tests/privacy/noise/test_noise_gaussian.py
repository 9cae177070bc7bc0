from __future__ import annotations

import math

import numpy as np
import pytest

from sfumato.errors import InputError
from sfumato.privacy.noise import SECURE, SeededSource, discrete_gaussian, gaussian
from sfumato.privacy.noise import gaussian as function  # the package exports the function
from sfumato.privacy.noise.gaussian import (
    MAX_STDDEV,
    MIN_STDDEV,
    TAIL,
    grid_step,
    privacy_delta,
    probabilities,
)

assert function is gaussian


def mass(stddev: float):
    reach = np.arange(-math.ceil(40 * stddev), math.ceil(40 * stddev) + 1)
    total = np.exp(-(reach**2) / (2 * stddev**2)).sum()
    return lambda x: np.exp(-(np.asarray(x, float) ** 2) / (2 * stddev**2)) / total


@pytest.fixture
def module():
    import sys

    return sys.modules["sfumato.privacy.noise.gaussian"]


@pytest.fixture
def coarse(module, monkeypatch):
    """Cells as wide as a third of the standard deviation, so that acceptance does much."""
    monkeypatch.setattr(module, "_ONE_TABLE", 4.0)
    return module


@pytest.mark.parametrize("stddev", [MIN_STDDEV, 0.5, 1.0, 7.3, 200.0, 1024.0])
def test_the_table_is_the_formula_but_for_less_than_the_stated_tail(stddev: float) -> None:
    values, p = probabilities(stddev)
    assert np.allclose(p, mass(stddev)(values), rtol=1e-12, atol=1e-35)
    assert np.allclose(p, p[::-1], rtol=0, atol=2.0**-126)
    assert missing(stddev, len(p)) <= TAIL


def missing(stddev: float, entries: int) -> float:
    """Mass beyond the table (by the continuous tail, from half a step inside), and its rounding."""
    reach = (entries - 1) / 2
    return math.erfc((reach + 0.5) / stddev / math.sqrt(2)) + entries * 2.0**-129


def test_planted_a_tail_cut_without_accounting_is_caught(module, monkeypatch) -> None:
    """At a large epsilon nothing but the cut tail gives a shift away."""
    allowed = ideal_delta(3.1, 2, 12.0) + (1 + math.exp(12.0)) * TAIL
    assert 0 < privacy_delta(3.1, 2, 12.0) <= allowed
    monkeypatch.setattr(module, "_REACH", 6)
    module._whole_table.cache_clear()
    _, p = probabilities(3.1)
    delta = privacy_delta(3.1, 2, 12.0)
    module._whole_table.cache_clear()
    assert missing(3.1, len(p)) > TAIL
    assert delta > allowed


def ideal_delta(stddev: float, shift: int, epsilon: float) -> float:
    """The hockey stick of the formula, far beyond where any table ends."""
    x = np.arange(-math.ceil(30 * stddev), math.ceil(30 * stddev) + shift + 1)
    p = mass(stddev)
    return math.fsum(np.maximum(p(x) - math.exp(epsilon) * p(x - shift), 0))


@pytest.mark.parametrize(
    ("stddev", "shift"), [(0.8, 1), (1.0, 1), (10.0, 1), (40.0, 15), (900.0, 500)]
)
@pytest.mark.parametrize("epsilon", [0.0, 0.1, 1.0, 5.0])
def test_the_loss_of_the_table_in_use_is_that_of_the_formula(
    stddev: float, shift: int, epsilon: float
) -> None:
    actual = privacy_delta(stddev, shift, epsilon)
    assert actual == pytest.approx(ideal_delta(stddev, shift, epsilon), rel=1e-9, abs=1e-15)
    assert privacy_delta(stddev, -shift, epsilon) == actual
    # Planted: a table off by the square root of two is not.
    wrong = privacy_delta(stddev / math.sqrt(2), shift, epsilon)
    assert wrong > ideal_delta(stddev, shift, epsilon) * 1.2 or wrong < 1e-15


@pytest.mark.parametrize("stddev", [30.0, 300.0])
@pytest.mark.parametrize("mu", [0.3, 1.0])
def test_on_a_fine_grid_the_loss_is_that_of_the_continuous_gaussian(
    stddev: float, mu: float
) -> None:
    from scipy.stats import norm

    shift = round(mu * stddev)
    mu = shift / stddev
    for epsilon in (0.1, 0.5, 2.0):
        continuous = norm.cdf(mu / 2 - epsilon / mu) - math.exp(epsilon) * norm.cdf(
            -mu / 2 - epsilon / mu
        )
        assert privacy_delta(stddev, shift, epsilon) == pytest.approx(continuous, rel=5e-3)


def test_the_loss_agrees_with_dp_accountings() -> None:
    from dp_accounting.pld.privacy_loss_mechanism import DiscreteGaussianPrivacyLoss

    for stddev, shift in ((1.5, 1), (20.0, 9)):
        theirs = DiscreteGaussianPrivacyLoss(stddev, sensitivity=shift)
        for epsilon in (0.2, 1.0):
            expected = theirs.get_delta_for_epsilon(epsilon)
            assert privacy_delta(stddev, shift, epsilon) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("stddev", [MIN_STDDEV, 0.4, 1.0, 60.0, 1000.0, 1500.0])
def test_draws_follow_the_formula(stddev: float, fits) -> None:
    draws = discrete_gaussian(stddev, 400_000, SeededSource(1))
    assert fits(draws, mass(stddev))
    if stddev >= 0.4:
        wrong = discrete_gaussian(stddev * math.sqrt(2), 400_000, SeededSource(2))
        assert not fits(wrong, mass(stddev))  # planted: a variance taken for twice itself
        assert not fits(np.full(400_000, draws[0]), mass(stddev))  # planted: one draw for all


@pytest.mark.parametrize("stddev", [4.5, 17.0, 64.0])
def test_draws_by_cells_follow_the_formula(stddev: float, fits, coarse, monkeypatch) -> None:
    draws = discrete_gaussian(stddev, 400_000, SeededSource(1))
    assert fits(draws, mass(stddev))
    # Planted: every place in a cell accepted.
    monkeypatch.setattr(coarse, "_accept", lambda p, *_: np.ones(len(p), np.bool_))
    assert not fits(discrete_gaussian(stddev, 400_000, SeededSource(1)), mass(stddev))


def test_planted_zero_with_two_signs_is_caught(fits, coarse, monkeypatch) -> None:
    honest = coarse._propose

    def careless(stddev, n, source):
        values, kept = honest(stddev, n, source)
        return values, kept | (values == 0)

    monkeypatch.setattr(coarse, "_propose", careless)
    assert not fits(discrete_gaussian(5.0, 400_000, SeededSource(1)), mass(5.0))


@pytest.mark.parametrize("stddev", [1025.0, 2048.0, 1e6, 1.7e12, MAX_STDDEV])
def test_large_draws_are_normal(stddev: float) -> None:
    from scipy.stats import kstest

    draws = discrete_gaussian(stddev, 200_000, SeededSource(4)) / stddev
    assert kstest(draws, "norm").pvalue > 1e-6
    assert kstest(draws * math.sqrt(2), "norm").pvalue < 1e-6
    # All the places of a cell come up: the last bits are fair (beyond 5.1 sd: 4e-7).
    odd = (discrete_gaussian(stddev, 200_000, SeededSource(5)) % 2).sum()
    assert abs(odd - 100_000) < 5.1 * math.sqrt(50_000)


@pytest.mark.parametrize("stddev", [0.9, 30.0, 3000.0])
def test_draws_agree_with_those_of_opendp(stddev: float, agree) -> None:
    import opendp.prelude as dp

    dp.enable_features("contrib")
    space = dp.vector_domain(dp.atom_domain(T="i64")), dp.l2_distance(T="f64")
    theirs = np.array(dp.m.make_gaussian(*space, stddev)([0] * 40_000))
    assert agree(discrete_gaussian(stddev, 400_000, SECURE), theirs)
    wrong = discrete_gaussian(stddev * math.sqrt(2), 400_000, SeededSource(2))
    assert not agree(wrong, theirs)


def test_acceptance_is_decided_to_the_last_bit(module, scripted) -> None:
    # 0.6 in 4 bits is 9.6: nine coins accept, the tenth accepts with probability 0.6.
    p = np.full(4, 0.6)
    coin = np.array([8, 9, 9, 10])
    border = int(math.ldexp(math.ldexp(0.6, 4) - 9, 64))
    assert module._accept(p, coin, 4, scripted([border - 1, border])).tolist() == [
        True,
        True,
        False,
        False,
    ]


def test_float_noise_lies_on_a_public_grid_that_the_stddev_alone_decides() -> None:
    for stddev in (1.0, 0.3, 5e-7, 1e200, 1e-200):
        step = grid_step(stddev)
        assert math.frexp(step)[0] == 0.5
        assert 2.0**40 <= stddev / step < 2.0**41
        draws = gaussian(stddev, 1000, SECURE)
        assert draws.dtype == np.float64
        assert np.array_equal(draws / step, np.rint(draws / step))


def test_float_noise_has_the_stddev_asked_for_and_independent_draws() -> None:
    from scipy.stats import kstest

    draws = gaussian(0.37, 200_000, SeededSource(6))
    assert kstest(draws / 0.37, "norm").pvalue > 1e-6
    assert kstest(draws / 0.37 * 1.05, "norm").pvalue < 1e-6  # planted: five per cent too little
    correlation = np.corrcoef(draws[:-1], draws[1:])[0, 1]
    assert abs(correlation) < 4.9 / math.sqrt(len(draws))  # false alarm 1e-6


def test_no_draws_are_an_empty_array() -> None:
    for stddev in (1.0, 5000.0):
        assert discrete_gaussian(stddev, 0, SECURE).shape == (0,)
    assert gaussian(1.0, 0, SECURE).shape == (0,)


@pytest.mark.parametrize("stddev", [0, -1.0, float("nan"), float("inf"), 0.01, 1e15])
def test_a_stddev_out_of_range_is_refused(stddev: float) -> None:
    with pytest.raises(InputError, match=r"stddev is"):
        discrete_gaussian(stddev, 1, SECURE)


@pytest.mark.parametrize("stddev", [0, -1.0, float("nan"), float("inf")])
def test_float_noise_without_a_scale_is_refused(stddev: float) -> None:
    with pytest.raises(InputError, match=r"stddev is"):
        gaussian(stddev, 1, SECURE)
    with pytest.raises(InputError, match=r"stddev is"):
        probabilities(stddev)
