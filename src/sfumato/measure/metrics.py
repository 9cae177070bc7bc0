"""Figures of a model on test records, each with an interval over the drawing of those records."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfumato.measure.intervals import Interval, clopper_pearson, normal_quantile, placements

Figure = tuple[float | None, Interval | None]

CLASSIFICATION = ("accuracy", "balanced accuracy", "AUROC")
REGRESSION = ("R2", "MAE")


def classification(
    truth: NDArray[Any], probabilities: NDArray[Any], confidence: float = 0.95
) -> dict[str, Figure]:
    """Accuracy, balanced accuracy and AUROC of predicted probabilities.

    Args:
        truth: (n,) class numbers below K.
        probabilities: (n, K), a column for each class.
        confidence: Of the intervals.

    Returns:
        By metric, value and interval. Balanced accuracy averages over the classes that are in
        ``truth``; AUROC is one class against the rest, averaged over the classes that are in
        ``truth`` and not all of it, and None if there are none.
    """
    guesses = probabilities.argmax(axis=1)
    right = int(np.sum(guesses == truth))
    return {
        "accuracy": (right / len(truth), clopper_pearson(right, len(truth), confidence)),
        "balanced accuracy": _balanced(truth, guesses, confidence),
        "AUROC": _auroc(truth, probabilities, confidence),
    }


def _balanced(truth: NDArray[Any], guesses: NDArray[Any], confidence: float) -> Figure:
    recalls, variances = [], []
    for label in np.unique(truth):
        hits = guesses[truth == label] == label
        n, k = len(hits), int(hits.sum())
        softened = (k + 2) / (n + 4)  # a recall of 0 or 1 in few records is not certain
        recalls.append(k / n)
        variances.append(softened * (1 - softened) / n)
    value = float(np.mean(recalls))
    reach = normal_quantile(confidence) * math.sqrt(sum(variances)) / len(recalls)
    return value, (max(0.0, value - reach), min(1.0, value + reach))


def _auroc(truth: NDArray[Any], probabilities: NDArray[Any], confidence: float) -> Figure:
    """The macro average and its standard error from each record's own influence on it."""
    present = [c for c in np.unique(truth) if np.any(truth != c)]
    if not present:
        return None, None
    if probabilities.shape[1] == 2:
        present = [1]  # the other class's curve is the same one, mirrored
    influence = np.zeros(len(truth))
    areas = []
    for label in present:
        inside = truth == label
        standing, opposite = placements(probabilities[inside, label], probabilities[~inside, label])
        area = float(standing.mean())
        areas.append(area)
        influence[inside] += (standing - area) / inside.mean()
        influence[~inside] += (opposite - area) / (1 - inside.mean())
    value = float(np.mean(areas))
    error = float(influence.std()) / len(present) / math.sqrt(len(truth))
    reach = normal_quantile(confidence) * error
    return value, (max(0.0, value - reach), min(1.0, value + reach))


def regression(
    truth: NDArray[Any], guesses: NDArray[Any], confidence: float = 0.95
) -> dict[str, Figure]:
    """R2 (against the mean of ``truth``) and mean absolute error.

    Args:
        truth: (n,) numbers.
        guesses: (n,) numbers.
        confidence: Of the intervals.

    Returns:
        By metric, value and interval. R2 is None where ``truth`` is constant.
    """
    z = normal_quantile(confidence)
    n = len(truth)
    wrong = np.abs(truth - guesses)
    error = float(wrong.mean())
    reach = z * float(wrong.std()) / math.sqrt(n)
    squares, spread = wrong**2, (truth - truth.mean()) ** 2
    r2: Figure = (None, None)
    if spread.mean() > 0:
        ratio = float(squares.mean() / spread.mean())
        slope = (squares - ratio * spread) / spread.mean()
        around = z * float(slope.std()) / math.sqrt(n)
        r2 = 1 - ratio, (1 - ratio - around, min(1.0, 1 - ratio + around))
    return {"R2": r2, "MAE": (error, (max(0.0, error - reach), error + reach))}
