"""Lower bounds on epsilon from samples: what a mechanism leaks at least, at a stated confidence.

Nothing here knows a mechanism or its accountant. Thresholds are chosen on a pilot part of the
samples and judged on the rest, so no bound needs to hold for a threshold that saw its own data.

Sources: Jagielski, Ullman, Oprea 2020 (two points, Clopper-Pearson); Nasr et al. 2023 (Gaussian
DP); Steinke, Nasr, Jagielski 2023 (one run); training_attacks.md C10.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

ALARM = 1e-6
"""Probability with which a bound of this module is wrong, unless told otherwise."""

Samples = NDArray[np.float64]
Codes = NDArray[Any]


def clopper_pearson(hits: int, n: int, alarm: float) -> tuple[float, float]:
    """Bounds on a probability, each wrong with probability at most ``alarm``."""
    from scipy.special import betainccinv, betaincinv

    low = 0.0 if hits == 0 else float(betaincinv(hits, n - hits + 1, alarm))
    high = 1.0 if hits == n else float(betainccinv(hits + 1, n - hits, alarm))
    return low, high


@dataclass(frozen=True)
class Test:
    """One way of telling two samples apart, on fresh data.

    Args:
        tpr: (low, estimate, high) of accusing the one that is accused.
        fpr: (low, estimate, high) of accusing the other.
    """

    __test__ = False  # not one of pytest's

    tpr: tuple[float, float, float]
    fpr: tuple[float, float, float]

    def epsilon(self, delta: float) -> float:
        """The epsilon that any mechanism with these rates has at least."""
        seen = self.tpr[0] - delta
        return max(0.0, math.log(seen / self.fpr[2])) if seen > 0 else 0.0

    def mu(self) -> float:
        """The mu that a Gaussian mechanism with these rates has at least."""
        from scipy.special import ndtri

        return max(0.0, float(ndtri(self.tpr[0]) - ndtri(self.fpr[2])))


def two_point(a: Samples, b: Samples, delta: float = 0.0, alarm: float = ALARM) -> float:
    """A lower bound on epsilon from outputs on two neighbouring inputs.

    Args:
        a: (n,) a statistic of each run on the one, or (n, k) integer codes that a statistic is
            learnt from (on the pilot part).
        b: The same on the other.
        delta: Of the claim.
        alarm: Probability with which the bound is too high.
    """
    return best_test(a, b, lambda test: test.epsilon(delta), alarm).epsilon(delta)


def two_point_mu(a: Samples, b: Samples, alarm: float = ALARM) -> float:
    """A lower bound on mu of Gaussian DP, as :func:`two_point`."""
    return best_test(a, b, Test.mu, alarm).mu()


def excess(
    a: Samples, b: Samples, ceiling: Callable[[float], float], alarm: float = ALARM
) -> float:
    """How far the surely reached true positive rate is above what a guarantee allows.

    Args:
        a: As :func:`two_point`.
        b: As :func:`two_point`.
        ceiling: The best true positive rate at a false positive rate; increasing.
        alarm: Probability with which this is above 0 although the guarantee holds.
    """

    def above(test: Test) -> float:
        return test.tpr[0] - ceiling(min(1.0, test.fpr[2]))

    return above(best_test(a, b, above, alarm))


def best_test(a: Samples, b: Samples, score: Callable[[Test], float], alarm: float) -> Test:
    """The test that promises most on a quarter of the samples, as it turns out on the others."""
    (pilot_a, rest_a), (pilot_b, rest_b) = (_parts(np.asarray(x)) for x in (a, b))
    if pilot_a.ndim == 2:
        # The ratio is learnt on one half of the pilot, the threshold on the other.
        half = len(pilot_a) // 2
        ratio = learn_ratio(pilot_a[:half], pilot_b[:half])
        pilot_a, pilot_b, rest_a, rest_b = (
            ratio(codes) for codes in (pilot_a[half:], pilot_b[half:], rest_a, rest_b)
        )
    pooled = np.concatenate([pilot_a, pilot_b])
    cuts = np.unique(np.quantile(pooled, np.linspace(0.01, 0.99, 41), method="nearest"))
    candidates = [(cut, high, swap) for cut in cuts for high in (0, 1) for swap in (0, 1)]
    growth = len(rest_a) / len(pilot_a)

    def promised(candidate: tuple[float, int, int]) -> tuple[float, ...]:
        # Where no candidate promises anything, the least unpromising.
        return tuple(
            score(_judge(pilot_a, pilot_b, candidate, level, growth))
            for level in (alarm, 1e-3, 0.1)
        )

    chosen = max(candidates, key=promised)
    return _judge(rest_a, rest_b, chosen, alarm, 1.0)


def learn_ratio(a: Codes, b: Codes) -> Callable[[Codes], Samples]:
    """A log likelihood ratio of rows of codes, column by column, from two samples of them."""
    size = int(max(a.max(), b.max())) + 1
    tables = []
    for one, other in zip(a.T, b.T, strict=True):
        # Half a count a level keeps unseen levels finite.
        p, q = (np.bincount(codes, minlength=size) + 0.5 for codes in (one, other))
        tables.append(np.log(p / p.sum()) - np.log(q / q.sum()))

    def ratio(codes: Codes) -> Samples:
        known = np.minimum(codes, size - 1)
        return sum((t[c] for t, c in zip(tables, known.T, strict=True)), np.zeros(len(codes)))

    return ratio


def _parts(samples: Codes) -> tuple[Codes, Codes]:
    pilot = max(2, len(samples) // 4)
    return samples[:pilot], samples[pilot:]


def _judge(
    a: Samples, b: Samples, candidate: tuple[float, int, int], alarm: float, growth: float
) -> Test:
    """The rates of one candidate; ``growth`` says how many more samples there will be."""
    cut, high, swap = candidate
    one, other = (b, a) if swap else (a, b)
    rates = []
    for sample in (one, other):
        n = round(len(sample) * growth)
        hits = round(float(np.mean(sample >= cut if high else sample <= cut)) * n)
        low, up = clopper_pearson(hits, n, alarm / 2)
        rates.append((low, hits / n, up))
    return Test(rates[0], rates[1])


# -- one run -----------------------------------------------------------------------------------


def one_run(
    scores: Samples,
    included: NDArray[np.bool_],
    delta: float = 0.0,
    alarm: float = ALARM,
    shares: Sequence[float] = (0.1, 0.3, 1.0),
) -> float:
    """A lower bound on epsilon from one run with many canaries, each included by a fair coin.

    Args:
        scores: (m,) the larger, the more likely the canary was included.
        included: (m,) the coins.
        delta: Of the claim.
        alarm: Probability with which the bound is too high, shared between ``shares``.
        shares: Shares of the canaries that are guessed (half of them "in", half "out"), fixed
            beforehand; for the rest the auditor abstains.
    """
    m = len(scores)
    # Equal scores are ordered by chance, not by position: positions know nothing, but who knows.
    order = np.lexsort((np.random.default_rng(0).random(m), scores))
    best = 0.0
    for share in shares:
        each = max(1, int(share * m / 2))
        correct = int(included[order[-each:]].sum() + (~included[order[:each]]).sum())
        best = max(best, one_run_bound(m, 2 * each, correct, delta, alarm / len(shares)))
    return best


def one_run_bound(m: int, guesses: int, correct: int, delta: float, level: float) -> float:
    """The largest epsilon under which so many correct guesses are less likely than ``level``.

    Under (epsilon, delta)-DP ``Pr[V >= v] <= beta + 2 m delta alpha`` (Steinke, Nasr, Jagielski
    2023, Theorem 5.2), with ``q = e^eps / (1 + e^eps)``, ``beta = Pr[Bin(r, q) >= v]`` and
    ``alpha = max_i Pr[v - i <= Bin(r, q) < v] / i``.
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

    low, high = 0.0, 1.0
    if likely(low) > level:
        return 0.0
    while likely(high) <= level:
        low, high = high, 2 * high
        if high > 1024:
            return low
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if likely(middle) <= level else (low, middle)
    return low


# -- independence ------------------------------------------------------------------------------


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
