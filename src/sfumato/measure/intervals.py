"""Confidence intervals that hold at the sizes and extremes where attacks are read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import ROUND_FLOOR, Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InputError

Interval = tuple[float, float]

FEWEST_PERSONS = 10


def clopper_pearson(successes: float, trials: float, confidence: float = 0.95) -> Interval:
    """The exact interval of a binomial proportion.

    Args:
        successes: In ``[0, trials]``.
        trials: Above 0.
        confidence: At least this is covered, whatever the true proportion.

    Source: Clopper and Pearson, Biometrika 1934.

    >>> [round(bound, 4) for bound in clopper_pearson(0, 100)]
    [0.0, 0.0362]
    """
    from scipy.special import betaincinv

    tail = (1 - confidence) / 2
    low = 0.0 if successes <= 0 else float(betaincinv(successes, trials - successes + 1, tail))
    high = 1.0
    if successes < trials:
        high = float(betaincinv(successes + 1, trials - successes, 1 - tail))
    rate = successes / trials
    return min(low, rate), max(high, rate)


def bounded_mean(rate: float, trials: float, confidence: float = 0.95) -> Interval:
    """An interval of the mean of independent values in [0, 1], whatever their distribution.

    All means that the observed one, by the Chernoff bound, would not exclude; at 0 and 1 it is the
    Clopper-Pearson interval, elsewhere wider than that and narrower than the usual Hoeffding one.

    Args:
        rate: Their observed mean.
        trials: How many there are.
        confidence: At least this is covered.

    Source: Hoeffding, Journal of the American Statistical Association 58 (1963), equation 2.1.

    >>> [round(bound, 4) for bound in bounded_mean(0.0, 100)]
    [0.0, 0.0362]
    """
    limit = math.log(2 / (1 - confidence)) / trials

    def away(mean: float) -> float:
        """The relative entropy of coins of the observed and of another mean."""
        parts = ((rate, mean), (1 - rate, 1 - mean))
        return sum(p * math.log(p / q) if q > 0 else math.inf for p, q in parts if p > 0)

    def edge(outside: float) -> float:
        if away(outside) <= limit:
            return outside
        inside = rate
        for _ in range(60):
            middle = (inside + outside) / 2
            inside, outside = (inside, middle) if away(middle) > limit else (middle, outside)
        return outside

    return edge(0.0), edge(1.0)


def difference(
    successes: float, trials: float, against: float, of: float, confidence: float = 0.95
) -> Interval:
    """The interval of a difference of two independent proportions.

    The two Clopper-Pearson intervals are combined as squares (the hybrid method), which keeps
    the interval's meaning at rates of 0 and 1, where the usual normal one collapses. Equal
    proportions are covered as stated; very unequal ones are missed up to 1 % more often a side.

    Source: Newcombe, Statistics in Medicine 17 (1998) 873, method 10, on exact limits.

    >>> [round(bound, 2) for bound in difference(50, 50, 0, 50)]
    [0.9, 1.0]
    """
    p, q = successes / trials, against / of
    both = clopper_pearson(successes, trials, confidence), clopper_pearson(against, of, confidence)
    low, high = of_difference((p, q), both)
    return max(-1.0, low), min(1.0, high)


def paired_difference(
    both: int, first: int, second: int, neither: int, confidence: float = 0.95
) -> Interval:
    """The interval of a difference of two proportions of the same records.

    The exact intervals of both proportions are combined with the correlation that the four counts
    show, which is lessened by half a record where it is positive. The interval keeps a width where
    both are always right, and where they always agree.

    Args:
        both: Records that both are right about.
        first: That only the first is right about.
        second: That only the second is right about.
        neither: That neither is right about; together there is at least one.
        confidence: Of the interval.

    Source: Newcombe, Statistics in Medicine 17 (1998) 2635, method 10, on exact limits.

    >>> [round(bound, 2) for bound in paired_difference(40, 10, 0, 0)]
    [0.08, 0.34]
    """
    n = both + first + second + neither
    p, q = (both + first) / n, (both + second) / n
    around = [clopper_pearson(count, n, confidence) for count in (both + first, both + second)]
    margins = (both + first) * (second + neither) * (both + second) * (first + neither)
    together = float(both * neither - first * second)
    if together > 0:
        together = max(0.0, together - n / 2)
    alike = together / math.sqrt(margins) if margins else 0.0
    low, high = of_difference((p, q), (around[0], around[1]), alike)
    return max(-1.0, low), min(1.0, high)


def of_difference(
    figures: Sequence[float], around: tuple[Interval, Interval], alike: float = 0.0
) -> Interval:
    """The interval of a difference of two figures that have one each.

    Args:
        figures: Both.
        around: The interval of each.
        alike: The correlation of the two estimates; 0 where they are independent.

    Source: Donner and Zou, Statistics in Medicine 31 (2012) 1113.
    """
    (p, q), ((p_low, p_high), (q_low, q_high)) = figures, around

    def reach(one: float, other: float) -> float:
        return math.sqrt(max(0.0, one * one + other * other - 2 * alike * one * other))

    return p - q - reach(p - p_low, q_high - q), p - q + reach(p_high - p, q - q_low)


def normal_quantile(confidence: float) -> float:
    """How many standard errors a two-sided interval reaches."""
    from scipy.special import ndtri

    return float(ndtri((1 + confidence) / 2))


def placements(
    positives: NDArray[Any], negatives: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How each score stands among the scores of the other side.

    Ties count one half, so that scores which cannot tell the sides apart stand at 0.5.

    Returns:
        For each positive, the share of negatives below it; for each negative, the share of
        positives above it. Both average to the area under the ROC curve.
    """
    low, high = np.sort(negatives), np.sort(positives)
    below = np.searchsorted(low, positives, "left") + np.searchsorted(low, positives, "right")
    above = np.searchsorted(high, negatives, "left") + np.searchsorted(high, negatives, "right")
    return below / (2 * low.size), 1 - above / (2 * high.size)


