"""Mechanisms of which only a bound is known: accounted as the worst that satisfies it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sfumato.privacy.accounting.pld import (
    TAIL,
    Array,
    Loss,
    Pair,
    check_size,
    compose,
    from_points,
    symmetric,
)
from sfumato.privacy.accounting.terms.term import Term, losses_at, one_bit, points_renyi

_LARGEST = 300.0
_HELD = 600.0
"""Losses of a profile beyond this, where ``exp`` comes near its end, are charged to infinity."""


@dataclass(frozen=True)
class Concentrated(Term):
    """Only ``(xi, rho)``-zCDP is known: Renyi divergence at most ``xi + rho alpha``."""

    rho: float
    xi: float = 0.0

    @property
    def pure_epsilon(self) -> float:
        """``xi``, if that bounds the divergences of all orders."""
        return self.xi if self.rho == 0 else math.inf

    def pair(self, interval: float) -> Pair:
        """The worst pair of distributions that the implied privacy profile allows."""
        if self.rho == 0:
            return Bounded(self.xi).pair(interval)
        # Losses beyond what exp can hold are charged to infinity.
        reach = self.xi + self.rho + math.sqrt(-4 * self.rho * math.log(TAIL))
        reach = min(reach, _LARGEST)
        check_size(2 * reach, interval)
        top = math.ceil(reach / interval) + 1
        index = np.unique(np.linspace(0, top, 4096).astype(np.int64))
        return symmetric(from_profile(index, self._delta(losses_at(index, interval)), interval))

    def _delta(self, epsilons: Array) -> Array:
        """The best bound on delta at each epsilon (Canonne, Kamath, Steinke 2020, Prop. 12).

        Any order gives a bound; the search only has to come near the best one.
        """
        best = np.full(len(epsilons), math.sqrt(-math.expm1(-self.rho - self.xi)))
        centre = np.maximum((epsilons - self.xi + self.rho) / (2 * self.rho) - 1, 1e-3)
        for factor in np.geomspace(0.05, 4.0, 160):
            less_one = centre * factor  # alpha - 1
            order = less_one + 1
            log_delta = (
                less_one * (self.xi + self.rho * order - epsilons)
                + order * np.log1p(-1 / order)
                - np.log(less_one)
            )
            best = np.minimum(best, np.exp(np.minimum(log_delta, 0.0)))
        return best

    def renyi(self, orders: Array) -> Array:
        """``xi + rho alpha``."""
        return self.xi + self.rho * orders


@dataclass(frozen=True)
class Bounded(Term):
    """Only ``(epsilon, delta)``-DP is known (the worst such mechanism; Kairouz et al. 2015)."""

    epsilon: float
    delta: float = 0.0

    @property
    def pure_epsilon(self) -> float:
        """Its epsilon, if delta is 0."""
        return self.epsilon if self.delta == 0 else math.inf

    def pair(self, interval: float) -> Pair:
        """Everything revealed with probability delta, else randomised response of one bit."""
        losses, masses = one_bit(self.epsilon)
        return symmetric(from_points(losses, (1 - self.delta) * masses, self.delta, interval))

    def renyi(self, orders: Array) -> Array:
        """That of randomised response of one bit, which dominates."""
        return points_renyi(*one_bit(self.epsilon), orders)

    @property
    def slack(self) -> float:
        """Delta."""
        return self.delta


@dataclass(frozen=True)
class Worst(Term):
    """One of several compositions, nobody knows which: the worst profile that bounds them all.

    Args:
        alternatives: Terms and how often each is run.
    """

    alternatives: tuple[tuple[tuple[Term, int], ...], ...]

    @property
    def pure_epsilon(self) -> float:
        """The largest of the sums."""
        return max(
            math.fsum(term.pure_epsilon * count for term, count in terms)
            for terms in self.alternatives
        )

    def pair(self, interval: float) -> Pair:
        """The worst pair of distributions that the pointwise largest privacy profile allows."""
        losses = [
            loss
            for terms in self.alternatives
            for loss in compose(
                [(term.pair(interval), count) for term, count in terms], interval
            ).directions
        ]
        top = 1 + max(0, *(loss.lowest + len(loss.masses) for loss in losses))
        index = np.unique(np.linspace(0, top, min(top + 1, _MOST_POINTS)).astype(np.int64))
        deltas = np.max([_profile(loss, index) for loss in losses], axis=0)
        return symmetric(from_profile(index, deltas, interval))

    def renyi(self, orders: Array) -> Array:
        """The largest of the sums, order by order."""
        sums = [
            np.sum([count * term.renyi(orders) for term, count in terms], axis=0)
            for terms in self.alternatives
        ]
        return np.asarray(np.max(sums, axis=0))

    @property
    def spread(self) -> float:
        """Of the loss of the most spread alternative."""
        squares = [sum(n * term.spread**2 for term, n in terms) for terms in self.alternatives]
        return math.sqrt(max(squares))

    @property
    def slack(self) -> float:
        """The largest of the sums."""
        return max(sum(n * term.slack for term, n in terms) for terms in self.alternatives)


_MOST_POINTS = 1 << 16


def _profile(loss: Loss, index: NDArray[np.int64]) -> Array:
    """The divergence at ``index * interval``, from sums over the losses beyond each."""
    losses, above, below = loss.tails
    if len(losses) == 0:
        return np.full(len(index), loss.infinity)
    at = np.clip(index - max(0, loss.lowest), 0, len(losses) - 1)
    epsilons = losses_at(index, loss.interval)
    beyond = index > max(0, loss.lowest) + len(losses) - 1
    found = above[at] - np.exp(np.minimum(epsilons, 700.0)) * below[at]
    # Rounding errors of the sums are charged, not gained.
    return np.where(beyond, loss.infinity, np.maximum(found, loss.infinity))


def from_profile(index: NDArray[np.int64], deltas: Array, interval: float) -> Loss:
    """The loss of the worst mechanism whose delta at ``index * interval`` is at most ``deltas``.

    The true divergence is convex in ``gamma = e^epsilon``, so it lies below the lower convex hull
    of the bounds; the hull's corners are where a dominating pair has its mass. Both directions
    obey the same bounds, hence the symmetric result. Bounds beyond ``_HELD`` are not looked at:
    what the last one before leaves may have any loss.

    Args:
        index: (n,) increasing, from 0.
        deltas: (n,) bounds on the divergence.
        interval: Distance between grid points.
    """
    held = max(1, int(np.searchsorted(losses_at(index, interval), _HELD, "right")))
    index, deltas = index[:held], deltas[:held]
    gammas = np.exp(losses_at(index, interval))
    # At gamma = 1 convexity across 1/gamma and gamma caps the bound (both are known).
    chords = (2 * deltas[1:] + gammas[1:] - 1) / (1 + gammas[1:])
    first = float(np.min(chords, initial=deltas[0]))
    heights = np.concatenate([[first], deltas[1:]])
    corners: list[int] = []
    for i in range(len(index)):
        while len(corners) >= 2:
            a, b = corners[-2], corners[-1]
            before = (heights[b] - heights[a]) / (gammas[b] - gammas[a])
            if (heights[i] - heights[b]) / (gammas[i] - gammas[b]) > before:
                break
            corners.pop()
        corners.append(i)
    at, height = gammas[corners], heights[corners]
    slopes = np.append(np.diff(height) / np.diff(at), 0.0)
    low = np.maximum(np.diff(slopes), 0.0)  # mass of Q at each corner beyond the first
    high = at[1:] * low  # mass of P there; by symmetry Q's at the opposite loss
    infinity = float(height[-1])
    centre = max(0.0, 1 - infinity - math.fsum(low) - math.fsum(high))
    k = index[corners[1:]]
    size = int(k[-1]) if len(k) else 0
    grid = np.zeros(2 * size + 1)
    grid[size + k], grid[size - k], grid[size] = high, low, centre
    return Loss(interval, -size, grid, infinity)
