"""Lower bounds from one run with many canaries, each included by a fair coin of its own.

Source: Steinke, Nasr, Jagielski, NeurIPS 2023, arXiv:2305.08846.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

SHARES = (0.1, 0.3, 1.0)


def one_run(
    scores: NDArray[Any],
    included: NDArray[np.bool_],
    delta: float,
    alarm: float,
    shares: Sequence[float] = SHARES,
) -> float:
    """A lower bound on epsilon at ``delta``, by the (epsilon, delta) form of the bound.

    Args:
        scores: (m,) the larger, the more likely the canary was included.
        included: (m,) the coins.
        delta: Where epsilon is read off; the bound is of no use unless ``m delta`` is tiny.
        alarm: Probability with which the bound is too high, divided between ``shares``.
        shares: See :func:`guessed`.
    """
    best = 0.0
    for guesses, correct in guessed(scores, included, shares):
        bound = one_run_bound(len(scores), guesses, correct, delta, alarm / len(shares))
        best = max(best, bound)
    return best


def guessed(
    scores: NDArray[Any],
    included: NDArray[np.bool_],
    shares: Sequence[float] = SHARES,
    rng: np.random.Generator | None = None,
) -> list[tuple[int, int]]:
    """How many canaries are guessed, and how many of the guesses are right, for each share.

    Args:
        scores: (m,) the larger, the more likely the canary was included.
        included: (m,) the coins.
        shares: Shares of the canaries that are guessed (those of the highest scores "in", as many
            of the lowest "out"), fixed beforehand; for the rest the auditor abstains.
        rng: Orders equal scores; None is the same order each time, which will do where the coins
            owe nothing to the positions.
    """
    m = len(scores)
    # Equal scores are ordered by chance: by position those who are in might all come first.
    order = np.lexsort(((rng or np.random.default_rng(0)).random(m), scores))
    found = []
    for share in shares:
        each = max(1, int(share * m / 2))
        correct = int(included[order[-each:]].sum() + (~included[order[:each]]).sum())
        found.append((2 * each, correct))
    return found


def one_run_bound(m: int, guesses: int, correct: int, delta: float, level: float) -> float:
    """The largest epsilon under which so many correct guesses are less likely than ``level``.

    Under (epsilon, delta)-DP ``Pr[V >= v] <= beta + 2 m delta alpha`` (Theorem 5.2), with
    ``q = e^eps / (1 + e^eps)``, ``beta = Pr[Bin(r, q) >= v]`` and
    ``alpha = max_i Pr[v - i <= Bin(r, q) < v] / i``.

    Args:
        m: Canaries.
        guesses: ``r``, fixed beforehand.
        correct: ``v``.
        delta: As for :func:`one_run`.
        level: Probability with which the bound is too high.
    """
    if correct == 0:
        return 0.0
    from scipy.stats import binom

    below = np.arange(correct)

    def likely(epsilon: float) -> float:
        q = 1 / (1 + math.exp(-epsilon))
        beta = float(binom.sf(correct - 1, guesses, q))
        if delta == 0:
            return beta
        masses = np.cumsum(binom.pmf(below, guesses, q)[::-1])
        return beta + 2 * m * delta * float(np.max(masses / np.arange(1, correct + 1)))

    return largest(lambda epsilon: likely(epsilon) <= level)


def largest(refuted: Any) -> float:
    """The largest value that is refuted, where every smaller one is, too; 0 if none is."""
    low, high = 0.0, 1.0
    if not refuted(low):
        return 0.0
    while refuted(high):
        low, high = high, 2 * high
        if high > 1024:
            return low
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low
