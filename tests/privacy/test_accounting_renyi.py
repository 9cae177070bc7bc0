"""Renyi accounting: the published noise scales, and never below the privacy loss distribution."""

from __future__ import annotations

import math

import numpy as np
import pytest
from dp_accounting.rdp import RdpAccountant
from dp_accounting.rdp.rdp_privacy_accountant import DEFAULT_RDP_ORDERS
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp

from sfumato.errors import InputError
from sfumato.privacy import accounting
from sfumato.privacy import events as ev
from sfumato.privacy.accounting import terms
from sfumato.privacy.accounting.renyi import ORDERS
from sfumato.privacy.neighbours import Neighbours

AR, RO, ZO = Neighbours.ADD_REMOVE, Neighbours.REPLACE_ONE, Neighbours.ZERO_OUT


def sampled(rate: float, noise: float, steps: int) -> ev.DpEvent:
    return ev.repeat(ev.PoissonSampledDpEvent(rate, ev.GaussianDpEvent(noise)), steps)


# generative.md 2.2: rate, steps, delta, sigma at epsilon 1 and at epsilon 10, by Renyi accounting.
CALIBRATED = {
    "DPDM": (4096 / 60_000, 4_394, 1e-5, 18.35, 2.51),
    "DPImageBench": (4096 / 55_000, 2_014, 1.67e-6, 14.86, 2.03),
    "DP-GAN": (256 / 60_000, 60_000, 1e-5, 4.29, 0.84),
    "DP-GAN SoK": (64 / 60_000, 42_188, 1e-5, 1.12, 0.51),
    "PSG 1": (256 / 60_000, 10_000, 1e-5, 1.88, 0.60),
    "PSG 10": (256 / 60_000, 100_000, 1e-5, 5.51, 0.97),
    "VAE": (0.01, 6_000, 1e-5, 3.24, 0.74),
    "CVAE": (500 / 32_561, 1_954, 1e-5, 2.88, 0.72),
    "DP-Sinkhorn": (50 / 60_000, 100_000, 1e-5, 1.27, 0.52),
}


@pytest.mark.parametrize("setting", CALIBRATED)
def test_published_noise_scales_have_their_epsilon_within_two_percent(setting: str) -> None:
    rate, steps, delta, *sigmas = CALIBRATED[setting]
    for epsilon, sigma in zip((1.0, 10.0), sigmas, strict=True):
        more, less = (
            accounting.rdp_epsilon(sampled(rate, sigma * factor, steps), delta, AR)
            for factor in (1.02, 0.98)
        )
        assert more < epsilon < less


def test_the_old_conversion_gives_the_old_epsilon() -> None:
    """Why epsilons of papers from 2016 are a third larger: eps = r + ln(1/delta)/(alpha - 1)."""
    orders = np.array(DEFAULT_RDP_ORDERS)
    divergences = 10_000 * terms.SampledGaussian(0.01, 4.0, False).renyi(orders)
    old = float(np.min(divergences - math.log(1e-5) / (orders - 1)))
    assert old == pytest.approx(1.2586, rel=1e-3)
    assert accounting.rdp_epsilon(sampled(0.01, 4.0, 10_000), 1e-5, AR) < 0.85 * old


@pytest.mark.parametrize(
    "event",
    [
        ev.GaussianDpEvent(1.5),
        ev.repeat(ev.LaplaceDpEvent(2.0), 9),
        ev.ZCDpEvent(0.2, 0.01),
        sampled(0.02, 0.9, 300),
        ev.compose(ev.GaussianDpEvent(1.5), ev.LaplaceDpEvent(2.0), sampled(0.1, 2.0, 5)),
    ],
)
def test_the_renyi_epsilon_is_that_of_dp_accounting_at_the_same_orders(event: ev.DpEvent) -> None:
    for delta in (1e-3, 1e-8):
        library = RdpAccountant(ORDERS).compose(event).get_epsilon(delta)
        expected = min(library, accounting.epsilon(event, 0.0, AR))  # a sum of pure bounds
        assert accounting.rdp_epsilon(event, delta, AR) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("relation", [RO, ZO])
def test_repeated_randomised_response_counts_every_repetition(relation: Neighbours) -> None:
    event = ev.RandomizedResponseDpEvent(0.7, 5)
    library = RdpAccountant(ORDERS, relation.relation).compose(event, 12).get_epsilon(1e-5)
    assert accounting.rdp_epsilon(ev.repeat(event, 12), 1e-5, relation) == pytest.approx(library)
    assert accounting.epsilon(ev.repeat(event, 12), 1e-5, relation) <= library


def numeric_renyi(upper: np.ndarray, lower: np.ndarray, order: float) -> float:
    """From logarithms of (unnormalised) probabilities."""
    upper, lower = upper - logsumexp(upper), lower - logsumexp(lower)
    return float(logsumexp(order * upper + (1 - order) * lower)) / (order - 1)


