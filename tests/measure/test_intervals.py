from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats import binom, binomtest
from sklearn.metrics import roc_auc_score

from sfumato.errors import InputError
from sfumato.measure import intervals


@pytest.mark.parametrize(("k", "n"), [(0, 20), (20, 20), (3, 20), (500, 1000)])
def test_clopper_pearson_is_the_exact_interval(k: int, n: int) -> None:
    exact = binomtest(k, n).proportion_ci(0.95, method="exact")
    assert intervals.clopper_pearson(k, n) == pytest.approx((exact.low, exact.high), abs=1e-9)


@pytest.mark.parametrize("n", [20, 60])
@pytest.mark.parametrize("p", [0.02, 0.3, 0.5, 0.97])
@pytest.mark.parametrize("q", [0.02, 0.3, 0.5, 0.97])
def test_difference_is_covered_as_stated(n: int, p: float, q: float) -> None:
    """Coverage is summed over all outcomes, so this has no false-alarm rate."""
    ks = np.arange(n + 1)
    a, b = binom.pmf(ks, n, p), binom.pmf(ks, n, q)
    missed_below = missed_above = 0.0
    for i in ks[a > 1e-9]:
        for j in ks[b > 1e-9]:
            low, high = intervals.difference(i, n, j, n)
            missed_below += a[i] * b[j] * (low > p - q + 1e-12)
            missed_above += a[i] * b[j] * (high < p - q - 1e-12)
    allowed = 0.025 if p == q else 0.035
    assert missed_below <= allowed
    assert missed_above <= allowed


def test_difference_of_extremes_keeps_a_width() -> None:
    low, high = intervals.difference(30, 30, 0, 30)
    assert 0.8 < low < 1.0 == high
    assert intervals.difference(0, 30, 30, 30)[0] == -1.0


def test_auc_counts_ties_one_half() -> None:
    rng = np.random.default_rng(0)
    positives, negatives = rng.integers(0, 4, 300), rng.integers(0, 3, 200)
    truth = np.repeat([1, 0], [300, 200])
    area, (low, high) = intervals.auc(positives, negatives)
    assert area == pytest.approx(roc_auc_score(truth, np.concatenate([positives, negatives])))
    assert low < area < high


def test_constant_scores_say_nothing_and_a_count_without_ties_is_caught() -> None:
    same = np.zeros(50)
    area, (low, high) = intervals.auc(same, same)
    assert area == 0.5
    assert low < 0.5 < high
    # Planted defect: ties counted as wins, as "positives >= negatives" does.
    careless = np.mean(same[:, None] >= same[None, :])
    assert not low <= careless <= high


def test_separated_scores_keep_a_width() -> None:
    area, (low, high) = intervals.auc(np.ones(30), np.zeros(30))
    assert (area, high) == (1.0, 1.0)
    assert 0.85 < low < 1.0
    area, (low, high) = intervals.auc(np.zeros(30), np.ones(30))
    assert (area, low) == (0.0, 0.0)
    assert 0.0 < high < 0.15


def covered(interval: object, runs: int = 600, size: int = 25) -> int:
    """How often an interval holds the true area of two equal normal distributions."""
    rng = np.random.default_rng(7)
    hits = 0
    for _ in range(runs):
        _, (low, high) = interval(rng.normal(size=size), rng.normal(size=size))  # type: ignore[operator]
        hits += low <= 0.5 <= high
    return hits


def test_auc_interval_covers_in_small_samples() -> None:
    """600 runs at 95 %; 532 or fewer have probability 1e-6 if the coverage is as stated."""
    least = binom.ppf(1e-6, 600, 0.95)
    assert covered(intervals.auc) >= least

    def too_narrow(positives: np.ndarray, negatives: np.ndarray) -> object:
        """Planted defect: one side's variance is forgotten."""
        standing, _ = intervals.placements(positives, negatives)
        reach = 1.96 * standing.std(ddof=1) / np.sqrt(standing.size)
        return standing.mean(), (standing.mean() - reach, standing.mean() + reach)

    assert covered(too_narrow) < least


def test_the_mean_of_shares_is_covered_whatever_their_distribution() -> None:
    """600 samples of three kinds at 95 %: 60 misses by luck once in 1e7 times or less."""
    rng = np.random.default_rng(0)
    for values in ([0.0, 1.0], [0.5, 1.0], [0.0, 0.1, 1.0]):
        missed = 0
        for _ in range(600):
            drawn = rng.choice(values, 30)
            low, high = intervals.bounded_mean(float(drawn.mean()), 30, 0.95)
            missed += not low <= float(np.mean(values)) <= high
        assert missed < 60
    assert intervals.bounded_mean(1.0, 21) == pytest.approx(intervals.clopper_pearson(21, 21))
    low, high = intervals.bounded_mean(0.5, 100)
    reach = float(np.sqrt(np.log(2 / 0.05) / 200))
    assert 0.5 - reach < low < intervals.clopper_pearson(50, 100)[0]
    assert low + high == pytest.approx(1)


