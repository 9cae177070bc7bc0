"""How alike two pictures are: MSE, PSNR and SSIM."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InputError

_SIGMA, _RADIUS = 1.5, 5  # an 11 x 11 Gaussian window
_C1, _C2 = 0.01**2, 0.03**2  # for pixels in [0, 1]

Pictures = NDArray[np.float64]


def mse(found: NDArray[np.floating], truth: NDArray[np.floating]) -> Pictures:
    """Mean squared error of each picture, (n,).

    Args:
        found: (n, c, h, w).
        truth: (n, c, h, w) in [0, 1].
    """
    left, right = _pair(found, truth)
    return np.asarray(np.mean((left - right) ** 2, axis=(1, 2, 3)))


def psnr(found: NDArray[np.floating], truth: NDArray[np.floating]) -> Pictures:
    """Peak signal-to-noise ratio of each picture in decibels, (n,); at most 120 (equal pictures).

    >>> float(psnr(np.full((1, 1, 2, 2), 0.1), np.zeros((1, 1, 2, 2)))[0])
    20.0
    """
    return np.asarray(-10 * np.log10(np.maximum(mse(found, truth), 1e-12)))


def ssim(
    found: NDArray[np.floating], truth: NDArray[np.floating], radius: int = _RADIUS
) -> Pictures:
    """Structural similarity of each picture, (n,): 1 for equal ones, about 0 for unrelated ones.

    The mean over all places where an 11 x 11 Gaussian window of standard deviation 1.5 fits, and
    over channels.

    Args:
        found: (n, c, h, w).
        truth: (n, c, h, w) in [0, 1].
        radius: Of the window, 5 in the paper; :func:`radius_for` gives what fits small pictures.

    Source: Wang, Bovik, Sheikh, Simoncelli, IEEE Transactions on Image Processing 13 (2004).

    Raises:
        InputError: If the shapes differ, or a picture is smaller than the window.
    """
    from scipy.ndimage import correlate1d

    left, right = _pair(found, truth)
    if min(left.shape[2:]) <= 2 * radius:
        raise InputError(
            f"pictures are {left.shape[2]} x {left.shape[3]}",
            f"SSIM needs at least {2 * radius + 1} x {2 * radius + 1} pixels.",
        )
    kernel = np.array([math.exp(-((i / _SIGMA) ** 2) / 2) for i in range(-radius, radius + 1)])
    kernel /= kernel.sum()

    def mean(values: Pictures) -> Pictures:
        for axis in (2, 3):
            values = correlate1d(values, kernel, axis=axis)
        return values[:, :, radius:-radius, radius:-radius]

    m, k = mean(left), mean(right)
    v, u, both = mean(left**2) - m**2, mean(right**2) - k**2, mean(left * right) - m * k
    local = (2 * m * k + _C1) * (2 * both + _C2) / ((m**2 + k**2 + _C1) * (v + u + _C2))
    return np.asarray(local.mean(axis=(1, 2, 3)))


def radius_for(shape: tuple[int, ...]) -> int:
    """The window's radius for pictures (c, h, w): 5, or what small ones have room for.

    >>> radius_for((1, 28, 28)), radius_for((1, 8, 8))
    (5, 3)
    """
    return max(1, min(_RADIUS, (min(shape[-2:]) - 1) // 2))


def _pair(found: NDArray[np.floating], truth: NDArray[np.floating]) -> tuple[Pictures, Pictures]:
    left, right = np.asarray(found, np.float64), np.asarray(truth, np.float64)
    if left.shape != right.shape or left.ndim != 4:
        raise InputError(
            f"pictures have shapes {left.shape} and {right.shape}", "Give (n, c, h, w) twice."
        )
    return left, right
