from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom
from sklearn import metrics as sk

from sfumato.measure import metrics


def guesses(n: int, k: int, seed: int, signal: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, k, n)
    odds = rng.normal(size=(n, k)) + signal * np.eye(k)[truth]
    weights = np.exp(odds)
    return truth, weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("k", [2, 3, 10])
def test_classification_agrees_with_scikit_learn(k: int) -> None:
    truth, probabilities = guesses(500, k, k)
    figures = metrics.classification(truth, probabilities)
    hard = probabilities.argmax(axis=1)
    given = probabilities[:, 1] if k == 2 else probabilities
    expected = {
        "accuracy": sk.accuracy_score(truth, hard),
        "balanced accuracy": sk.balanced_accuracy_score(truth, hard),
        "AUROC": sk.roc_auc_score(truth, given, multi_class="ovr", average="macro"),
    }
    for metric, value in expected.items():
        got, interval = figures[metric]
        assert got == pytest.approx(value, abs=1e-12)
        assert interval is not None
        assert interval[0] < value < interval[1]


def test_permuting_the_classes_changes_nothing() -> None:
    truth, probabilities = guesses(300, 4, 0)
    order = np.array([2, 0, 3, 1])
    turned = metrics.classification(np.argsort(order)[truth], probabilities[:, order])
    for metric, (value, interval) in metrics.classification(truth, probabilities).items():
        assert turned[metric][0] == pytest.approx(value)
        assert turned[metric][1] == pytest.approx(interval)
    # Planted defect: columns permuted without the labels.
    broken = metrics.classification(truth, probabilities[:, order])
    assert broken["AUROC"][0] < 0.5  # type: ignore[operator]


def test_classes_that_are_absent_do_not_count() -> None:
    truth, probabilities = guesses(200, 3, 1)
    kept = truth != 2
    figures = metrics.classification(truth[kept], probabilities[kept])
    hard = probabilities[kept].argmax(axis=1)
    recalls = [np.mean(hard[truth[kept] == c] == c) for c in (0, 1)]
    assert figures["balanced accuracy"][0] == pytest.approx(np.mean(recalls))
    alone = metrics.classification(np.zeros(50, int), np.tile([0.9, 0.1], (50, 1)))
    assert alone["AUROC"] == (None, None)
    assert alone["accuracy"][0] == 1.0


def test_intervals_cover_the_truth_as_often_as_stated() -> None:
    """400 runs at 95 %; 347 or fewer have probability 1e-6 or so even at a coverage of 93 %."""
    whole = metrics.classification(*guesses(200_000, 3, 99))
    runs, hits = 400, dict.fromkeys(metrics.CLASSIFICATION, 0)
    for run in range(runs):
        for metric, (_, interval) in metrics.classification(*guesses(200, 3, run)).items():
            assert interval is not None
            value = whole[metric][0]
            assert value is not None
            hits[metric] += interval[0] <= value <= interval[1]
    assert min(hits.values()) >= binom.ppf(1e-6, runs, 0.93)


def test_regression_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(50, 10, 400)
    guess = truth + rng.normal(0, 5, 400)
    figures = metrics.regression(truth, guess)
    assert figures["R2"][0] == pytest.approx(sk.r2_score(truth, guess))
    assert figures["MAE"][0] == pytest.approx(sk.mean_absolute_error(truth, guess))
    for value, interval in figures.values():
        assert value is not None
        assert interval is not None
        assert interval[0] < value < interval[1]
    assert metrics.regression(np.ones(5), np.zeros(5))["R2"] == (None, None)
    assert metrics.regression(truth, truth)["R2"][0] == 1.0
