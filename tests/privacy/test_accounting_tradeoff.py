"""The ceiling on attacks: above every test, below nothing it should be, and its GDP summary."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr, ndtri

from sfumato.errors import InputError
from sfumato.privacy import accounting
from sfumato.privacy import events as ev
from sfumato.privacy.accounting import terms, tradeoff
from sfumato.privacy.neighbours import Neighbours

AR, RO, ZO = Neighbours.ADD_REMOVE, Neighbours.REPLACE_ONE, Neighbours.ZERO_OUT
RATES = (0.0, 1e-6, 1e-3, 0.01, 0.1, 0.3, 0.5, 0.9, 1.0)


def sampled(rate: float, noise: float, steps: int) -> ev.DpEvent:
    return ev.repeat(ev.PoissonSampledDpEvent(rate, ev.GaussianDpEvent(noise)), steps)


EVENTS = [
    ev.GaussianDpEvent(2.0),
    ev.repeat(ev.LaplaceDpEvent(3.0), 4),
    ev.DiscreteGaussianDpEvent(3.0, 2.0),
    ev.DiscreteGaussianDpEvent(3.0, 2, "cell"),
    ev.PureDpEvent(0.8, "add-remove"),
    ev.ApproximateDpEvent(0.8, 1e-3, "add-remove"),
    sampled(0.05, 1.0, 100),
    ev.compose(ev.GaussianDpEvent(4.0), ev.LaplaceDpEvent(3.0), sampled(0.1, 2.0, 10)),
]


@pytest.mark.parametrize("relation", [AR, RO])
@pytest.mark.parametrize("event", EVENTS)
def test_the_ceiling_is_a_concave_curve_above_the_diagonal(
    event: ev.DpEvent, relation: Neighbours
) -> None:
    rates = np.linspace(0, 1, 41)
    ceiling = np.array([accounting.max_tpr(event, float(rate), relation) for rate in rates])
    assert np.all(ceiling >= rates)
    assert np.all(ceiling <= 1)
    assert np.all(np.diff(ceiling) >= -1e-12)
    assert np.all(np.diff(ceiling, 2) <= 1e-9)


def test_the_ceiling_against_gaussian_noise_is_exact() -> None:
    for rate in RATES:
        expected = ndtr(ndtri(rate) + 0.5)
        assert accounting.max_tpr(ev.GaussianDpEvent(2.0), rate, AR) == pytest.approx(expected)
    pair = terms.Gaussian(0.5).pair(1e-4)
    for rate in RATES[1:-1]:
        assert tradeoff.max_tpr(pair, rate) == pytest.approx(ndtr(ndtri(rate) + 0.5), rel=1e-6)
        assert tradeoff.max_tpr(pair, rate) >= ndtr(ndtri(rate) + 0.5) * (1 - 1e-12)


def test_the_ceiling_against_randomised_response_is_exact() -> None:
    event = ev.RandomizedResponseDpEvent(0.5, 2)  # the truth with probability 3/4
    for rate, expected in ((0.0, 0.0), (0.1, 0.3), (0.25, 0.75), (0.5, 5 / 6), (1.0, 1.0)):
        assert accounting.max_tpr(event, rate, RO) == pytest.approx(expected, abs=1e-12)
    # With probability delta all is revealed, and nothing otherwise.
    shown = ev.ApproximateDpEvent(0.0, 0.1, "replace-one")
    for rate in (0.0, 0.1, 0.5, 0.95):
        assert accounting.max_tpr(shown, rate, RO) == pytest.approx(min(1.0, rate + 0.1))


def best_test(upper: np.ndarray, lower: np.ndarray, fpr: float) -> float:
    """Neyman and Pearson's test on a finite list of outcomes."""
    order = np.argsort(-upper / lower)
    spent = np.concatenate([[0.0], np.cumsum(lower[order])])
    gained = np.concatenate([[0.0], np.cumsum(upper[order])])
    return float(np.interp(fpr, spent, gained))


def check_no_attack_beats(ceiling: Callable[[ev.DpEvent, float, Neighbours], float]) -> None:
    x = np.arange(-30, 31)
    noise = np.exp(-(x**2) / (2 * 2.0**2))
    shifted = np.exp(-((x - 1) ** 2) / (2 * 2.0**2))
    two = np.outer(noise, noise).ravel(), np.outer(shifted, shifted).ravel()
    out, member = two[0] / two[0].sum(), two[1] / two[1].sum()
    mixed = 0.7 * noise / noise.sum() + 0.3 * shifted / shifted.sum()
    cell = ev.DiscreteGaussianDpEvent(2.0, 1, "cell")
    for rate in (1e-4, 1e-3, 0.01, 0.1, 0.5):
        attack = best_test(member, out, rate)
        assert ceiling(ev.repeat(cell, 2), rate, AR) >= attack * (1 - 1e-9)
        assert ceiling(ev.repeat(cell, 2), rate, AR) <= attack * 1.01
        assert ceiling(cell, rate, RO) >= attack * (1 - 1e-9)
        once = best_test(mixed, noise / noise.sum(), rate)
        assert ceiling(ev.PoissonSampledDpEvent(0.3, cell), rate, AR) >= once * (1 - 1e-9)


