"""The best of a random number of trials, against dp_accounting and against exact games."""

from __future__ import annotations

import logging
import math

import numpy as np
import pytest
from dp_accounting.dp_event import GaussianDpEvent, RepeatAndSelectDpEvent
from dp_accounting.rdp import RdpAccountant
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from sfumato.errors import InputError
from sfumato.privacy import accounting
from sfumato.privacy import events as ev
from sfumato.privacy.accounting.renyi import ORDERS
from sfumato.privacy.accounting.resolve import resolve
from sfumato.privacy.neighbours import Neighbours

AR, RO = Neighbours.ADD_REMOVE, Neighbours.REPLACE_ONE


@pytest.mark.parametrize("mean", [1.0, 3.0, 10.0])
@pytest.mark.parametrize("noise", [1.0, 4.0, 20.0])
def test_one_candidate_costs_what_dp_accounting_says(mean: float, noise: float) -> None:
    theirs = RdpAccountant(ORDERS)
    theirs.compose(RepeatAndSelectDpEvent(GaussianDpEvent(noise), mean, 1.0))
    ours = ev.SelectedDpEvent([ev.GaussianDpEvent(noise)], mean)
    expected = theirs.get_epsilon(1e-5)
    assert accounting.rdp_epsilon(ours, 1e-5, AR) == pytest.approx(expected, rel=1e-9)
    # Read off a grid of finer orders: as good, or a little better.
    assert 0.9 * expected < accounting.epsilon(ours, 1e-5, AR) <= expected * (1 + 1e-3)


def best_of_geometric(trial: np.ndarray, mean: float) -> np.ndarray:
    """The exact law of the best score, scores being the indices of ``trial``'s probabilities."""
    at_most = np.append(0.0, np.cumsum(trial))
    stop = 1 / mean
    # P(best <= s) = sum over k of (1 - stop)^(k - 1) stop F^k
    law = stop * at_most / (1 - (1 - stop) * at_most)
    return np.diff(law)


@settings(max_examples=150, deadline=None)
@given(st.floats(0.05, 2.0), st.integers(2, 6), st.floats(1.0, 40.0), st.integers(0, 2**32 - 1))
def test_no_game_beats_the_bound(epsilon: float, size: int, mean: float, seed: int) -> None:
    """Trials that are epsilon-DP, each outcome likelier or less likely by up to that much."""
    rng = np.random.default_rng(seed)
    base = rng.dirichlet(np.ones(size))
    tilt = np.exp(epsilon * rng.integers(0, 2, size) * 1.0)
    other = base * tilt / (base * tilt).sum()
    trial = math.log(max((other / base).max(), (base / other).max()))
    event = ev.SelectedDpEvent([ev.PureDpEvent(trial, "replace-one")], mean)
    one, two = best_of_geometric(base, mean), best_of_geometric(other, mean)
    worst = np.abs(np.log(two / one)).max()
    assert worst <= accounting.epsilon(event, 0.0, RO) + 1e-9
    for at in (0.1, 0.5 * worst, 0.9 * worst):
        delta = max(np.maximum(p - math.exp(at) * q, 0).sum() for p, q in ((one, two), (two, one)))
        assert delta <= accounting.delta(event, at, RO) + 1e-12


def test_a_game_comes_near_the_bound() -> None:
    """Three times a trial's epsilon is not idle: a rare middle score, under a commoner best one."""
    middle, top, mean = 1e-5, 1e-2, 1e7
    base = np.array([1 - middle - top, middle, top])
    other = np.array([0.0, middle * math.e, top / math.e])
    other[0] = 1 - other.sum()
    one, two = best_of_geometric(base, mean), best_of_geometric(other, mean)
    event = ev.SelectedDpEvent([ev.PureDpEvent(1.0, "replace-one")], mean)
    assert accounting.epsilon(event, 0.0, RO) == pytest.approx(3.0)
    assert 2.95 < np.abs(np.log(two / one)).max() <= 3.0


def test_the_worst_candidate_counts_order_by_order() -> None:
    quiet, loud = ev.GaussianDpEvent(8.0), ev.GaussianDpEvent(4.0)
    both = accounting.epsilon(ev.SelectedDpEvent([quiet, loud], 5.0), 1e-5, AR)
    assert both == accounting.epsilon(ev.SelectedDpEvent([loud], 5.0), 1e-5, AR)
    assert both > accounting.epsilon(ev.SelectedDpEvent([quiet], 5.0), 1e-5, AR)


def test_it_composes_with_what_else_was_released() -> None:
    picked = ev.SelectedDpEvent([ev.GaussianDpEvent(8.0)], 5.0)
    whole = ev.compose(picked, ev.GaussianDpEvent(4.0))
    for delta in (1e-5, 1e-3):
        parts = [accounting.epsilon(e, delta, AR) for e in (picked, ev.GaussianDpEvent(4.0))]
        assert max(parts) < accounting.epsilon(whole, delta, AR)
    assert accounting.rdp_epsilon(whole, 1e-5, AR) >= accounting.epsilon(whole, 1e-5, AR)
    assert accounting.max_tpr(picked, 0.01, AR) > 0.01
    group = accounting.epsilon(ev.GroupDpEvent(picked, 2), 1e-5, AR)
    assert group > accounting.epsilon(picked, 1e-5, AR)


