"""Noise added to a sum, on the reals or on the integers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sfumato.privacy.accounting.pld import (
    TAIL,
    Array,
    Pair,
    check_size,
    from_cells,
    from_points,
    symmetric,
)
from sfumato.privacy.accounting.terms.claims import Concentrated
from sfumato.privacy.accounting.terms.term import (
    Term,
    grid_edges,
    losses_at,
    mixture,
    normal_cells,
    one_bit,
    points_renyi,
)

MAX_LATTICE = 1 << 21
"""Support of a discrete Gaussian above which only its concentrated-DP bound is used."""
MAX_ORDERED = 1 << 15
"""Losses of a discrete Laplace above which its Renyi bound is that of one-bit response."""


@dataclass(frozen=True)
class Gaussian(Term):
    """Gaussian noise, neighbours ``mu`` standard deviations apart."""

    mu: float

    def pair(self, interval: float) -> Pair:
        """Losses are normal, mean ``mu^2 / 2``, standard deviation ``mu``."""
        from scipy.special import ndtri

        reach = self.mu * -float(ndtri(TAIL))
        low, high = self.mu**2 / 2 - reach, self.mu**2 / 2 + reach
        edges = grid_edges(low, high, interval)
        z = losses_at(edges, interval) / self.mu
        upper, lower = normal_cells(z - self.mu / 2), normal_cells(z + self.mu / 2)
        return symmetric(from_cells(int(edges[0]), upper, lower, TAIL, TAIL, interval))

    def renyi(self, orders: Array) -> Array:
        """``alpha mu^2 / 2``."""
        return orders * (self.mu**2 / 2)


@dataclass(frozen=True)
class Laplace(Term):
    """Continuous Laplace noise, neighbours ``epsilon`` scales apart."""

    epsilon: float

    @property
    def pure_epsilon(self) -> float:
        """Its epsilon."""
        return self.epsilon

    def pair(self, interval: float) -> Pair:
        """Half of the mass at ``epsilon``, some at ``-epsilon``, a density between."""
        top = self.epsilon
        check_size(2 * top, interval)
        edges = grid_edges(-top, top, interval)
        inside = np.clip(losses_at(edges, interval), -top, top)
        upper = np.diff(np.exp((inside - top) / 2))
        lower = -np.diff(np.exp(-(inside + top) / 2))
        between = from_cells(int(edges[0]), upper, lower, 0.0, 0.0, interval)
        ends = np.array([-top, top])
        beyond = from_points(ends, np.array([math.exp(-top), 1.0]), 0.0, interval)
        return symmetric(mixture(between, beyond, 0.5))

    def renyi(self, orders: Array) -> Array:
        """Mironov 2017, Proposition 6."""
        from scipy.special import logsumexp

        a, e = orders, self.epsilon
        first = np.log(a / (2 * a - 1)) + (a - 1) * e
        second = np.log((a - 1) / (2 * a - 1)) - a * e
        total: Array = logsumexp(np.stack([first, second]), axis=0) / (a - 1)
        return np.maximum(total, 0.0)


@dataclass(frozen=True)
class DiscreteLaplace(Term):
    """Integer noise ``P(x) ~ exp(-parameter |x|)``, neighbours ``shift`` apart."""

    parameter: float
    shift: int

    @property
    def pure_epsilon(self) -> float:
        """``parameter * shift``."""
        return self.parameter * self.shift

    def pair(self, interval: float) -> Pair:
        """One point for each integer between the two centres, one for each side."""
        losses, masses = self._points()
        return symmetric(from_points(losses, masses, 0.0, interval))

    def renyi(self, orders: Array) -> Array:
        """From the finite list of losses, exactly; beyond a size, that of one-bit response."""
        if self.shift > MAX_ORDERED:
            return points_renyi(*one_bit(self.pure_epsilon), orders)
        return points_renyi(*self._points(), orders)

    def _points(self) -> tuple[Array, Array]:
        a, s = self.parameter, self.shift
        if s > MAX_LATTICE:  # the continuous limit is no bound; fall back to what is pure
            return one_bit(a * s)
        # P is centred at 0, Q at s: the loss at x is a (|x - s| - |x|).
        inner = np.arange(1, s, dtype=np.float64)
        centre, side = math.tanh(a / 2), 1 / (1 + math.exp(-a))  # P(0), and P(x <= 0)
        losses = np.concatenate([[a * s], a * (s - 2 * inner), [-a * s]])
        masses = np.concatenate([[side], centre * np.exp(-a * inner), [side * math.exp(-a * s)]])
        return losses, masses


@dataclass(frozen=True)
class DiscreteGaussian(Term):
    """Integer noise ``P(x) ~ exp(-x^2 / (2 stddev^2))``, neighbours ``shift`` apart."""

    stddev: float
    shift: int

    @property
    def spread(self) -> float:
        """That of the continuous Gaussian."""
        return self.shift / self.stddev

    def pair(self, interval: float) -> Pair:
        """One point for each integer; what lies beyond ``TAIL`` is charged to infinity."""
        reach = _reach(self.stddev)
        x = np.arange(-reach, reach + 1, dtype=np.float64)
        log_masses = -(x**2) / (2 * self.stddev**2)
        masses = np.exp(log_masses) / np.exp(log_masses).sum()
        losses = self.shift * (self.shift - 2 * x) / (2 * self.stddev**2)
        check_size(float(losses[0] - losses[-1]), interval)
        # The sum over |x| > reach is below 2 TAIL of the whole: P(|X| > sigma t) <= 2 e^{-t^2/2}.
        return symmetric(from_points(losses, masses, 2 * TAIL, interval))

    def renyi(self, orders: Array) -> Array:
        """At most the continuous Gaussian's (Canonne, Kamath, Steinke 2020, Proposition 5)."""
        return orders * (self.shift**2 / (2 * self.stddev**2))


def discrete_gaussian(stddev: float, shift: int) -> Term:
    """The exact loss, or the concentrated bound of noise that spans too many integers."""
    if 2 * _reach(stddev) > MAX_LATTICE:
        return Concentrated(shift**2 / (2 * stddev**2))
    return DiscreteGaussian(stddev, shift)


def _reach(stddev: float) -> int:
    """Beyond this the noise has mass at most ``2 TAIL``."""
    return math.ceil(stddev * math.sqrt(-2 * math.log(TAIL)))
