"""Privacy loss distributions on a grid: built pessimistically, composed by one Fourier transform.

A mechanism is stood for by a pair of distributions ``(P, Q)`` that dominates every pair of
neighbours. Its privacy loss is ``ln(P(o) / Q(o))`` for ``o`` drawn from ``P``. All that is kept is
the mass of ``P`` at each loss ``k * interval``, and at infinity. Putting a loss on the grid splits
its mass between the two grid points around it, so that the masses of both ``P`` and ``Q`` are
preserved: the hockey-stick divergence is exact on the grid and too large between its points
("connect the dots": Doroshenko, Ghazi, Kamath, Kumar, Manurangsi 2022, arXiv 2207.04380).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

INTERVAL = 1e-4
TAIL = 1e-24
"""Mass that a single mechanism's distribution moves to infinity at either end."""
COMPOSED_TAIL = 1e-16
"""Mass that a composition moves to infinity; the errors of the transform come on top."""
MAX_SIZE = 1 << 21


class TooWideError(Exception):
    """The grid would have more than ``MAX_SIZE`` points: try again with a larger interval."""


@dataclass(frozen=True)
class Loss:
    """The privacy loss of one direction (a record removed, or added).

    Args:
        interval: Distance between grid points, in nats.
        lowest: The first grid point, as a multiple of ``interval``.
        masses: (n,) masses of ``P`` at the grid points.
        infinity: Mass of ``P`` at infinity.
    """

    interval: float
    lowest: int
    masses: Array
    infinity: float

    def __post_init__(self) -> None:
        # No comparison with it holds, so every epsilon would be found to be small enough.
        if math.isnan(float(self.masses.sum()) + self.infinity):
            raise ArithmeticError("a privacy loss distribution has a mass that is no number")

    @cached_property
    def losses(self) -> Array:
        """(n,) the losses at the grid points."""
        return (self.lowest + np.arange(len(self.masses), dtype=np.float64)) * self.interval

    @cached_property
    def tails(self) -> tuple[Array, Array, Array]:
        """Losses at least 0, and the masses of ``P`` and ``Q`` at or above each of them."""
        losses = self.losses
        start = int(np.searchsorted(losses, 0.0))
        losses, masses = losses[start:], self.masses[start:]
        above = np.cumsum(masses[::-1])[::-1] + self.infinity
        below = np.cumsum((masses * np.exp(-losses))[::-1])[::-1]
        return losses, above, below

    def delta(self, epsilon: float) -> float:
        """The hockey-stick divergence at ``epsilon >= 0``."""
        losses, masses = self.losses, self.masses
        above = losses > epsilon
        gap = -np.expm1(epsilon - losses[above])
        return min(1.0, float(masses[above] @ gap) + self.infinity)

    def epsilon(self, delta: float) -> float:
        """The smallest ``epsilon >= 0`` whose divergence is at most ``delta``, or infinity."""
        if self.infinity > delta:
            return math.inf
        losses, above, below = self.tails
        if len(losses) == 0:
            return 0.0
        # Between two grid points the divergence is above - e^eps * below, both summed over the
        # losses beyond; at losses[i] it takes the sums of i, whose own term is zero.
        over = above - np.exp(np.minimum(losses, 700.0)) * below > delta
        last = int(np.flatnonzero(over)[-1]) if over.any() else -1
        if last == len(losses) - 1:
            return float(losses[-1])
        upper, lower = above[last + 1], below[last + 1]
        if upper <= delta:
            return max(0.0, float(losses[last])) if last >= 0 else 0.0
        if lower == 0:
            return float(losses[last + 1])
        return max(0.0, math.log((upper - delta) / lower))

    def vertices(self) -> tuple[Array, Array]:
        """Corners of the trade-off curve at losses at least 0: false and true positive rates.

        A test that accuses at losses of at least ``l`` has the mass of ``Q`` above ``l`` as its
        false positive rate and that of ``P`` as its true positive rate.
        """
        _, above, below = self.tails
        return np.minimum(below, 1.0), np.minimum(above, 1.0)


@dataclass(frozen=True)
class Pair:
    """The losses of both directions; one object twice where the two are the same."""

    remove: Loss
    add: Loss

    @property
    def directions(self) -> tuple[Loss, ...]:
        """The different directions."""
        return (self.remove,) if self.add is self.remove else (self.remove, self.add)

    def delta(self, epsilon: float) -> float:
        """The larger divergence of the two."""
        return max(loss.delta(epsilon) for loss in self.directions)

    def epsilon(self, delta: float) -> float:
        """The larger epsilon of the two."""
        return max(loss.epsilon(delta) for loss in self.directions)


def symmetric(loss: Loss) -> Pair:
    """A mechanism whose two directions have the same loss."""
    return Pair(loss, loss)


def check_size(width: float, interval: float) -> None:
    """Refuses a grid over ``width`` nats that would not fit in memory."""
    if not width / interval <= MAX_SIZE:
        raise TooWideError


def from_points(losses: Array, masses: Array, infinity: float, interval: float) -> Loss:
    """The loss distribution with these ``masses`` at these ``losses``, put on the grid."""
    check_size(float(np.max(losses) - np.min(losses)), interval)
    index = np.floor(losses / interval).astype(np.int64)
    # Solves up + down = mass and up e^-(eps + h) + down e^-eps = mass e^-loss.
    share = np.expm1(index * interval - losses) / math.expm1(-interval)
    up = masses * np.clip(share, 0.0, 1.0)
    lowest = int(index.min())
    size = int(index.max()) - lowest + 2
    grid = np.asarray(np.bincount(index - lowest, masses - up, size), dtype=np.float64)
    grid += np.bincount(index - lowest + 1, up, size)
    return Loss(interval, lowest, grid, infinity)


