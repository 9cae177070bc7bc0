"""The best of a random number of trials (Papernot, Steinke, ICLR 2022, arXiv 2110.03620).

Theorem 2 there, for a geometric number of trials with mean m: if a trial has Renyi divergences
``e(l)``, the one that is picked has, at every order l > 1,

    e(l) + 2 min over l' of [(1 - 1/l') e(l') + ln(m) / l'] + ln(m) / (l - 1).

At infinite orders that is three times a trial's pure epsilon, however many trials there are.
A trial that first draws one of several candidates, independently of the data, and says which, has
at each order at most the largest divergence of the candidates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sfumato.privacy.accounting.pld import TAIL, Array, Pair, check_size, symmetric
from sfumato.privacy.accounting.terms.claims import Worst, from_profile
from sfumato.privacy.accounting.terms.term import Term, losses_at

_LARGEST = 300.0
_POINTS = 4096
_BEYOND_1 = np.geomspace(2.0**-6, 2.0**10, 300)


@dataclass(frozen=True)
class Selected(Term):
    """What was picked among the trials.

    Args:
        candidates: The terms of a trial, and how often each is run, of each candidate.
        mean: The expected number of trials.
    """

    candidates: tuple[tuple[tuple[Term, int], ...], ...]
    mean: float

    @property
    def trial(self) -> Worst:
        """One trial."""
        return Worst(self.candidates)

    @property
    def pure_epsilon(self) -> float:
        """Three times that of a trial."""
        return 3 * self.trial.pure_epsilon

    @property
    def spread(self) -> float:
        """Of three trials."""
        return 3 * self.trial.spread

    @property
    def slack(self) -> float:
        """That of a trial; the theorem is for none."""
        return self.trial.slack

    def renyi(self, orders: Array) -> Array:
        """The theorem's; neither a trial's bounds nor these exceed those of larger orders."""
        divergences = _no_more_than_beyond(orders, self.trial.renyi(orders))
        often = math.log(self.mean)
        other = np.min((1 - 1 / orders) * divergences + often / orders)
        return _no_more_than_beyond(orders, divergences + 2 * other + often / (orders - 1))

    def pair(self, interval: float) -> Pair:
        """The worst pair of distributions that the divergences of many orders allow."""
        orders = 1 + _BEYOND_1
        divergences = self.renyi(orders)
        pure = self.pure_epsilon
        reach = min(float(np.min(_reach(orders, divergences))), pure, _LARGEST)
        check_size(2 * reach, interval)
        top = math.ceil(reach / interval) + 1
        index: NDArray[np.int64] = np.unique(np.linspace(0, top, _POINTS).astype(np.int64))
        epsilons = losses_at(index, interval)
        deltas = _deltas(orders, divergences, epsilons)
        deltas[epsilons >= pure] = 0.0
        return symmetric(from_profile(index, deltas, interval))


def _no_more_than_beyond(orders: Array, bounds: Array) -> Array:
    """Each bound, or a larger order's where that is less: divergences never fall with the order."""
    falling = np.argsort(orders)[::-1]
    least = np.empty_like(bounds)
    least[falling] = np.minimum.accumulate(bounds[falling])
    return least


def _deltas(orders: Array, divergences: Array, epsilons: Array) -> Array:
    """The best bound of all orders at each epsilon (Canonne, Kamath, Steinke 2020, Prop. 12)."""
    less_one = orders - 1
    constant = orders * np.log1p(-1 / orders) - np.log(less_one)
    # At epsilon 0 the total variation counts too (Bretagnolle, Huber 1979).
    best = np.full(len(epsilons), math.sqrt(-math.expm1(-float(divergences.min()))))
    for times, divergence, plus in zip(less_one, divergences, constant, strict=True):
        bound = times * (divergence - epsilons) + plus
        best = np.minimum(best, np.exp(np.minimum(bound, 0.0)))
    return best


def _reach(orders: Array, divergences: Array) -> Array:
    """For each order an epsilon at which its bound on delta is negligible."""
    less_one = orders - 1
    constant = orders * np.log1p(-1 / orders) - np.log(less_one)
    return np.asarray(divergences + (constant - math.log(TAIL)) / less_one)
