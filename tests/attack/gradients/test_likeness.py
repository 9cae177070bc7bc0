"""MSE, PSNR and SSIM against a loop over all windows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from sfumato.attack.gradients.likeness import mse, psnr, ssim
from sfumato.errors import InputError


def pictures(n: int, seed: int, c: int = 1) -> NDArray[np.float64]:
    return np.random.default_rng(seed).random((n, c, 14, 17))


def slow_ssim(found: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    """One picture of one channel, window by window."""
    weights = np.array(
        [[math.exp(-((i - 5) ** 2 + (j - 5) ** 2) / 4.5) for j in range(11)] for i in range(11)]
    )
    weights /= weights.sum()
    local = []
    for i in range(found.shape[0] - 10):
        for j in range(found.shape[1] - 10):
            a, b = found[i : i + 11, j : j + 11], truth[i : i + 11, j : j + 11]
            m, k = (weights * a).sum(), (weights * b).sum()
            v, u = (weights * (a - m) ** 2).sum(), (weights * (b - k) ** 2).sum()
            both = (weights * (a - m) * (b - k)).sum()
            top = (2 * m * k + 1e-4) * (2 * both + 9e-4)
            local.append(top / ((m * m + k * k + 1e-4) * (v + u + 9e-4)))
    return float(np.mean(local))


def test_ssim_is_that_of_a_loop_over_windows() -> None:
    left, right = pictures(2, 1), pictures(2, 2)
    right[1] = 0.7 * left[1] + 0.1
    for at, found in enumerate(ssim(left, right)):
        assert found == pytest.approx(slow_ssim(left[at, 0], right[at, 0]), abs=1e-9)


def test_channels_and_pictures_are_taken_by_themselves() -> None:
    left, right = pictures(3, 1, c=2), pictures(3, 2, c=2)
    each = np.stack([ssim(left[:, i : i + 1], right[:, i : i + 1]) for i in range(2)])
    assert np.allclose(ssim(left, right), each.mean(0))
    assert np.allclose(mse(left, right)[1:], mse(left[1:], right[1:]))


def test_equal_pictures_are_as_alike_as_can_be_and_unrelated_ones_are_not() -> None:
    left = pictures(2, 1)
    assert np.allclose(ssim(left, left), 1)
    assert np.allclose(psnr(left, left), 120)
    assert (ssim(left, pictures(2, 2)) < 0.3).all()
    assert (ssim(1 - left, left) < 0).all()


def test_psnr_is_in_decibels_of_the_full_range() -> None:
    zero = np.zeros((1, 1, 12, 12))
    assert psnr(zero + 0.01, zero)[0] == pytest.approx(40)
    assert mse(zero + 0.1, zero)[0] == pytest.approx(0.01)


def test_pictures_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="have shapes"):
        mse(pictures(1, 1), pictures(2, 1))
    with pytest.raises(InputError, match="11 x 11"):
        ssim(np.zeros((1, 1, 10, 20)), np.zeros((1, 1, 10, 20)))
