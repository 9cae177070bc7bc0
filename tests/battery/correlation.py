"""The largest correlation of supposedly independent noise, and what chance explains."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

ALARM = 1e-6
"""Probability with which a test of the battery is wrong, unless told otherwise."""

Samples = NDArray[np.float64]


def largest_correlation(noise: Samples) -> tuple[float, float]:
    """The largest rank correlation of two columns, and the bound that it exceeds by chance.

    Ranks make the distribution of a correlation under independence that of a random permutation,
    whatever the noise; ties are broken at random. A column without spread counts as correlation 1.

    Args:
        noise: (repeats, coordinates), each supposed to be an independent draw.

    Returns:
        The largest absolute correlation, and the bound that all of them together exceed with
        probability below ``ALARM``.
    """
    from scipy.stats import norm

    repeats, coordinates = noise.shape
    pairs = max(1, coordinates * (coordinates - 1) // 2)
    # A rank correlation has variance 1 / (repeats - 1); its tails are lighter than a normal's.
    bound = float(norm.isf(ALARM / (2 * pairs))) / math.sqrt(repeats - 1)
    if np.any(np.ptp(noise, axis=0) == 0):
        return 1.0, bound
    ranks = ranked(noise)
    if coordinates == 1:
        return 0.0, bound
    correlations = np.atleast_2d(np.corrcoef(ranks.T))[np.triu_indices(coordinates, 1)]
    return float(np.abs(correlations).max()), bound


def ranked(noise: Samples) -> Samples:
    """Each column's ranks, centred; ties are broken at random."""
    jitter = np.random.default_rng(1).random(noise.shape)
    order = np.lexsort((jitter, noise), axis=0)
    ranks: Samples = np.empty(noise.shape)
    np.put_along_axis(ranks, order, np.arange(len(noise), dtype=np.float64)[:, None], axis=0)
    return ranks - (len(noise) - 1) / 2