@pytest.mark.parametrize("mu", [0.1, 0.5, 1.5])
@pytest.mark.parametrize("mean", [1.0, 3.0, 30.0])
def test_no_game_of_gaussian_trials_beats_the_bound(mu: float, mean: float) -> None:
    """The score is the outcome, its negative, or how near it lies to the middle.

    The charge of a single trial, where there are several, is what these games beat.
    """
    edges = np.linspace(-12, 14, 4001)
    centres = (edges[1:] + edges[:-1]) / 2
    trials = [np.diff(norm.cdf(edges, shift)) for shift in (0.0, mu)]
    event = ev.SelectedDpEvent([ev.GaussianDpEvent(1 / mu)], mean)
    for rate in (1.0, 0.1):
        sampled = event if rate == 1 else ev.PoissonSampledDpEvent(rate, event)
        lost = 0.0
        bounds = {at: accounting.delta(sampled, at, AR) for at in (0.0, 0.05, 0.2, 0.5, 1.0, 2.0)}
        for score in (centres, -centres, -np.abs(centres - mu / 2)):
            order = np.argsort(score)
            none, held = (best_of_geometric(trial[order] / trial.sum(), mean) for trial in trials)
            mixed = (1 - rate) * none + rate * held
            for at, bound in bounds.items():
                for p, q in ((none, mixed), (mixed, none)):
                    delta = np.maximum(p - math.exp(at) * q, 0).sum()
                    assert delta <= bound + 1e-12
                    lost = max(lost, delta) if at == 0.2 else lost
        if mean > 1 and rate == 1:
            assert lost > accounting.delta(ev.GaussianDpEvent(1 / mu), 0.2, AR)


def test_a_group_of_records_is_charged_by_its_own_trials() -> None:
    """The theorem is for any two data sets, so also for some that are several records apart."""
    picked = ev.SelectedDpEvent([ev.GaussianDpEvent(8.0), ev.LaplaceDpEvent(20.0)], 5.0)
    for size in (2, 5, 10):
        parts = [ev.GroupDpEvent(trial, size) for trial in picked.events]
        wanted = accounting.epsilon(ev.SelectedDpEvent(parts, 5.0), 1e-5, AR)
        assert accounting.epsilon(ev.GroupDpEvent(picked, size), 1e-5, AR) == wanted
    one = accounting.epsilon(ev.SelectedDpEvent([ev.GaussianDpEvent(8.0)], 5.0), 1e-5, AR)
    ten = ev.GroupDpEvent(ev.SelectedDpEvent([ev.GaussianDpEvent(8.0)], 5.0), 10)
    assert 10 * one > accounting.epsilon(ten, 1e-5, AR)
    claimed = ev.SelectedDpEvent([ev.GaussianDpEvent(8.0), ev.ZCDpEvent(0.01, 0.0)], 5.0)
    assert accounting.epsilon(ev.GroupDpEvent(claimed, 2), 1e-5, AR) > accounting.epsilon(
        claimed, 1e-5, AR
    )


def test_trials_on_samples_are_accounted_without_a_warning() -> None:
    """Of the series at orders just above 1 some hundred do not converge; a larger order counts."""
    heard: list[logging.LogRecord] = []

    class Heard(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record)

    handler = Heard()
    logging.getLogger("absl").addHandler(handler)
    try:
        step = ev.PoissonSampledDpEvent(0.2, ev.GaussianDpEvent(1.3))
        event = ev.SelectedDpEvent([ev.repeat(step, 7)], 4.0)
        epsilon = accounting.epsilon(event, 1e-5, AR)
    finally:
        logging.getLogger("absl").removeHandler(handler)
    assert not heard
    assert epsilon > accounting.epsilon(ev.repeat(step, 7), 1e-5, AR)
    (term,) = resolve(event, AR).counts
    assert np.isfinite(term.renyi(np.array([1.02, 1.1, 1.5, 2.0, 8.0]))).all()


def test_more_trials_cost_more() -> None:
    found = [
        accounting.epsilon(ev.SelectedDpEvent([ev.GaussianDpEvent(4.0)], mean), 1e-5, AR)
        for mean in (1, 2, 10, 100)
    ]
    assert found == sorted(found)
    assert found[0] > accounting.epsilon(ev.GaussianDpEvent(4.0), 1e-5, AR)


def test_what_has_no_sound_bound_is_refused() -> None:
    fails = ev.SelectedDpEvent([ev.ApproximateDpEvent(1.0, 1e-6, "add-remove")], 2.0)
    with pytest.raises(InputError, match="fails with some probability"):
        accounting.epsilon(fails, 1e-5, AR)
    with pytest.raises(InputError, match=r"mean of SelectedDpEvent is 0\.5"):
        ev.SelectedDpEvent([ev.GaussianDpEvent(1.0)], 0.5)
    with pytest.raises(InputError, match="events of SelectedDpEvent"):
        ev.SelectedDpEvent([], 2.0)
    revealed = ev.SelectedDpEvent([ev.GaussianDpEvent(1.0), ev.NonPrivateDpEvent()], 2.0)
    assert accounting.epsilon(revealed, 1e-5, AR) == math.inf
    assert accounting.epsilon(ev.SelectedDpEvent([ev.NoOpDpEvent()], 2.0), 0.0, AR) == 0.0