def auc(
    positives: NDArray[Any], negatives: NDArray[Any], confidence: float = 0.95
) -> tuple[float, Interval]:
    """The area under the ROC curve with its interval.

    The interval is the wider, on either side, of DeLong's (right in the middle, but of zero
    width when the sides separate) and of a score interval (right at the ends).

    Args:
        positives: (m,) scores, higher where membership is likelier.
        negatives: (n,) scores.
        confidence: Of the interval.

    Source: DeLong, DeLong and Clarke-Pearson, Biometrics 1988; Newcombe, Statistics in Medicine
    25 (2006) 559, method 5.
    """
    standing, opposite = placements(positives, negatives)
    area = float(standing.mean())
    variance = float(standing.var(ddof=1) / standing.size + opposite.var(ddof=1) / opposite.size)
    return area, of_area(area, variance, standing.size, opposite.size, confidence)


def of_area(
    area: float, variance: float, positives: float, negatives: float, confidence: float
) -> Interval:
    """The interval of an area under the ROC curve whose variance is known.

    Args:
        area: The estimate.
        variance: Of the estimate.
        positives: As how many independent ones the scores of members count.
        negatives: The same of the others.
        confidence: Of the interval.

    Source: As for :func:`auc`.
    """
    reach = normal_quantile(confidence) * math.sqrt(variance)
    low, high = _score_interval(area, positives, negatives, confidence)
    return max(0.0, min(low, area - reach)), min(1.0, max(high, area + reach))


