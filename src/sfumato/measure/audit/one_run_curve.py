"""One run again, by the whole trade-off curve of a guarantee.

For a curve such as a Gaussian's it finds more than the bound by (epsilon, delta), at levels of a
percent or so; at tiny levels, where such curves allow nearly everything, it finds less.

What is proven, and used: let ``V`` of ``r`` guesses on ``m`` canaries be right, ``p_i`` be the
probability of ``V = i``, and ``F`` be the largest true positive rate that the guarantee allows at
a false positive rate (concave, symmetric in the two neighbours). For a canary drawn at random, "its
guess is right and ``V >= t``" and, its coin turned over, "its guess is wrong and ``V >= t - 1``"
are one event on the release and the other coins. So, by Jensen's inequality,

    sum_{i >= t} i p_i / m  <=  F( sum_{i >= t - 1} (r - i) p_i / m )        for every t.

The most likely way to ``V >= v`` under these has all of that at ``v`` itself, and below it, from
``v - 1`` down, the least mass that each inequality asks for: mass further up costs more to the
right and gives less to the left. What comes to more than 1 in all cannot be.

Source: the game of Steinke, Nasr, Jagielski, NeurIPS 2023; a bound by trade-off curves is that of
Mahloujifar, Melis, Chaudhuri, "Auditing f-Differential Privacy in One Run", arXiv:2410.22235.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sfumato.measure.audit.one_run import largest

Inverse = Callable[[float], float]
"""From a true positive rate to the least false positive rate at which the guarantee allows it."""


def refutes(m: int, guesses: int, correct: int, least_fpr: Inverse, level: float) -> bool:
    """Whether so many right guesses, or more, are less likely than ``level`` under a guarantee.

    Args:
        m: Canaries.
        guesses: How many of them are guessed, fixed beforehand.
        correct: How many guesses are right.
        least_fpr: The guarantee.
        level: Probability with which this refutes a guarantee that holds.
    """
    return correct > 0 and _mass(m, guesses, correct, least_fpr, level) > 1


def _mass(m: int, guesses: int, correct: int, least_fpr: Inverse, tail: float) -> float:
    """What ``Pr[V >= correct] = tail`` needs in all; the exact value does not matter above 1."""
    right = tail * correct / m
    wrong = tail * (guesses - correct) / m
    total = tail
    for i in range(correct - 1, -1, -1):
        needed = least_fpr(right)
        if needed > wrong:
            more = (needed - wrong) * m / (guesses - i)
            total += more
            if total > 1:
                break
            wrong = needed
            right += more * i / m
    return total


def one_run_mu(m: int, guesses: int, correct: int, level: float) -> float:
    """The largest mu for which so many right guesses of a mu-GDP mechanism are that unlikely."""
    return largest(lambda mu: refutes(m, guesses, correct, of_mu(mu), level))


def of_epsilon(epsilon: float, delta: float) -> Inverse:
    """The curve of (epsilon, delta)-DP."""
    factor = math.exp(min(epsilon, 700.0))

    def least_fpr(tpr: float) -> float:
        return max(0.0, (tpr - delta) / factor, 1 - delta - factor * (1 - tpr))

    return least_fpr


def of_mu(mu: float) -> Inverse:
    """The curve of mu-GDP."""
    from scipy.special import ndtr, ndtri

    def least_fpr(tpr: float) -> float:
        return float(ndtr(ndtri(tpr) - mu)) if 0 < tpr < 1 else float(tpr >= 1)

    return least_fpr


@dataclass(frozen=True)
class Tabulated:
    """Any curve, from points of it; between two points it is taken to be as high as the later one.

    Args:
        fpr: (k,) rising from 0 to 1.
        tpr: (k,) the curve there.
    """

    fpr: NDArray[np.float64]
    tpr: NDArray[np.float64]

    @classmethod
    def of(cls, ceiling: Callable[[float], float], points: int = 1500) -> Tabulated:
        """A guarantee's ceiling, at points that are dense where either rate is small."""
        tail = np.geomspace(1e-9, 0.02, points // 3)
        fpr = np.concatenate([[0.0], tail, np.linspace(0.02, 0.98, points // 3)[1:], [1.0]])
        fpr = np.unique(np.concatenate([fpr, 1 - tail]))
        tpr = np.maximum.accumulate([min(1.0, ceiling(float(x))) for x in fpr])
        return cls(fpr, np.asarray(tpr, np.float64))

    def __call__(self, tpr: float) -> float:
        """The least false positive rate at which ``tpr`` may be reached, from below."""
        at = int(np.searchsorted(self.tpr, tpr, "left"))
        return 0.0 if at == 0 else float(self.fpr[min(at, len(self.fpr)) - 1])
