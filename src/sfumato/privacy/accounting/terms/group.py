"""Several records at once: group privacy on the whole privacy profile of what was run."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sfumato.privacy.accounting import tradeoff
from sfumato.privacy.accounting.pld import Array, Pair, compose, symmetric
from sfumato.privacy.accounting.terms.claims import Bounded, from_profile
from sfumato.privacy.accounting.terms.term import Term

_POINTS = 4096
_FURTHEST = 1e3  # an epsilon for one record beyond which none is looked for
_HALVINGS = 60


@dataclass(frozen=True)
class Grouped(Term):
    """Of these terms together, what holds for ``size`` records at once.

    If one record is protected by ``(epsilon, delta)``, a chain of ``size`` neighbours gives
    ``(size epsilon, delta (1 + e^epsilon + ... + e^((size - 1) epsilon)))`` (Vadhan 2017, Lemma
    2.2), for every point of the profile.

    Args:
        inner: Terms for one record, with how often each was run.
        size: Records.
    """

    inner: tuple[tuple[Term, int], ...]
    size: int

    @property
    def pure_epsilon(self) -> float:
        """``size`` times that of one record."""
        return self.size * math.fsum(term.pure_epsilon * count for term, count in self.inner)

    @property
    def spread(self) -> float:
        """``size`` times that of one record."""
        return self.size * max(term.spread * math.sqrt(count) for term, count in self.inner)

    def pair(self, interval: float) -> Pair:
        """The worst pair of distributions that the profile of the group allows."""
        one = compose([(term.pair(interval), count) for term, count in self.inner], interval)
        losses, deltas = tradeoff.profile(one)
        kept = np.unique(np.linspace(0, len(losses) - 1, _POINTS).astype(np.int64))
        kept = np.unique(np.append(kept, len(losses) - 1))
        bounds = np.minimum(1.0, deltas[kept] * chain(losses[kept], self.size))
        # A delta holds at every larger epsilon, too.
        bounds = np.minimum.accumulate(bounds)
        index = self.size * kept
        pure = self.pure_epsilon
        if pure < math.inf:
            bounds = np.where(index * interval >= pure, 0.0, bounds)
            if bounds[-1] > 0:
                return Bounded(pure).pair(interval)
        return symmetric(from_profile(index, bounds, interval))


def chain(epsilon: Array, size: int) -> Array:
    """``1 + e^epsilon + ... + e^((size - 1) epsilon)``; infinite where that is too large."""
    with np.errstate(over="ignore"):
        powers = np.exp(np.multiply.outer(np.arange(size), epsilon))
    return np.asarray(powers.sum(axis=0))


def group_delta(epsilon: float, size: int, delta_of_one: Callable[[float], float]) -> float:
    """The delta of ``size`` records at ``epsilon``, from that of one record."""
    one = epsilon / size
    delta = delta_of_one(one)
    return min(1.0, delta * float(chain(np.array(one), size))) if delta > 0 else 0.0


def group_epsilon(delta: float, size: int, delta_of_one: Callable[[float], float]) -> float:
    """The least epsilon of ``size`` records that was found to hold at ``delta``.

    Args:
        delta: In ``(0, 1)``.
        size: Records.
        delta_of_one: The delta of one record at an epsilon.
    """

    def holds(one: float) -> bool:
        return group_delta(size * one, size, delta_of_one) <= delta

    high = 2.0**-10
    while not holds(high):
        high *= 2
        if high > _FURTHEST:
            return math.inf
    low = high / 2 if high > 2.0**-10 else 0.0
    if low == 0 and holds(0.0):
        return 0.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if high - low <= 1e-9 * high:
            break
        low, high = (low, middle) if holds(middle) else (middle, high)
    return size * high
