"""The loss of von Mises-Fisher noise against quadrature, closed forms and draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import beta, binom

from sfumato.errors import InputError
from sfumato.learn.von_mises_fisher import perturbed
from sfumato.privacy import accounting
from sfumato.privacy import events as ev
from sfumato.privacy.accounting.terms import Direction, Shown
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import SeededSource

REPLACE = Neighbours.REPLACE_ONE
CASES = [(0.3, 3), (2.0, 3), (5.0, 10), (1.0, 1000), (40.0, 1000), (300.0, 50), (100.0, 26_010)]


def exact_delta(kappa: float, d: int, epsilon: float) -> float:
    """The hockey-stick divergence of opposite directions, by quadrature over the cosine's angle."""
    angle = np.linspace(0, math.pi, 2_000_001)[1:-1]
    t = np.cos(angle)
    log_density = (d - 2) * np.log(np.sin(angle)) + kappa * t
    density = np.exp(log_density - log_density.max())
    density /= density.sum()
    gap = -np.expm1(np.minimum(epsilon - 2 * kappa * t, 0.0))
    return float(density @ gap)


@pytest.mark.parametrize(("kappa", "d"), CASES)
def test_one_use_costs_what_quadrature_says(kappa: float, d: int) -> None:
    event = ev.VonMisesFisherDpEvent(kappa, d)
    mu = 2 * kappa / math.sqrt(d)
    for epsilon in (0.0, 0.5 * mu, mu, min(2 * mu + mu**2 / 2, 1.9 * kappa)):
        exact = exact_delta(kappa, d, epsilon)
        found = accounting.delta(event, epsilon, REPLACE)
        assert exact * (1 - 1e-5) - 1e-12 <= found <= exact * (1 + 2e-3) + 1e-7
        off = accounting.delta(ev.VonMisesFisherDpEvent(1.01 * kappa, d), epsilon, REPLACE)
        if 1e-4 < exact < 0.9:
            assert off > exact * (1 + 2e-3) + 1e-7, "an error of one part in 100 would show"


def test_in_three_dimensions_there_is_a_closed_form() -> None:
    kappa, epsilon = 2.0, 1.0
    edge = epsilon / (2 * kappa)
    near = (math.exp(kappa) - math.exp(kappa * edge)) / (2 * math.sinh(kappa))
    far = (math.exp(-kappa * edge) - math.exp(-kappa)) / (2 * math.sinh(kappa))
    found = accounting.delta(ev.VonMisesFisherDpEvent(kappa, 3), epsilon, REPLACE)
    assert found == pytest.approx(near - math.exp(epsilon) * far, rel=1e-5)


def test_in_many_dimensions_it_is_a_gaussian() -> None:
    direction = accounting.epsilon(ev.VonMisesFisherDpEvent(30.0, 10**6), 1e-6, REPLACE)
    gaussian = accounting.epsilon(ev.GaussianDpEvent(1000 / 30), 1e-6, REPLACE)
    assert direction == pytest.approx(gaussian, rel=1e-3)


@pytest.mark.parametrize("epsilon", [0.0, 0.4, 1.5])
def test_opposite_directions_are_told_apart_best(epsilon: float) -> None:
    """The divergence at every angle, summed over a grid of the sphere of three dimensions."""
    kappa = 1.2
    polar = (np.arange(600) + 0.5) / 600 * math.pi
    around = (np.arange(600) + 0.5) / 600 * 2 * math.pi
    polar, around = np.meshgrid(polar, around, indexing="ij")
    area = np.sin(polar)
    near = area * np.exp(kappa * np.cos(polar))
    total = near.sum()
    found = []
    for angle in np.linspace(0, math.pi, 9):
        cosine = np.cos(polar) * math.cos(angle)
        cosine += np.sin(polar) * np.cos(around) * math.sin(angle)
        other = area * np.exp(kappa * cosine)
        found.append(float(np.maximum(near - math.exp(epsilon) * other, 0).sum() / total))
    uniform = np.maximum(near / total - math.exp(epsilon) * area / area.sum(), 0).sum()
    back = np.maximum(area / area.sum() - math.exp(epsilon) * near / total, 0).sum()
    assert np.all(np.diff(found) >= -1e-9)
    assert max(uniform, back) <= found[-1]
    claimed = accounting.delta(ev.VonMisesFisherDpEvent(kappa, 3), epsilon, REPLACE)
    assert found[-1] == pytest.approx(claimed, rel=1e-3)


