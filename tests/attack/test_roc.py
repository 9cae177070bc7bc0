from __future__ import annotations

import numpy as np
import pytest

from sfumato.attack import blind, roc
from sfumato.attack.ceilings import Ceiling
from sfumato.attack.targets import Records
from sfumato.measure import intervals


def scores(shift: float, size: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(shift, 1, size), rng.normal(0, 1, size)


def area(points: tuple[tuple[float, float], ...]) -> float:
    fpr, tpr = np.array(points).T
    return float(np.trapezoid(tpr, fpr))


def test_curve_rises_from_corner_to_corner_with_the_area_of_the_auc() -> None:
    positives, negatives = scores(1.0, 3000)
    whole, thinned = roc.curve(positives, negatives, 10**9), roc.curve(positives, negatives)
    assert len(thinned) <= 260 < len(whole)
    for points in (whole, thinned):
        assert (points[0], points[-1]) == ((0.0, 0.0), (1.0, 1.0))
        assert (np.diff(np.array(points), axis=0) >= 0).all()
    assert area(whole) == pytest.approx(intervals.auc(positives, negatives)[0], abs=1e-12)
    assert area(thinned) == pytest.approx(area(whole), abs=5e-3)


def test_swapped_sides_are_caught() -> None:
    positives, negatives = scores(1.0)
    right = intervals.auc(positives, negatives)
    swapped = intervals.auc(negatives, positives)
    assert right[1][0] > 0.5 > swapped[1][1]
    assert right[0] == pytest.approx(1 - swapped[0], abs=1e-12)
    assert area(roc.curve(positives, negatives, 10**9)) > 0.5
    assert area(roc.curve(negatives, positives, 10**9)) < 0.5


def test_tied_scores_are_one_step() -> None:
    points = roc.curve(np.array([1.0, 1, 0, 0]), np.array([1.0, 0, 0, 0]))
    assert points == ((0.0, 0.0), (0.25, 0.5), (1.0, 1.0))


def test_rates_at_a_low_false_positive_rate() -> None:
    positives = np.concatenate([np.full(30, 10.0), np.zeros(70)])
    negatives = np.arange(100) / 100
    (point,) = roc.at_low_fpr(positives, negatives, (0.05,), 0.95, None)
    assert point["fpr"] == 0.05
    assert point["tpr"] == 0.3
    assert point["tpr_interval"][0] < 0.3 < point["tpr_interval"][1]
    assert point["ceiling"] is None
    assert point["breaks_guarantee"] is False


def test_a_threshold_inside_a_tie_accuses_nobody_of_the_tie() -> None:
    positives, negatives = np.ones(100), np.concatenate([np.ones(50), np.zeros(50)])
    for point in roc.at_low_fpr(positives, negatives, (0.01, 0.001), 0.95, None):
        assert (point["fpr"], point["tpr"]) == (0.0, 0.0)
    (everybody,) = roc.at_low_fpr(positives, negatives, (1.0,), 0.95, None)
    assert (everybody["fpr"], everybody["tpr"]) == (1.0, 1.0)


def test_a_point_breaks_the_guarantee_only_beyond_both_uncertainties() -> None:
    secrecy = Ceiling.of_curve(lambda fpr: fpr)
    separated = np.full(500, 2.0), np.linspace(0, 1, 500)
    assert roc.at_low_fpr(*separated, (0.01,), 0.95, secrecy)[0]["breaks_guarantee"]
    few = np.full(20, 2.0), np.linspace(0, 1, 20)
    loose = Ceiling.of_curve(lambda fpr: min(1.0, 20 * fpr))
    assert not roc.at_low_fpr(*few, (0.01,), 0.95, loose)[0]["breaks_guarantee"]


def test_a_point_beats_chance_only_beyond_both_uncertainties() -> None:
    some = np.concatenate([np.full(30, 2.0), np.linspace(0, 1, 970)]), np.linspace(0, 1, 1000)
    assert all(p["beats_chance"] for p in roc.at_low_fpr(*some, (0.01, 0.001), 0.95, None))
    few = np.concatenate([np.full(3, 2.0), np.linspace(0, 1, 97)]), np.linspace(0, 1, 100)
    assert not any(p["beats_chance"] for p in roc.at_low_fpr(*few, (0.01, 0.001), 0.95, None))


def test_scores_that_say_nothing_beat_chance_at_no_point() -> None:
    """1,000 guessers at 99 %, of whom luck is allowed 5: more than 18 are a chance of 1e-6."""
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(1000):
        scores = np.floor(-2 * np.log(rng.random((2, 150))))  # many are tied
        points = roc.at_low_fpr(scores[0], scores[1], (0.01, 0.001), 0.99, None)
        alarms += any(point["beats_chance"] for point in points)
    assert alarms <= 18


def test_what_is_seen_without_the_release_is_no_find() -> None:
    rng = np.random.default_rng(0)
    values = [rng.normal(size=(600, 2)).astype(np.float32) for _ in range(2)]
    values[0][:100, 0] += 6  # a tenth of the members are told by what they are
    scores = [side[:, 0].astype(np.float64) for side in values]
    known = blind.scores(Records(values[0]), Records(values[1]), rng)
    alone = roc.at_low_fpr(scores[0], scores[1], (0.01, 0.001), 0.95, None)
    beside = roc.at_low_fpr(scores[0], scores[1], (0.01, 0.001), 0.95, None, known)
    assert all(point["beats_chance"] for point in alone)
    assert not any(point["beats_chance"] for point in beside)
    assert all(abs(point["baseline"] - point["tpr"]) < 0.05 for point in beside)


def test_the_best_threshold_is_not_judged_where_it_was_chosen() -> None:
    """Of scores that say nothing, the best gap of 40 looks like 0.2; an honest one is 0."""
    gaps, covered = [], 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        found = roc.at_best_threshold(rng.random(40), rng.random(40), 0.95, rng)
        gaps.append(found["advantage"])
        covered += found["interval"][0] <= 0 <= found["interval"][1]
    assert abs(np.mean(gaps)) < 0.06  # five standard errors
    assert covered >= 175


def test_who_is_judged_chose_no_threshold() -> None:
    """Whatever the chosen half scores, the other's counts are of its own records alone."""
    seen = []
    source = np.random.default_rng(0)
    for _ in range(20):
        scores, rng = source.random((2, 41)), np.random.default_rng(1)
        found = roc.at_best_threshold(scores[0], scores[1], 0.95, rng)
        assert (found["members"], found["others"]) == (20, 20)
        # The same draw again: the judged half are the last of each permutation.
        again = np.random.default_rng(1)
        halves = [np.array_split(again.permutation(side), 2) for side in scores]
        threshold = roc._best(halves[0][0], halves[1][0])
        seen.append(found["revealed"] == np.sum(halves[0][1] >= threshold))
    assert all(seen)


def test_sides_that_separate_are_all_revealed() -> None:
    rng = np.random.default_rng(0)
    found = roc.at_best_threshold(np.arange(50) + 100.0, np.arange(60), 0.95, rng)
    assert (found["revealed"], found["members"], found["accused"], found["others"]) == (
        25,
        25,
        0,
        30,
    )
    assert found["advantage"] == 1.0