def auc_of_persons(
    positives: NDArray[Any],
    negatives: NDArray[Any],
    persons: NDArray[Any],
    confidence: float = 0.95,
) -> tuple[float, Interval]:
    """The area under the ROC curve of pairs of scores, several of which are of one person.

    Persons count equally, however many pairs they have: it is how often a random positive of a
    random person is above a random negative of a random person. The interval is the wider, on
    either side, of that of persons' placements (by the t distribution, for there may be few
    persons) and of a score interval of as many persons, which keeps a width where the sides
    separate.

    What is shown of it is by simulation, with 10 to 50 persons, all alike or one with 90 % of the
    pairs: where scores have an effect of the person, or of the two persons that a pair is of, an
    interval at 95 % misses in about 5 % of samples or less. Where what differs is how likely each
    *stranger* seems to everybody, it misses more: up to 13 % were seen with one pair a person. And
    strangers must be drawn by person: where one of them was in most negatives, it missed more than
    half of the time.

    Args:
        positives: (n,) scores, higher where the attack is surer.
        negatives: (n,) scores.
        persons: (n,) whose each positive and the negative beside it are.
        confidence: Of the interval.

    Raises:
        InputError: If there are fewer than 10 persons.

    Source: Obuchowski, Biometrics 53 (1997) 567; Newcombe, as for :func:`auc`.
    """
    from scipy.special import stdtrit

    at, people = numbered(persons)
    each = 1 / np.bincount(at)[at]
    standing, opposite = _below(positives, negatives, each), 1 - _below(negatives, positives, each)
    area = float(np.average(standing, weights=each))
    away = np.bincount(at, each * (standing - area)) + np.bincount(at, each * (opposite - area))
    error = math.sqrt(people / (people - 1) * float(np.square(away).sum())) / people
    reach = float(stdtrit(people - 1, (1 + confidence) / 2)) * error
    low, high = _score_interval(area, people, people, confidence)
    return area, (max(0.0, min(low, area - reach)), min(1.0, max(high, area + reach)))


def _below(
    scores: NDArray[Any], others: NDArray[Any], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Which share of the others, by their weights, each score is above; ties count one half."""
    order = np.argsort(others)
    total = np.append(0.0, np.cumsum(weights[order]))
    total /= total[-1]
    low, high = (np.searchsorted(others[order], scores, side) for side in ("left", "right"))
    return np.asarray((total[low] + total[high]) / 2, np.float64)


def numbered(persons: NDArray[Any]) -> tuple[NDArray[np.int64], int]:
    """(n,) numbers from 0 on of persons (n,), and how many there are.

    Raises:
        InputError: If there are fewer than 10, of whom no interval says anything.
    """
    names, at = np.unique(persons, return_inverse=True)
    if len(names) < FEWEST_PERSONS:
        raise InputError(
            f"{len(names)} persons are too few for an interval",
            f"Give records of at least {FEWEST_PERSONS} to judge on.",
        )
    return at.astype(np.int64), len(names)


def _score_interval(area: float, m: float, n: float, confidence: float) -> Interval:
    """All areas whose own standard error would not exclude the one that was observed."""
    z = normal_quantile(confidence)

    def excluded(true: float) -> bool:
        spread = 1 + ((m + n) / 2 - 1) * ((1 - true) / (2 - true) + true / (1 + true))
        return abs(area - true) > z * math.sqrt(true * (1 - true) * spread / (m * n))

    def edge(inside: float, outside: float) -> float:
        if not excluded(outside):
            return outside
        for _ in range(60):
            middle = (inside + outside) / 2
            inside, outside = (inside, middle) if excluded(middle) else (middle, outside)
        return outside

    # At an area of exactly 0 or 1 the formula's error is 0 there, yet that area is observed.
    return edge(area, 0.0), edge(area, 1.0)


def rounded_down(value: float, digits: int) -> str:
    """A lower bound as it is printed: never above what was found.

    >>> rounded_down(2.99951, 2), rounded_down(0.0, 3)
    ('2.99', '0.000')
    """
    if not math.isfinite(value):
        return f"{value}"
    exact = Decimal(value).quantize(Decimal(1).scaleb(-digits), rounding=ROUND_FLOOR)
    return f"{exact:f}"