def test_divergences_of_integer_noise_are_those_of_its_outcomes() -> None:
    orders = np.array([1.5, 2.0, 8.0])
    x = np.arange(-80, 81)
    for parameter, shift in ((0.7, 1), (0.7, 3), (0.2, 7)):
        masses = [-parameter * abs(x - at) for at in (0, shift)]
        claimed = terms.DiscreteLaplace(parameter, shift).renyi(orders)
        for order, value in zip(orders, claimed, strict=True):
            assert value == pytest.approx(numeric_renyi(*masses, order), rel=1e-6)
    for stddev, shift in ((0.4, 1), (1.0, 2), (3.0, 5)):
        masses = [-((x - at) ** 2) / (2 * stddev**2) for at in (0, shift)]
        claimed = terms.DiscreteGaussian(stddev, shift).renyi(orders)
        for order, value in zip(orders, claimed, strict=True):
            assert value >= numeric_renyi(*masses, order) * (1 - 1e-9)


noise = st.floats(0.3, 20)
parts = st.one_of(
    noise.map(ev.GaussianDpEvent),
    noise.map(ev.LaplaceDpEvent),
    st.builds(ev.DiscreteLaplaceDpEvent, st.floats(0.05, 2), st.integers(1, 5)),
    st.builds(ev.DiscreteGaussianDpEvent, noise, st.integers(1, 4).map(float)),
    st.builds(
        ev.DiscreteGaussianDpEvent, noise, st.integers(1, 4), st.sampled_from(["cell", "scalar"])
    ),
    st.builds(ev.PureDpEvent, st.floats(0.01, 3), st.just("add-remove")),
    st.builds(ev.ApproximateDpEvent, st.floats(0.01, 3), st.just(1e-9), st.just("add-remove")),
    st.builds(ev.ZCDpEvent, st.floats(1e-3, 1), st.sampled_from([0.0, 0.05])),
)
add_remove_parts = st.one_of(
    parts,
    st.builds(
        ev.PoissonSampledDpEvent,
        st.floats(0.01, 0.5),
        st.floats(0.7, 5).map(lambda sigma: ev.GaussianDpEvent(round(sigma, 1))),
    ),
)


def check_renyi_is_the_larger(event: ev.DpEvent, delta: float, relation: Neighbours) -> None:
    exact = accounting.epsilon(event, delta, relation, interval=1e-3)
    # The grid rounds up, by less than this.
    assert accounting.rdp_epsilon(event, delta, relation) >= exact * (1 - 0.003) - 0.004


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(parts, st.integers(1, 12)), min_size=1, max_size=3), st.floats(-8, -2))
def test_renyi_accounting_is_never_below_the_loss_distribution_under_replace_one(
    counted: list[tuple[ev.DpEvent, int]], log10: float
) -> None:
    event = ev.compose(*(ev.repeat(part, count) for part, count in counted))
    check_renyi_is_the_larger(event, 10**log10, RO)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(add_remove_parts, st.integers(1, 12)), min_size=1, max_size=3),
    st.floats(-8, -2),
    st.sampled_from([AR, ZO]),
)
def test_renyi_accounting_is_never_below_the_loss_distribution_under_add_remove(
    counted: list[tuple[ev.DpEvent, int]], log10: float, relation: Neighbours
) -> None:
    event = ev.compose(*(ev.repeat(part, count) for part, count in counted))
    check_renyi_is_the_larger(event, 10**log10, relation)


def test_what_has_no_renyi_bound_is_refused() -> None:
    with pytest.raises(InputError, match="replace-one"):
        accounting.rdp_epsilon(sampled(0.1, 1.0, 3), 1e-5, RO)
    truncated = ev.TruncatedSubsampledGaussianDpEvent(1000, 0.01, 20, 1.0)
    with pytest.raises(InputError, match="TruncatedGaussian"):
        accounting.rdp_epsilon(truncated, 1e-5, AR)


def test_a_pure_bound_caps_the_renyi_epsilon() -> None:
    event = ev.repeat(ev.LaplaceDpEvent(2.0), 4)
    assert accounting.rdp_epsilon(event, 0.0, AR) == pytest.approx(2.0)
    assert accounting.rdp_epsilon(event, 1e-200, AR) == pytest.approx(2.0)
    assert accounting.rdp_epsilon(ev.GaussianDpEvent(2.0), 0.0, AR) == math.inf


def test_deltas_below_the_rounding_of_the_grid_get_the_renyi_epsilon() -> None:
    event = sampled(0.01, 2.0, 1000)
    for delta in (1e-14, 1e-60):
        epsilon = accounting.epsilon(event, delta, AR)
        assert epsilon <= accounting.rdp_epsilon(event, delta, AR)
        assert epsilon > accounting.epsilon(event, 1e-10, AR)
    assert accounting.epsilon(event, 1e-60, RO) == math.inf  # no Renyi bound there