def test_steps_that_show_their_sample_are_a_mixture_over_how_often_a_record_is_used() -> None:
    kappa, d, rate, steps, epsilon = 20.0, 2000, 0.1, 12, 2.0
    event = ev.VonMisesFisherDpEvent(kappa, d)
    each = [accounting.delta(ev.repeat(event, k), epsilon, REPLACE) for k in range(steps + 1)]
    mixed = float(binom.pmf(np.arange(steps + 1), steps, rate) @ each)
    sampled = ev.repeat(ev.PoissonSampledDpEvent(rate, event), steps)
    assert accounting.delta(sampled, epsilon, REPLACE) == pytest.approx(mixed, rel=1e-3)
    assert accounting.epsilon(sampled, 0.0, REPLACE) == pytest.approx(2 * kappa * steps)
    assert accounting.epsilon(sampled, 1e-5, REPLACE) < accounting.epsilon(
        ev.repeat(event, steps), 1e-5, REPLACE
    )


@pytest.mark.parametrize(
    ("kappa", "d"), [(0.3, 3), (2.0, 40), (1e4, 10), (2e5, 100), (30.0, 10**7)]
)
def test_masses_are_whole_and_both_directions_the_same(kappa: float, d: int) -> None:
    interval = max(1e-4, kappa * 1e-5)
    for term in (Direction(kappa, d), Shown(0.3, Direction(kappa, d))):
        pair = term.pair(interval)
        assert pair.add is pair.remove
        loss = pair.remove
        assert loss.masses.sum() + loss.infinity == pytest.approx(1.0, abs=1e-9)
        other = float((loss.masses * np.exp(-loss.losses)).sum())
        # Of the opposite draw, what lies where this one never falls is not on the grid.
        assert other <= 1 + 1e-6
        assert kappa > 1000 or other == pytest.approx(1.0, abs=1e-6)
        assert loss.losses[0] >= -2 * kappa - 2 * interval
        assert loss.losses[-1] <= 2 * kappa + 2 * interval


def test_epsilon_grows_with_kappa_rate_and_steps_and_falls_with_dimensions() -> None:
    def epsilon(kappa: float = 20.0, d: int = 500, rate: float = 0.2, steps: int = 5) -> float:
        step = ev.PoissonSampledDpEvent(rate, ev.VonMisesFisherDpEvent(kappa, d))
        return accounting.epsilon(ev.repeat(step, steps), 1e-5, REPLACE)

    usual = epsilon()
    assert epsilon(kappa=21.0) > usual
    assert epsilon(rate=0.25) > usual
    assert epsilon(steps=6) > usual
    assert epsilon(d=600) < usual
    assert usual <= 2 * 20 * 5


def test_nothing_is_claimed_of_presence_and_no_concentration_costs_nothing() -> None:
    event = ev.VonMisesFisherDpEvent(1.0, 10)
    for asked in (Neighbours.ADD_REMOVE, Neighbours.ZERO_OUT):
        for one in (event, ev.PoissonSampledDpEvent(0.5, event)):
            with pytest.raises(InputError, match="a sum shows how many directions are in it"):
                accounting.epsilon(one, 1e-5, asked)
    assert accounting.epsilon(ev.VonMisesFisherDpEvent(0.0, 10), 1e-5, REPLACE) == 0.0
    for wrong in ({"kappa": -1.0, "dimension": 9}, {"kappa": 1.0, "dimension": 2}):
        with pytest.raises(InputError, match="VonMisesFisherDpEvent"):
            ev.VonMisesFisherDpEvent(**wrong)
    with pytest.raises(InputError, match="dimension"):
        ev.VonMisesFisherDpEvent(1.0, 9.5)


def test_draws_are_told_apart_as_well_as_claimed_and_no_better() -> None:
    """The best test on real draws. False alarms below 1e-6 (Clopper-Pearson)."""
    kappa, d, n = 12.0, 100, 20_000
    mu = torch.zeros(n, d)
    mu[:, 7] = 1
    near = perturbed(mu, kappa, SeededSource(1))[:, 7].numpy()
    far = perturbed(-mu, kappa, SeededSource(2))[:, 7].numpy()
    event = ev.VonMisesFisherDpEvent(kappa, d)
    for edge in (0.0, 0.1, 0.2):
        low = float(beta.ppf(5e-8, (near > edge).sum(), (near <= edge).sum() + 1))
        high = float(beta.isf(5e-8, (far > edge).sum() + 1, (far <= edge).sum()))
        assert low <= accounting.max_tpr(event, high, REPLACE)
        quieter = ev.VonMisesFisherDpEvent(0.7 * kappa, d)
        assert low > accounting.max_tpr(quieter, high, REPLACE), "a smaller claim would be caught"