def from_cells(
    lowest: int, upper: Array, lower: Array, below: float, infinity: float, interval: float
) -> Loss:
    """The loss distribution with these masses between neighbouring grid points.

    Args:
        lowest: The first edge, as a multiple of ``interval``.
        upper: (n,) masses of ``P`` between the edges; each with its own relative precision.
        lower: (n,) masses of ``Q`` between the edges.
        below: Mass of ``P`` below the first edge, rounded up to it.
        infinity: Mass of ``P`` above the last edge.
        interval: Distance between edges.
    """
    edges = (lowest + np.arange(len(upper), dtype=np.float64)) * interval
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = np.exp(edges + np.log(lower) - np.log(upper))
    # No mass of Q: all goes up. The ratio is at most 1, but for rounding errors.
    share = (1 - np.clip(np.nan_to_num(ratio, nan=0.0), 0.0, 1.0)) / -math.expm1(-interval)
    up = upper * np.minimum(share, 1.0)
    grid = np.zeros(len(upper) + 1)
    grid[:-1] += upper - up
    grid[1:] += up
    grid[0] += below
    return Loss(interval, lowest, grid, infinity)


def compose(parts: Sequence[tuple[Pair, int]], interval: float) -> Pair:
    """The loss of all ``parts``, each run as often as its count says, adaptively or not."""
    remove = _compose([(pair.remove, count) for pair, count in parts], interval)
    if all(pair.add is pair.remove for pair, _ in parts):
        return symmetric(remove)
    return Pair(remove, _compose([(pair.add, count) for pair, count in parts], interval))


def _compose(parts: Sequence[tuple[Loss, int]], interval: float) -> Loss:
    """One direction of a composition: a product in the Fourier domain.

    The transform is circular over a window that holds all but ``COMPOSED_TAIL`` of the mass.
    What lies above the window is charged to infinity although it also reappears inside.
    """
    from scipy import fft

    if not parts:
        return Loss(interval, 0, np.ones(1), 0.0)
    if len(parts) == 1 and parts[0][1] == 1:
        return parts[0][0]
    lowest, highest = _window(parts)
    if highest - lowest >= MAX_SIZE:
        raise TooWideError
    size = fft.next_fast_len(highest - lowest + 1, real=True)
    product = np.ones(size // 2 + 1, dtype=np.complex128)
    offset, escaped, rounding = 0, 0.0, 0.0
    for loss, count in parts:
        folded = np.bincount(np.arange(len(loss.masses)) % size, loss.masses, size)
        product *= _power(fft.rfft(folded), count)
        offset += loss.lowest * count
        escaped += count * math.log1p(-min(loss.infinity, 1 - 1e-16))
        rounding += count * 2.0**-50  # the relative error of each factor adds up in _power
    masses = np.maximum(fft.irfft(product, size), 0.0)
    masses = np.roll(masses, offset - lowest)[: highest - lowest + 1]
    infinity = min(1.0, -math.expm1(escaped) + COMPOSED_TAIL + rounding)
    return Loss(interval, lowest, masses, infinity)


def _power(values: NDArray[np.complex128], count: int) -> NDArray[np.complex128]:
    """``values ** count`` by repeated squaring, much faster than the complex power function."""
    result = np.ones_like(values)
    while count:
        if count & 1:
            result *= values
        count >>= 1
        if count:
            values = values * values
    return result


def _window(parts: Sequence[tuple[Loss, int]]) -> tuple[int, int]:
    """Grid points outside which the sum has mass at most ``COMPOSED_TAIL`` (Chernoff's bound)."""
    low = sum(loss.lowest * count for loss, count in parts)
    high = sum((loss.lowest + len(loss.masses) - 1) * count for loss, count in parts)
    centred, mean, variance = [], 0.0, 0.0
    for loss, count in parts:
        total = float(loss.masses.sum())
        if total == 0:
            return 0, 0  # everything is revealed with certainty: nothing is left on the grid
        index = loss.lowest + np.arange(len(loss.masses), dtype=np.float64)
        centre = float(loss.masses @ index) / total
        index -= centre
        centred.append((loss.masses, index, count))
        mean += count * centre
        variance += count * float(loss.masses @ index**2) / total
    if variance == 0:
        return round(mean), round(mean)
    reach = -math.log(COMPOSED_TAIL / 2)

    def bound(order: float, sign: int) -> float:
        """The distance from the mean beyond which Chernoff's bound leaves half of the tail."""
        total = reach
        for masses, index, count in centred:
            with np.errstate(over="ignore", invalid="ignore"):
                moment = float(masses @ np.exp(sign * order * index))
            total += count * math.log(moment) if 0 < moment < math.inf else math.inf
        return total / order

    start = math.sqrt(2 * reach / variance)  # the best order for a normal distribution
    upper = min(high, mean + _least(lambda order: bound(order, 1), start))
    lower = max(low, mean - _least(lambda order: bound(order, -1), start))
    return math.floor(lower), math.ceil(upper)


def _least(bound: Callable[[float], float], start: float) -> float:
    """About the least value of a function that falls, then rises: by halving and doubling."""
    order, least = start, bound(start)
    for factor in (0.5, 2.0):
        tries = 40 if factor < 1 else 3  # an overflow at the start says nothing
        for _ in range(tries):
            value = bound(order * factor)
            if value >= least and math.isfinite(least):
                break
            order, least = order * factor, min(least, value)
    return least
