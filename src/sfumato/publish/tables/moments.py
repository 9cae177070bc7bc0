"""Moments of clusters: what a record adds to them, and Gaussians from noisy ones.

A record adds 1, its vector ``x`` and its products ``x x^T`` to the cluster that it is in, and
nothing to any other. With ``|x| <= 1`` that is a vector of length at most ``sqrt(3)``: of the
off-diagonal products one half is kept, times a little less than ``sqrt(2)``, so that the products
together are no longer than ``|x|^2``. Entries of vectors are multiples of a public step, so sums
of any order are exact, and two neighbours are as far apart as they are on paper. Everything here
but :func:`summed` is post-processing of noisy sums.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sfumato.publish.tables import embedding

Floats = NDArray[np.float64]

CONTRIBUTION = math.sqrt(3) * (1 + 2.0**-50)
"""Length of what one record adds to all clusters' moments together, rounded up."""

OFF_DIAGONAL = 181 / 128
"""Just below ``sqrt(2)``, and a multiple of ``2**-7``."""

STEP = embedding.STEP**2 / 128
"""What all moments are multiples of: ``2**-25``. Below ``2**28`` records in a cluster they are
exact in float64."""


def size(width: int) -> int:
    """How many numbers the moments of one cluster are."""
    return 1 + width + width * (width + 1) // 2


def summed(vectors: Floats, clusters: NDArray[np.int64], count: int) -> Floats:
    """The exact moments of each cluster, (count, size): private, for the noise alone.

    Args:
        vectors: (n, width) from :class:`Embedding`, each of length at most 1.
        clusters: (n,) in ``[0, count)``.
        count: How many clusters there are.
    """
    width = vectors.shape[1]
    total = np.zeros((count, size(width)))
    rows, columns = np.triu_indices(width)
    weight = np.where(rows == columns, 1.0, OFF_DIAGONAL)
    # Cluster by cluster, by a matrix product, which needs no product of a single record.
    order = np.argsort(clusters, kind="stable")
    edges = np.searchsorted(clusters[order], np.arange(count + 1))
    for k in range(count):
        members = vectors[order[edges[k] : edges[k + 1]]]
        if len(members):
            products = members.T @ members
            total[k, 0] = len(members)
            total[k, 1 : 1 + width] = members.sum(axis=0)
            total[k, 1 + width :] = products[rows, columns] * weight
    return total


@dataclass(frozen=True)
class Normal:
    """A cluster's Gaussian.

    Args:
        mean: (width,).
        root: (width, width) a square root of the covariance.
    """

    mean: Floats
    root: Floats

    @classmethod
    def of(cls, moments: Floats, width: int) -> Normal:
        """The Gaussian with these noisy moments, its covariance the nearest possible one.

        Args:
            moments: (size,) whose count is above 0.
            width: Of the vectors.
        """
        count = max(1.0, float(moments[0]))
        mean = moments[1 : 1 + width] / count
        length = float(np.linalg.norm(mean))
        mean = mean / max(1.0, length)  # no record is longer than 1
        rows, columns = np.triu_indices(width)
        products = np.zeros((width, width))
        halves = moments[1 + width :] / np.where(rows == columns, 1.0, OFF_DIAGONAL)
        products[rows, columns] = halves
        products[columns, rows] = halves
        covariance = products / count - np.outer(mean, mean)
        # What noise made negative is cut off, never drawn again: a repeated draw would depend on
        # the rows, and would have to be paid for.
        values, vectors = np.linalg.eigh(covariance)
        return cls(mean, vectors * np.sqrt(np.clip(values, 0.0, 1.0)))

    def draw(self, n: int, rng: np.random.Generator) -> Floats:
        """(n, width) vectors."""
        return self.mean + rng.standard_normal((n, len(self.mean))) @ self.root.T


def trusted(count: float, stddev: float, width: int) -> bool:
    """Whether a cluster's own moments say more than noise: its mean is off by less than a quarter.

    Args:
        count: Noisy number of records.
        stddev: Of the noise on each number.
        width: Of the vectors.
    """
    return count > 4 * stddev * math.sqrt(width)