def test_no_attack_on_integer_noise_beats_the_ceiling() -> None:
    check_no_attack_beats(accounting.max_tpr)


def test_a_ceiling_of_too_much_noise_is_caught() -> None:
    def stretched(event: ev.DpEvent, fpr: float, relation: Neighbours) -> float:
        return fpr + 0.97 * (accounting.max_tpr(event, fpr, relation) - fpr)

    with pytest.raises(AssertionError):
        check_no_attack_beats(stretched)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(EVENTS), st.floats(0, 1), st.floats(0, 5), st.sampled_from([AR, RO]))
def test_the_ceiling_keeps_every_epsilon_and_delta(
    event: ev.DpEvent, fpr: float, epsilon: float, relation: Neighbours
) -> None:
    tpr = accounting.max_tpr(event, fpr, relation)
    delta = accounting.delta(event, epsilon, relation)
    # Between grid points the divergence is a chord: the ceiling is at most this much larger.
    assert tpr <= delta + math.exp(epsilon) * fpr + 1e-7
    assert 1 - fpr <= delta + math.exp(epsilon) * (1 - tpr) + 1e-7


@pytest.mark.parametrize("fpr", [-0.1, 1.1, math.nan, "0.1"])
def test_a_false_positive_rate_out_of_range_is_refused(fpr: Any) -> None:
    with pytest.raises(InputError, match="false positive rate"):
        accounting.max_tpr(EVENTS[0], fpr, AR)


def test_mu_of_pure_noise_is_that_of_one_bit() -> None:
    for epsilon in (1e-6, 0.1, 1.0, 5.0, 50.0):
        expected = -2 * ndtri(1 / (1 + math.exp(epsilon)))
        event = ev.PureDpEvent(epsilon, "replace-one")
        assert accounting.gdp_mu(event, RO) == pytest.approx(expected, rel=1e-9, abs=1e-15)
    laplace = accounting.gdp_mu(ev.LaplaceDpEvent(1.0), AR)
    assert laplace is not None
    assert 0.9 < laplace < -2 * ndtri(1 / (1 + math.e))


def test_mu_dominates_the_trade_off_curve_and_touches_it() -> None:
    for event in EVENTS:
        mu = accounting.gdp_mu(event, AR)
        if isinstance(event, ev.ApproximateDpEvent):
            assert mu is None  # one in a thousand is revealed
            continue
        assert mu is not None
        rates = np.concatenate([np.geomspace(2e-8, 0.01, 40), np.linspace(0.01, 0.99, 197)])
        ceiling = np.array([accounting.max_tpr(event, float(rate), AR) for rate in rates])
        gaussian = ndtr(ndtri(rates) + mu)
        assert np.all(ceiling <= gaussian * (1 + 1e-9) + 1e-12)
        smaller = ndtr(ndtri(rates) + mu * 0.95)
        assert np.any(ceiling > smaller)


def test_mu_of_what_is_told_apart_with_hardly_an_error_is_none() -> None:
    assert tradeoff.gdp_mu(terms.Gaussian(15.0).pair(1e-3)) is None
    assert tradeoff.gdp_mu(terms.Gaussian(10.0).pair(1e-3)) == pytest.approx(10.0, rel=1e-3)
    assert accounting.gdp_mu(ev.GaussianDpEvent(0.05), AR) == pytest.approx(20.0)


def test_mu_of_a_mixture_with_a_little_revealed_is_none() -> None:
    leaky = ev.compose(ev.GaussianDpEvent(2.0), ev.ApproximateDpEvent(0.1, 1e-6, "add-remove"))
    assert accounting.gdp_mu(leaky, AR) is None
    assert accounting.gdp_regret(leaky, AR) is None


def test_regret_is_nothing_for_gaussian_noise_and_small_for_long_training() -> None:
    assert accounting.gdp_regret(ev.repeat(ev.GaussianDpEvent(2.0), 9), AR) == 0
    training = accounting.gdp_regret(sampled(0.01, 4.0, 10_000), AR)
    assert training is not None
    assert 0 < training < 2e-3  # 4.6e-4 in the paper's tool, with its own mu
    one_bit = accounting.gdp_regret(ev.PureDpEvent(3.0, "replace-one"), RO)
    assert one_bit is not None
    assert one_bit > 0.01  # a corner is far from any Gaussian


def test_regret_is_the_shift_at_which_the_curves_meet() -> None:
    """One bit: f = max(1 - e^eps x, e^-eps (1 - x)) against the Gaussian through its corner."""
    epsilon = 1.0
    event = ev.PureDpEvent(epsilon, "replace-one")
    mu, shift = accounting.gdp_mu(event, RO), accounting.gdp_regret(event, RO)
    assert mu is not None
    assert shift is not None
    x = np.linspace(0, 1, 20_001)

    def excess(by: float) -> float:
        moved = np.minimum(x + by, 1)
        curve = np.maximum.reduce(
            [np.zeros_like(x), 1 - math.exp(epsilon) * moved, math.exp(-epsilon) * (1 - moved)]
        )
        return float(np.max(curve - by - ndtr(-ndtri(x) - mu)))

    assert excess(shift * 1.02) <= 1e-6
    assert excess(shift * 0.98) > 1e-6
