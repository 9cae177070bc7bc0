"""The one noisy release: its noise, and what is read from it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from sfumato.data import ImageSet
from sfumato.privacy.budget import Budget
from sfumato.privacy.mechanisms import Gaussian
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import SeededSource
from sfumato.publish.generators.embedding import NoisyEmbedding
from sfumato.publish.generators.features import STEP, FourierFeatures

FEATURES = FourierFeatures((1, 4, 4), 5, (0.5,), 0.0, 400, 0.04, 1)
BUDGET = Budget(1.0, 1e-5)
RECORDS = 200
NOISE = Gaussian.calibrate(BUDGET, 1.0, Neighbours.REPLACE_ONE, granularity=STEP)


def images(seed: int = 0) -> ImageSet:
    rng = np.random.default_rng(seed)
    pixels = rng.random((RECORDS, 1, 4, 4), dtype=np.float32)
    return ImageSet.from_arrays(pixels, rng.integers(0, 5, RECORDS), tuple("abcde"))


def noise_of(noise: Gaussian, seed: int) -> np.ndarray:
    """(K, 1 + 2 m) noise in the units of one record's norm."""
    data = images()
    noisy = NoisyEmbedding.release(
        data, FEATURES, noise, RECORDS, SeededSource(seed), lambda seen: None
    )
    exact = NoisyEmbedding.from_noisy(
        FEATURES.sums(data.batches()) * STEP, FEATURES, NOISE, RECORDS
    )
    count, wave = (amplitude * STEP * RECORDS for amplitude in FEATURES.amplitudes)
    return np.hstack(
        [
            (noisy.shares - exact.shares)[:, np.newaxis] * count,
            (noisy.cosines - exact.cosines) * wave,
            (noisy.sines - exact.sines) * wave,
        ]
    )


def check_independent_noise(draws: np.ndarray, stddev: float) -> None:
    """Every coordinate has its own Gaussian draw; false alarm below 1e-6.

    Four z-tests two-sided at 5.2 standard errors, 2e-7 each: the variance, and the correlation
    of neighbours along both axes and of two rows.
    """
    n = draws.size
    z = draws / stddev
    assert abs(float(np.mean(z**2)) - 1) < 5.2 * math.sqrt(2 / n)
    for a, b in ((z[:, 1:], z[:, :-1]), (z[1:], z[:-1])):
        assert abs(float(np.mean(a * b))) < 5.2 / math.sqrt(a.size)
    half = z.shape[1] // 2
    assert abs(float(np.mean(z[:, :half] * z[:, half : 2 * half]))) < 5.2 / math.sqrt(
        z[:, :half].size
    )


def check_loss(noise: Gaussian) -> None:
    """Two records of different classes, sqrt(2) apart, cost no more than the budget.

    The continuous Gaussian's delta at epsilon (Balle, Wang 2018), from the noise in use and a
    distance that two neighbours have, not from the event.
    """
    from scipy.stats import norm

    pixels = np.zeros((1, 1, 4, 4), np.float32)
    one, other = (FEATURES.sums([(pixels, np.array([label]))]) * STEP for label in (0, 1))
    mu = float(np.linalg.norm(one - other)) / noise.stddev
    assert mu * noise.stddev == pytest.approx(math.sqrt(2), rel=1e-3)
    epsilon = BUDGET.epsilon
    delta = norm.cdf(-epsilon / mu + mu / 2) - math.exp(epsilon) * norm.cdf(-epsilon / mu - mu / 2)
    assert delta <= BUDGET.delta


def test_every_coordinate_has_its_own_noise_of_the_calibrated_size() -> None:
    assert NOISE.stddev == pytest.approx(2 * 3.73, rel=2e-3)
    for seed in range(3):
        check_independent_noise(noise_of(NOISE, seed), NOISE.stddev)


def _scalar(values: np.ndarray, source: SeededSource) -> np.ndarray:
    return values + NOISE.release(np.zeros(1), source)[0]


def _by_row(values: np.ndarray, source: SeededSource) -> np.ndarray:
    return values + NOISE.release(np.zeros(values.shape[1]), source)


def _halved(values: np.ndarray, source: SeededSource) -> np.ndarray:
    return values + NOISE.release(np.zeros(values.shape), source) / 2


@pytest.mark.parametrize("planted", [_scalar, _by_row, _halved])
def test_planted_noise_is_found(planted: Callable[..., np.ndarray]) -> None:
    draws = planted(np.zeros(FEATURES.coordinates), SeededSource(1))
    with pytest.raises(AssertionError):
        check_independent_noise(draws, NOISE.stddev)


def test_neighbours_cost_no_more_than_the_budget() -> None:
    check_loss(NOISE)


def test_planted_add_remove_noise_called_replace_one_is_found() -> None:
    """Sensitivity 1 / n under replace-one: half the noise."""
    with pytest.raises(AssertionError):
        check_loss(replace(NOISE, stddev=NOISE.stddev / 2))


def test_without_noise_the_embedding_is_the_mean_over_all_records() -> None:
    data = images()
    exact = NoisyEmbedding.from_noisy(
        FEATURES.sums(data.batches()) * STEP, FEATURES, NOISE, RECORDS
    )
    assert exact.shares == pytest.approx(np.bincount(data.labels, minlength=5) / RECORDS)
    phase = (np.rint(data.images * 255) / 255).reshape(RECORDS, -1) @ FEATURES.angular
    mean = np.cos(phase[data.labels == 2]).sum(axis=0) / RECORDS
    assert np.abs(exact.cosines[2] - mean).max() < 3e-4
    assert exact.wave_stddev == pytest.approx(
        NOISE.stddev * math.sqrt(400 / 0.96) / RECORDS, rel=1e-3
    )


def _with_shares(shares: list[float], stddev: float) -> NoisyEmbedding:
    none = np.zeros((len(shares), 1))
    return NoisyEmbedding(np.array(shares), none, none, stddev, stddev)


def test_estimated_shares_follow_the_data_where_noise_is_small() -> None:
    assert _with_shares([0.9, 0.1], 1e-4).estimated_shares() == pytest.approx([0.9, 0.1], abs=1e-3)


def test_estimated_shares_are_equal_where_noise_explains_everything() -> None:
    assert _with_shares([0.6, 0.4], 0.3).estimated_shares() == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("stddev", [1e-4, 0.02, 1.0])
def test_estimated_shares_are_a_distribution(stddev: float) -> None:
    for shares in ([1.3, -0.2, 0.01], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]):
        estimated = _with_shares(shares, stddev).estimated_shares()
        assert estimated.sum() == pytest.approx(1)
        assert estimated.min() > 0.02


def test_one_class_has_all_the_records() -> None:
    assert _with_shares([0.8], 0.1).estimated_shares() == pytest.approx([1.0])