@pytest.mark.parametrize(("people", "each"), [(10, 4), (25, 3)])
@pytest.mark.parametrize("area", [0.5, 0.98])
def test_the_area_of_persons_is_covered_as_stated(people: int, each: int, area: float) -> None:
    """300 samples at 95 %: 45 misses by luck once in 1e8 times. Rows as persons miss more."""
    rng, missed, by_row = np.random.default_rng(0), 0, 0
    apart = 2**0.5 * float(ndtri(area))
    whose = np.arange(people).repeat(each)
    for _ in range(300):
        same, other = (
            0.9 * rng.standard_normal(people)[whose] + 0.19**0.5 * rng.standard_normal(len(whose))
            for _ in range(2)
        )
        _, (low, high) = intervals.auc_of_persons(same + apart, other, whose)
        missed += not low <= area <= high
        low, high = intervals.auc(same + apart, other)[1]
        by_row += not low <= area <= high
    assert missed < 45
    if area == 0.5:
        assert by_row > 75


def _of_pairs(whose: Any, people: int, rng: Any) -> tuple[Any, Any]:
    """Scores that are a number of the two persons, and little noise."""
    table = rng.standard_normal((people, people))
    other = (whose + rng.integers(1, people, len(whose))) % people
    noise = 0.3 * rng.standard_normal((2, len(whose)))
    return table[whose, whose] + noise[0], table[whose, other] + noise[1]


def _of_persons(whose: Any, people: int, rng: Any) -> tuple[Any, Any]:
    """Scores with an effect of the person on each side, which says nothing of the other side's."""
    same, other = rng.standard_normal((2, people))[:, whose]
    noise = 0.5 * rng.standard_normal((2, len(whose)))
    return same + noise[0], other + noise[1]


def _uneven(kind: str, people: int, rng: Any) -> Any:
    """(n,) persons of whom a few have most of the pairs."""
    if kind == "spread":
        drawn = np.exp(rng.normal(1.5, 2, people))
        return np.arange(people).repeat(np.rint(drawn).clip(2, 600).astype(int))
    share = {"half": 1, "nine tenths": 9}[kind]
    sizes = np.full(people, 4)
    sizes[0] = 4 * share * (people - 1)
    return np.arange(people).repeat(sizes)


def _missed(draw: Any, kind: str, people: int, samples: int) -> int:
    rng, missed = np.random.default_rng(0), 0
    for _ in range(samples):
        whose = _uneven(kind, people, rng)
        low, high = intervals.auc_of_persons(*draw(whose, people, rng), whose)[1]
        missed += not low <= 0.5 <= high
    return missed


@pytest.mark.parametrize("draw", [_of_pairs, _of_persons])
@pytest.mark.parametrize("kind", ["spread", "nine tenths"])
def test_the_area_is_covered_where_one_person_has_most_pairs(draw: Any, kind: str) -> None:
    """100 samples at 95 %: 22 misses by luck less than once in 1e8.

    Weighed by pair, the one with nine tenths of them makes it 60 (pairs) and 76 (persons).
    """
    assert _missed(draw, kind, 20, 100) < 22


@pytest.mark.slow
@pytest.mark.parametrize("draw", [_of_pairs, _of_persons])
@pytest.mark.parametrize("kind", ["spread", "half", "nine tenths"])
@pytest.mark.parametrize("people", [10, 20, 50])
def test_the_area_of_uneven_persons_is_covered_as_stated(draw: Any, kind: str, people: int) -> None:
    """1000 samples at 95 %: 90 misses by luck once in 1e7 times or less."""
    assert _missed(draw, kind, people, 1000) < 90


def test_persons_count_equally_however_many_pairs_they_have() -> None:
    """One is always told, and has most pairs; of the others nobody is."""
    whose = np.append(np.zeros(1000, int), np.arange(1, 20))
    same, other = np.zeros(len(whose)), np.zeros(len(whose))
    same[:1000] = 1.0
    area, (low, high) = intervals.auc_of_persons(same, other, whose)
    assert area == pytest.approx(0.5 + 0.5 / 20)
    assert low < 0.5 < high
    each = np.arange(40).repeat(3)
    scores = np.random.default_rng(0).standard_normal((2, 120)).round(1)
    area, _ = intervals.auc_of_persons(scores[0], scores[1], each)
    assert area == pytest.approx(intervals.auc(scores[0], scores[1])[0], abs=1e-12)


def test_persons_who_are_all_told_keep_a_width_and_few_are_refused() -> None:
    scores = np.arange(40.0)
    area, (low, high) = intervals.auc_of_persons(scores + 100, scores, np.arange(20).repeat(2))
    assert area == high == 1.0
    assert 0.7 < low < 0.95
    with pytest.raises(InputError, match="9 persons are too few"):
        intervals.auc_of_persons(scores, scores, np.minimum(np.arange(40), 8))
