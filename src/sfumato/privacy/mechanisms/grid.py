"""Public power-of-two grids: where floating-point values become integers.

Integers add up exactly, whatever the order, so a sum's sensitivity is what it is on paper. Round
each *record* with :func:`to_grid` and sum the integers: rounding toward zero never increases a
norm, so the bound on one record's contribution is unchanged. Rounding a *sum* instead moves two
neighbouring sums apart, by up to one step a coordinate; ``Laplace`` and ``Gaussian`` pay for that
when told how many coordinates they round (:func:`rounding_cost`).
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InputError
from sfumato.privacy.mechanisms.checks import LARGEST, finite


def check_step(granularity: float) -> None:
    """Refuses a grid step that is not a power of two.

    Multiples of a power of two are exact in floating point; those of 0.1 are not.
    """
    ok = isinstance(granularity, int | float) and not isinstance(granularity, bool)
    if not (ok and 1e-300 <= granularity <= 1e300 and math.frexp(granularity)[0] == 0.5):
        raise InputError(f"granularity is {granularity!r}", "Give a power of two, such as 2**-20.")


def power_below(value: float) -> float:
    """The largest power of two at or below a positive ``value``."""
    return math.ldexp(1.0, math.frexp(value)[1] - 1)


def to_grid(values: Any, granularity: float) -> NDArray[np.int64]:
    """Each value in steps of ``granularity``, rounded toward zero; same shape.

    No coordinate, and so no norm of a record, grows.

    Raises:
        InputError: If ``granularity`` is no power of two, or a value is not finite or beyond
            ``2**62`` steps.

    >>> to_grid([0.3, -0.3, 1.0], 0.25)
    array([ 1, -1,  4])
    """
    return _steps(values, granularity, np.trunc)


def round_to_grid(values: Any, granularity: float) -> NDArray[np.int64]:
    """Each value in steps of ``granularity``, rounded to the nearest; same shape.

    For sums, with :func:`rounding_cost` paid.

    Raises:
        InputError: As :func:`to_grid`.
    """
    return _steps(values, granularity, np.rint)


def on_grid(values: Any, granularity: float) -> NDArray[np.int64]:
    """Each value in steps of ``granularity``, of which it must be a whole number.

    Raises:
        InputError: As :func:`to_grid`, and if a value lies off the grid.
    """
    steps = to_grid(values, granularity)
    off = np.flatnonzero(np.ravel(steps * granularity != np.asarray(values)))
    if len(off):
        raise InputError(
            f"value {int(off[0])} lies off the grid of step {granularity:g}",
            "Round each record with to_grid before summing, or declare rounded_coordinates.",
        )
    return steps


def rounding_cost(granularity: float, coordinates: int, norm: Literal["l1", "l2"]) -> float:
    """How far rounding can move two sums of ``coordinates`` numbers apart, in a norm.

    Each coordinate of either sum moves by at most half a step.
    """
    return granularity * (coordinates if norm == "l1" else math.sqrt(coordinates))


def _steps(values: Any, granularity: float, rounded: np.ufunc) -> NDArray[np.int64]:
    check_step(granularity)
    # Exact: dividing by a power of two changes the exponent alone.
    steps = rounded(finite(values) / granularity)
    if steps.size and np.abs(steps).max() > LARGEST:
        raise InputError(
            f"a value is beyond 2**62 steps of {granularity:g}", "Choose a coarser grid."
        )
    return np.asarray(steps.astype(np.int64))
