"""What every term answers, and what several of them are computed with."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InputError
from sfumato.privacy.accounting.pld import Array, Loss, Pair, check_size


class Term:
    """One mechanism under one relation. Terms are values: equal ones are composed at once."""

    @property
    def pure_epsilon(self) -> float:
        """Epsilon at delta 0; infinite where there is none."""
        return math.inf

    def pair(self, interval: float) -> Pair:
        """The losses of both directions on a grid."""
        raise NotImplementedError

    def renyi(self, orders: Array) -> Array:
        """Bounds on the Renyi divergences of these orders, in both directions."""
        raise InputError(f"{type(self).__name__} has no Renyi bound here", "Use epsilon().")

    @property
    def spread(self) -> float:
        """About the standard deviation of the loss: how fine a grid it deserves."""
        return self.pure_epsilon

    @property
    def slack(self) -> float:
        """Probability with which :meth:`renyi` does not hold."""
        return 0.0


def one_bit(epsilon: float) -> tuple[Array, Array]:
    """Losses and masses of randomised response of one bit, the worst ``epsilon``-DP mechanism."""
    from scipy.special import expit

    losses = np.array([-epsilon, epsilon])
    return losses, expit(losses)


def grid_edges(low: float, high: float, interval: float) -> NDArray[np.int64]:
    """The grid points from just below ``low`` to just above ``high``."""
    check_size(high - low, interval)
    return np.arange(math.floor(low / interval), math.ceil(high / interval) + 1, dtype=np.int64)


def losses_at(points: NDArray[np.int64], interval: float) -> Array:
    """The losses at these grid points."""
    return points.astype(np.float64) * interval


def normal_cells(z: Array) -> Array:
    """(n-1,) masses of a standard normal between neighbouring ``z``, precise in both tails."""
    from scipy.special import ndtr

    below, above = ndtr(z), ndtr(-z)
    cells: Array = np.where(z[:-1] > 0, above[:-1] - above[1:], below[1:] - below[:-1])
    return np.maximum(cells, 0.0)


def mixture(first: Loss, second: Loss, share: float) -> Loss:
    """With probability ``share`` the first, else the second."""
    lowest = min(first.lowest, second.lowest)
    highest = max(loss.lowest + len(loss.masses) for loss in (first, second))
    grid = np.zeros(highest - lowest)
    for loss, weight in ((first, share), (second, 1 - share)):
        start = loss.lowest - lowest
        grid[start : start + len(loss.masses)] += weight * loss.masses
    infinity = share * first.infinity + (1 - share) * second.infinity
    return Loss(first.interval, lowest, grid, infinity)


def points_renyi(losses: Array, masses: Array, orders: Array) -> Array:
    """Renyi divergences ``ln(sum P e^{(alpha - 1) loss}) / (alpha - 1)`` of a finite list."""
    from scipy.special import logsumexp

    held = masses > 0
    losses, masses = losses[held], masses[held]
    terms = (orders[:, None] - 1) * losses[None, :]
    total: Array = logsumexp(terms, b=masses[None, :], axis=1) / (orders - 1)
    return np.maximum(total, 0.0)
