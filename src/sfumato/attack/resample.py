"""Bootstrap intervals of figures that are no plain proportions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfumato.measure.intervals import Interval, clopper_pearson, numbered

TIMES = 2000


def ratio(
    above: NDArray[Any],
    below: NDArray[Any],
    persons: NDArray[Any],
    confidence: float,
    rng: np.random.Generator,
) -> tuple[float, Interval]:
    """A ratio of two sums over the same records, at most 1, with its interval over persons.

    No record's part of the numerator should exceed its part of the denominator: the interval is cut
    at 1, or at the ratio itself where that is larger for all that.

    The interval is the widest, on either side, of three: the percentiles over drawing persons; the
    normal one by the t distribution, since percentiles are too narrow of few; and what it would be
    if persons of a kind that was not seen, as many as the confidence allows, had a ratio of 0 or
    of 1, since the others collapse where all persons are alike.

    Args:
        above: (n,) each record's part of the numerator.
        below: (n,) and of the denominator, at least 0.
        persons: (n,) whose each record is.
        confidence: Of the interval.
        rng: Draws the persons.

    Raises:
        InputError: If there are fewer than 10 persons.
    """
    from scipy.special import stdtrit

    at, people = numbered(persons)
    top, bottom = np.bincount(at, above), np.bincount(at, below)
    total = max(float(bottom.sum()), 1e-30)
    value = float(top.sum()) / total
    draws = rng.multinomial(people, np.full(people, 1 / people), size=TIMES)
    found = (draws @ top) / np.maximum(draws @ bottom, 1e-30)
    tail = (1 - confidence) / 2
    low, high = (float(bound) for bound in np.quantile(found, [tail, 1 - tail]))
    error = np.sqrt(people / (people - 1) * np.square(top - value * bottom).sum()) / total
    reach = float(stdtrit(people - 1, 1 - tail) * error)
    unseen = 1 - clopper_pearson(people, people, confidence)[0]
    low = min(low, value - reach, value - unseen * max(value, 0.0))
    high = max(high, value + reach, value + unseen * (1 - value))
    return value, (low, min(high, max(1.0, value)))
