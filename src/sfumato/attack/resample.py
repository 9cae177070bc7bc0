"""Bootstrap intervals of figures that are no plain proportions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfumato.measure.intervals import Interval

TIMES = 2000


def ratio(
    above: NDArray[Any], below: NDArray[Any], confidence: float, rng: np.random.Generator
) -> tuple[float, Interval]:
    """A ratio of two sums over the same records, with its percentile interval.

    Args:
        above: (n,) each record's part of the numerator.
        below: (n,) and of the denominator, at least 0.
        confidence: Of the interval.
        rng: Draws the records.
    """
    value = float(above.sum() / max(below.sum(), 1e-30))
    draws = rng.multinomial(len(above), np.full(len(above), 1 / len(above)), size=TIMES)
    found = (draws @ above) / np.maximum(draws @ below, 1e-30)
    return value, _around(value, found, confidence)


def clustered(
    figure: Callable[[NDArray[np.int64]], float],
    persons: NDArray[Any],
    confidence: float,
    rng: np.random.Generator,
    times: int = 500,
) -> tuple[float, Interval]:
    """A figure of rows, with the percentile interval over drawing the persons they belong to.

    Args:
        figure: Of row numbers, with repetitions.
        persons: (n,) whose each row is.
        confidence: Of the interval.
        rng: Draws persons.
        times: How often.
    """
    names, at = np.unique(persons, return_inverse=True)
    rows = [np.flatnonzero(at == k) for k in range(len(names))]
    value = figure(np.arange(len(persons)))
    found = np.array(
        [
            figure(np.concatenate([rows[k] for k in rng.integers(0, len(names), len(names))]))
            for _ in range(times)
        ]
    )
    return value, _around(value, found[np.isfinite(found)], confidence)


def _around(value: float, found: NDArray[np.float64], confidence: float) -> Interval:
    tail = (1 - confidence) / 2
    low, high = np.quantile(found, [tail, 1 - tail]) if len(found) else (value, value)
    return min(float(low), value), max(float(high), value)
