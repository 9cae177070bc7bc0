"""Scores of how well a model knows a record, on scales where certainty does not saturate."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SMALLEST = 1e-30


def log_odds(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """How sure a model is of the true classes.

    The others' probabilities are summed, not one minus the true one's, so that the many records
    of which a good model is nearly certain stay apart.

    Args:
        probabilities: (n, K), rows that sum to 1.
        labels: (n,) class numbers.

    Returns:
        (n,) ``log(p / (1 - p))`` of the true class.

    Source: Carlini et al., S&P 2022, section V-B.

    >>> log_odds(np.array([[0.75, 0.25], [0.5, 0.5]]), np.array([0, 1])).round(4).tolist()
    [1.0986, 0.0]
    """
    rows = np.arange(len(labels))
    rest = probabilities.copy()
    rest[rows, labels] = 0.0
    true = probabilities[rows, labels]
    odds: NDArray[np.float64] = np.log(np.maximum(true, SMALLEST)) - np.log(
        np.maximum(rest.sum(axis=1), SMALLEST)
    )
    return odds


def log_odds_of_scores(
    scores: NDArray[np.float64], labels: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The same from (n, K) unnormalised log-probabilities."""
    from scipy.special import logsumexp

    rows = np.arange(len(labels))
    rest = scores.copy()
    rest[rows, labels] = -np.inf
    limit = -np.log(SMALLEST)
    return np.clip(scores[rows, labels] - logsumexp(rest, axis=1), -limit, limit)


def modified_entropy(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The entropy of a prediction, told the true class: 0 where it is right and certain.

    ``-(1 - p_y) log p_y - sum over the others of p_i log(1 - p_i)``.

    Args:
        probabilities: (n, K).
        labels: (n,) class numbers.

    Source: Song, Mittal, USENIX Security 2021, equation 8.

    >>> modified_entropy(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0, 0])).round(1).tolist()
    [0.0, 138.2]
    """
    rows = np.arange(len(labels))
    true = probabilities[rows, labels]
    rest = probabilities.copy()
    rest[rows, labels] = 0.0
    missing = np.maximum(rest.sum(axis=1), 0.0)  # 1 - p_y, exact where p_y is near 1
    inner = -missing * np.log(np.maximum(true, SMALLEST))
    others = 1 - rest
    wrong = np.flatnonzero(rest.max(axis=1) > 0.5)  # there 1 - p_i is the sum of all but i
    top = rest[wrong].argmax(axis=1)
    left = probabilities[wrong].copy()
    left[np.arange(len(wrong)), top] = 0.0
    others[wrong, top] = left.sum(axis=1)
    result: NDArray[np.float64] = inner - (rest * np.log(np.maximum(others, SMALLEST))).sum(axis=1)
    return result


def correct(probabilities: NDArray[np.float64], labels: NDArray[Any]) -> NDArray[np.bool_]:
    """(n,) whether the likeliest class is the true one."""
    found: NDArray[np.bool_] = probabilities.argmax(axis=1) == labels
    return found
