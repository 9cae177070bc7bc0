"""Statistics that are learnt from pilot runs: one number a run, out of many features of it.

Any function of a run is a sound statistic, so these may be as rough as they like: a bad one gives
a low bound, never a false one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float64]
Features = NDArray[Any]
Learner = Callable[[Features, Features], Callable[[Features], Samples]]
"""From pilot runs on either input to a statistic that is larger on the first."""

_LEVELS = 24


def learn_ratio(a: Features, b: Features) -> Callable[[Features], Samples]:
    """A log likelihood ratio of rows of small integers, column by column.

    Args:
        a: (n, k) integers from 0.
        b: (n, k), the same of the other input.
    """
    size = int(max(a.max(), b.max())) + 1
    tables = []
    for one, other in zip(a.T, b.T, strict=True):
        # Half a count a level keeps unseen levels finite.
        p, q = (np.bincount(codes, minlength=size) + 0.5 for codes in (one, other))
        tables.append(np.log(p / p.sum()) - np.log(q / q.sum()))

    def ratio(codes: Features) -> Samples:
        known = np.minimum(codes, size - 1)
        return sum((t[c] for t, c in zip(tables, known.T, strict=True)), np.zeros(len(codes)))

    return ratio


def learn_ratio_of_levels(a: Features, b: Features) -> Callable[[Features], Samples]:
    """As :func:`learn_ratio`, for any numbers: each column is cut at quantiles of both sides.

    Args:
        a: (n, k) numbers.
        b: (n, k), the same of the other input.
    """
    pooled = np.concatenate([a, b]).astype(np.float64)
    shares = np.linspace(0, 1, _LEVELS + 1)[1:-1]
    cuts = [np.unique(np.quantile(column, shares, method="nearest")) for column in pooled.T]

    def levels(features: Features) -> NDArray[np.int64]:
        columns = zip(cuts, np.asarray(features, np.float64).T, strict=True)
        return np.stack([np.searchsorted(cut, column) for cut, column in columns], axis=1)

    ratio = learn_ratio(levels(a), levels(b))
    return lambda features: ratio(levels(features))


def learn_column(a: Features, b: Features) -> Callable[[Features], Samples]:
    """The one column whose means differ most, by Welch's statistic: right where pilots are few.

    Args:
        a: (n, k) numbers.
        b: (n, k), the same of the other input.
    """
    one, other = np.asarray(a, np.float64), np.asarray(b, np.float64)
    moved = one.mean(axis=0) - other.mean(axis=0)
    spread = np.sqrt(one.var(axis=0) + other.var(axis=0))
    best = int(np.argmax(np.abs(moved) / np.maximum(spread, 1e-12)))
    sign = 1.0 if moved[best] >= 0 else -1.0
    return lambda features: sign * np.asarray(features, np.float64)[:, best]


def learn_linear(a: Features, b: Features) -> Callable[[Features], Samples]:
    """The direction in which two Gaussian clouds of one shape differ most (Fisher, 1936).

    The covariance is shrunk towards a diagonal one (Ledoit and Wolf, 2004), so that there may be
    more features than pilot runs.

    Args:
        a: (n, k) numbers.
        b: (n, k), the same of the other input.
    """
    from sklearn.covariance import ledoit_wolf

    from sfumato.measure.threads import one_thread

    one, other = np.asarray(a, np.float64), np.asarray(b, np.float64)
    centre = (one.mean(axis=0) + other.mean(axis=0)) / 2
    within = np.concatenate([one - one.mean(axis=0), other - other.mean(axis=0)])
    spread = within.std(axis=0)
    moved = one.mean(axis=0) - other.mean(axis=0)
    # A column without noise of its own tells everything wherever it differs at all.
    spread[spread == 0] = 1e-12
    with one_thread():
        covariance, _ = ledoit_wolf(within / spread, assume_centered=True)
        covariance[np.diag_indices_from(covariance)] += 1e-6
        weights = np.linalg.solve(covariance, moved / spread) / spread

    def projected(features: Features) -> Samples:
        found: Samples = (np.asarray(features, np.float64) - centre) @ weights
        return found

    return projected
