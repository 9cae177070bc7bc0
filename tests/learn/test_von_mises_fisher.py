"""Von Mises-Fisher draws against the exact law. Statistical tests: false alarm <= 1e-6 each."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import beta, kstest, norm
from torch import Tensor

from sfumato.errors import InputError
from sfumato.learn.noise import standard_gaussian
from sfumato.learn.von_mises_fisher import mean_cosine, perturbed, unit
from sfumato.privacy.noise import SeededSource

ALARM = 1e-6
CASES = [
    *((2, 0.0), (2, 0.7), (2, 40.0), (3, 0.0), (3, 2.0), (3, 1e6), (8, 5.0), (50, 300.0)),
    *((100, 3.0), (100, 1e4), (2000, 0.0), (2000, 90.0), (10_000, 700.0), (100_000, 5000.0)),
]
Sampler = Callable[[Tensor, float, SeededSource], Tensor]


def draws(d: int) -> int:
    """Enough for the moments, and quick: at most two million numbers."""
    return int(min(20_000, max(40, 2_000_000 // d)))


def around(d: int, kappa: float, n: int, seed: int, sampler: Sampler = perturbed) -> Tensor:
    """The cosines of ``n`` draws with a direction that is no axis."""
    mu = torch.randn(d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    drawn = sampler(mu.expand(n, d), kappa, SeededSource(seed))
    return drawn @ unit(mu[None])[0]


def marginal(d: int, kappa: float) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """The distribution function of ``mu.x``, by quadrature of its density.

    With ``w = tanh(r)`` the density of ``r`` is ``exp(kappa tanh r) / cosh(r)^(d - 1)``, which is
    smooth and has no singular ends.
    """

    def log_density(r: NDArray[np.float64]) -> NDArray[np.float64]:
        fall = (d - 1) * (np.abs(r) + np.log1p(np.exp(-2 * np.abs(r))))
        return np.asarray(kappa * np.tanh(r) - fall)

    reach = np.linspace(-40, 40, 400_001)
    coarse = log_density(reach)
    inside = reach[coarse > coarse.max() - 60]
    r = np.linspace(inside[0] - 1e-3, inside[-1] + 1e-3, 200_001)
    density = np.exp(log_density(r) - coarse.max())
    mass = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])

    def cdf(w: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.interp(np.arctanh(np.clip(w, -1 + 1e-16, 1 - 1e-16)), r, mass / mass[-1])

    return cdf


def problems(d: int, kappa: float, sampler: Sampler = perturbed) -> set[str]:
    """What tells a sampler's cosines from the law's."""
    n = draws(d)
    w = around(d, kappa, n, 7, sampler).numpy()
    found = set()
    if kstest(w, marginal(d, kappa)).pvalue < ALARM / 2:
        found.add("marginal")
    # Var(mu.x) = 1 - A^2 - (d - 1) A / kappa; at kappa = 0 it is 1 / d.
    a = mean_cosine(kappa, d)
    variance = 1 - a * a - (d - 1) * a / kappa if 0 < kappa < 1e5 else float(np.var(w))
    variance = variance if kappa else 1 / d
    if abs(w.mean() - a) > norm.isf(ALARM / 4) * math.sqrt(max(variance, 0.0) / n):
        found.add("mean")
    return found


@pytest.mark.parametrize(("d", "kappa"), CASES)
def test_cosines_follow_the_law_in_few_and_in_many_dimensions(d: int, kappa: float) -> None:
    assert problems(d, kappa) == set()


def test_the_quadrature_agrees_with_a_law_in_closed_form() -> None:
    w = np.linspace(-0.99, 0.99, 41)
    exact = (np.exp(2.0 * w) - np.exp(-2.0)) / (np.exp(2.0) - np.exp(-2.0))  # d = 3
    assert np.allclose(marginal(3, 2.0)(w), exact, atol=1e-8)
    uniform = beta(24.5, 24.5).cdf((1 + w) / 2)  # d = 50 without concentration
    assert np.allclose(marginal(50, 0.0)(w), uniform, atol=1e-8)


def test_the_mean_cosine_is_that_of_the_quadrature() -> None:
    for d, kappa in CASES:
        w = np.linspace(-1, 1, 400_001)
        mean = 1 - float(np.trapezoid(marginal(d, kappa)(w), w))
        assert mean_cosine(kappa, d) == pytest.approx(mean, abs=2e-5)
    assert mean_cosine(2.0, 3) == pytest.approx(1 / math.tanh(2.0) - 0.5, rel=1e-12)
    assert mean_cosine(5.0, 100_000) == pytest.approx(5e-5, rel=1e-6)
    assert mean_cosine(1e9, 10) == pytest.approx(1 - 4.5e-9, abs=1e-12)


@pytest.mark.parametrize(("d", "kappa"), [(3, 2.0), (200, 80.0)])
def test_what_is_orthogonal_to_the_direction_is_uniform(d: int, kappa: float) -> None:
    mu = torch.zeros(d, dtype=torch.float64)
    mu[0] = 1
    drawn = perturbed(mu.expand(20_000, d), kappa, SeededSource(3))
    assert torch.allclose(torch.linalg.vector_norm(drawn, dim=1), torch.ones(1).double())
    rest = unit(drawn[:, 1:])
    law = beta((d - 2) / 2, (d - 2) / 2) if d > 3 else beta(0.5, 0.5)
    for axis in (0, d - 2):
        cosines = rest[:, axis].numpy()
        assert kstest((1 + cosines) / 2, law.cdf).pvalue > ALARM
    # and independent of how far the draw lies from the direction
    for side in (rest, rest.abs()):
        r = float(np.corrcoef(drawn[:, 0], side[:, 0])[0, 1])
        assert abs(r) < norm.isf(ALARM / 2) / math.sqrt(len(rest))


def test_a_rotation_of_the_direction_is_a_rotation_of_the_law() -> None:
    d, kappa, n = 6, 4.0, 20_000
    q, _ = torch.linalg.qr(torch.randn(d, d, generator=torch.Generator().manual_seed(1)).double())
    mu = torch.eye(d, dtype=torch.float64)[0]
    probe = unit(torch.arange(1.0, d + 1)[None]).double()[0]
    plain = perturbed(mu.expand(n, d), kappa, SeededSource(1)) @ probe
    turned = perturbed((q @ mu).expand(n, d), kappa, SeededSource(2)) @ (q @ probe)
    assert kstest(plain.numpy(), turned.numpy()).pvalue > ALARM


def test_every_row_has_draws_of_its_own() -> None:
    drawn = perturbed(torch.ones(4000, 5), 0.0, SeededSource(5))
    assert len(torch.unique(drawn, dim=0)) == len(drawn)
    neighbours = torch.linalg.vecdot(drawn[1:], drawn[:-1]).mean()
    assert abs(float(neighbours)) < norm.isf(ALARM / 2) * math.sqrt(1 / 5 / 3999)


def test_neither_length_nor_type_of_a_direction_matters() -> None:
    mu = torch.tensor([[3.0, -4.0, 12.0]])
    plain = perturbed(mu.double(), 9.0, SeededSource(1))
    for scaled in (mu * 1e-37, mu * 2e37, mu.double() * 1e-300, mu.double() * 1e300):
        assert torch.allclose(perturbed(scaled, 9.0, SeededSource(1)), plain, atol=1e-6)


@pytest.mark.parametrize("lost", [0.0, math.nan, math.inf])
def test_a_row_that_is_no_direction_becomes_a_uniform_point_and_touches_no_other(
    lost: float,
) -> None:
    rows = torch.ones(20_000, 3)
    rows[:10_000, 0] = lost
    if lost == 0:
        rows[:10_000] = 0
    drawn = perturbed(rows, 1e4, SeededSource(2))
    assert kstest(drawn[:10_000, 1].numpy(), "uniform", args=(-1, 2)).pvalue > ALARM
    assert float((drawn[10_000:] @ unit(torch.ones(1, 3))[0]).min()) > 0.99


def test_an_audit_finds_no_more_than_the_ratio_that_is_proven() -> None:
    """The likeliest event between opposite directions is a cap around one of them."""
    n, kappa = 200_000, 0.5

    def found(concentration: float, edge: float) -> float:
        """A lower bound on the privacy loss of ``mu.x > edge``."""
        near = around(3, concentration, n, 1).numpy()
        far = -around(3, concentration, n, 2).numpy()
        low = beta.ppf(ALARM / 6, (near > edge).sum(), (near <= edge).sum() + 1)
        return math.log(low / beta.isf(ALARM / 6, (far > edge).sum() + 1, (far <= edge).sum()))

    assert max(found(kappa, edge) for edge in (0.5, 0.8, 0.9)) < 2 * kappa
    assert found(2 * kappa, 0.9) > 2 * kappa  # a sampler with half the noise it says it has


@pytest.mark.parametrize("kappa", [-1.0, math.nan, math.inf, 1e13])
def test_a_concentration_out_of_range_is_refused(kappa: float) -> None:
    with pytest.raises(InputError, match="kappa is"):
        perturbed(torch.ones(1, 3), kappa)
    with pytest.raises(InputError, match="kappa is"):
        mean_cosine(kappa, 3)


def test_a_single_coordinate_is_no_direction() -> None:
    with pytest.raises(InputError, match="d at least 2"):
        perturbed(torch.ones(3, 1), 1.0)
    with pytest.raises(InputError, match="the dimension is 1"):
        mean_cosine(1.0, 1)
    assert perturbed(torch.ones(0, 4), 1.0).shape == (0, 4)


# Planted defects: each is a sampler that somebody has written.


def _gaussian_then_normalised(mu: Tensor, kappa: float, source: SeededSource) -> Tensor:
    """A Gaussian of variance 1/kappa around the direction, brought to length 1."""
    noise = standard_gaussian(mu.numel(), source).view(mu.shape)
    return unit(unit(mu) + noise / math.sqrt(max(kappa, 1e-9)))


def _never_rejecting(mu: Tensor, kappa: float, source: SeededSource) -> Tensor:
    """The envelope of the rejection, taken for the law."""
    d = mu.shape[1]
    half = math.asinh(2 * kappa / (d - 1)) / 2
    x0, across = math.tanh(half), 1 / math.cosh(half)
    mu = unit(mu)
    point = standard_gaussian(mu.numel(), source).view(mu.shape)
    along = torch.linalg.vecdot(point, mu)
    point = point - along[:, None] * mu
    length = torch.hypot(along, point.norm(dim=1))
    t = along / length
    w = (x0 + t) / (1 + x0 * t)
    return w[:, None] * mu + (across / ((1 + x0 * t) * length))[:, None] * point


def _dimension_off_by_one(mu: Tensor, kappa: float, source: SeededSource) -> Tensor:
    """The cosine of d + 1 dimensions."""
    wider = torch.cat([mu, torch.zeros(len(mu), 1, dtype=mu.dtype)], dim=1)
    return unit(perturbed(wider, kappa, source)[:, :-1])


def _shared_cosine(mu: Tensor, kappa: float, source: SeededSource) -> Tensor:
    """One draw for the whole batch."""
    return perturbed(mu[:1], kappa, source).expand(mu.shape)


@pytest.mark.parametrize(
    ("planted", "d", "kappa"),
    [
        (_gaussian_then_normalised, 8, 5.0),
        (_gaussian_then_normalised, 100, 3.0),
        (_never_rejecting, 3, 2.0),
        (_never_rejecting, 50, 300.0),
        (_dimension_off_by_one, 3, 2.0),
        (_shared_cosine, 8, 5.0),
        (lambda mu, kappa, source: perturbed(mu, 1.1 * kappa, source), 2000, 90.0),
        (lambda mu, kappa, source: perturbed(mu.float() * 0, kappa, source), 3, 2.0),
    ],
)
def test_planted_samplers_are_caught(planted: Sampler, d: int, kappa: float) -> None:
    assert problems(d, kappa, partial(planted)) != set()
