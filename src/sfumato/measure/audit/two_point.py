"""Lower bounds from many runs on each of two neighbouring inputs.

Sources: Jagielski, Ullman, Oprea, NeurIPS 2020, arXiv:2006.07709 (Clopper-Pearson); Nasr, Hayes,
Steinke et al., USENIX Security 2023, arXiv:2302.07956 (Gaussian DP).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfumato.measure.audit.learners import Learner, learn_ratio
from sfumato.measure.audit.rates import Rates, limits

Samples = NDArray[Any]
PILOT = 0.25
"""Share of the runs that choose a statistic and a threshold; they are not judged."""


def two_point(
    a: Samples,
    b: Samples,
    delta: float,
    alarm: float,
    learners: Sequence[Learner] = (learn_ratio,),
) -> float:
    """A lower bound on epsilon from outputs on two neighbouring inputs.

    Args:
        a: (n,) a statistic of each run on the one, or (n, k) features that a statistic is learnt
            from, on the pilot part.
        b: The same on the other.
        delta: Where epsilon is read off.
        alarm: Probability with which the bound is above the true epsilon.
        learners: Ways to learn a statistic, for (n, k) features; the pilot part chooses one.
    """
    return best_rates(a, b, lambda rates: rates.epsilon(delta), alarm, learners).epsilon(delta)


def two_point_mu(
    a: Samples, b: Samples, alarm: float, learners: Sequence[Learner] = (learn_ratio,)
) -> float:
    """A lower bound on the mu for which the mechanism is mu-GDP; arguments of :func:`two_point`."""
    return best_rates(a, b, Rates.mu, alarm, learners).mu()


def excess(
    a: Samples,
    b: Samples,
    ceiling: Callable[[float], float],
    alarm: float,
    learners: Sequence[Learner] = (learn_ratio,),
) -> float:
    """How far the surely reached true positive rate lies above what a guarantee allows.

    Args:
        a: As for :func:`two_point`.
        b: As for :func:`two_point`.
        ceiling: The best true positive rate at a false positive rate; increasing.
        alarm: Probability with which this is above 0 although the guarantee holds.
        learners: As for :func:`two_point`.
    """
    # Many tests on few samples share their rates, and a curve may take a while to read.
    known = lru_cache(maxsize=None)(ceiling)

    def above(rates: Rates) -> float:
        return rates.tpr[0] - known(min(1.0, rates.fpr[2]))

    return above(best_rates(a, b, above, alarm, learners))


def best_rates(
    a: Samples,
    b: Samples,
    score: Callable[[Rates], float],
    alarm: float,
    learners: Sequence[Learner] = (learn_ratio,),
) -> Rates:
    """The test that promises most on the pilot part, as it turns out on the rest.

    Args:
        a: As for :func:`two_point`.
        b: As for :func:`two_point`.
        score: What is wanted of a test's rates.
        alarm: Probability with which one of the limits of the rates is wrong.
        learners: As for :func:`two_point`.
    """
    (pilot_a, rest_a), (pilot_b, rest_b) = (_parts(np.asarray(x)) for x in (a, b))
    statistics: list[Callable[[Samples], Samples]] = [_as_it_is]
    if pilot_a.ndim == 2:
        # The statistic is learnt on one half of the pilot, the threshold on the other.
        half = len(pilot_a) // 2
        statistics = [learn(pilot_a[:half], pilot_b[:half]) for learn in learners]
        pilot_a, pilot_b = pilot_a[half:], pilot_b[half:]
    growth = len(rest_a) / len(pilot_a)
    best: tuple[tuple[float, ...], Any] | None = None
    for statistic in statistics:
        one, other = statistic(pilot_a), statistic(pilot_b)
        pooled = np.concatenate([one, other])
        cuts = np.unique(np.quantile(pooled, _shares(len(pooled)), method="nearest"))
        for candidate in ((cut, high, swap) for cut in cuts for high in (0, 1) for swap in (0, 1)):
            # Where no candidate promises anything, the least unpromising.
            promised = tuple(
                score(_judge(one, other, candidate, level, growth)) for level in (alarm, 1e-3, 0.1)
            )
            if best is None or promised > best[0]:
                best = promised, (statistic, candidate)
    assert best is not None
    statistic, candidate = best[1]
    return _judge(statistic(rest_a), statistic(rest_b), candidate, alarm, 1.0)


def _shares(n: int) -> Samples:
    """Where thresholds are tried: evenly, and down to the few most extreme of ``n`` samples."""
    tail = np.geomspace(4 / n, 0.01, 12) if n > 400 else np.zeros(0)
    return np.concatenate([tail, np.linspace(0.01, 0.99, 41), 1 - tail])


def _as_it_is(samples: Samples) -> Samples:
    return samples


def _parts(samples: Samples) -> tuple[Samples, Samples]:
    pilot = max(2, int(len(samples) * PILOT))
    return samples[:pilot], samples[pilot:]


def _judge(
    a: Samples, b: Samples, candidate: tuple[float, int, int], alarm: float, growth: float
) -> Rates:
    """The rates of one candidate; ``growth`` says how many more samples there will be."""
    cut, high, swap = candidate
    one, other = (b, a) if swap else (a, b)
    rates = []
    for sample in (one, other):
        n = round(len(sample) * growth)
        seen = int(np.sum(sample >= cut if high else sample <= cut))
        # What is promised is drawn towards one half: of many tests that were tried on few samples,
        # the best one owes much to luck.
        hits = seen if growth == 1 else round((seen + 1) / (len(sample) + 2) * n)
        low, up = limits(hits, n, alarm / 2)
        rates.append((low, hits / n, up))
    return Rates(rates[0], rates[1])
