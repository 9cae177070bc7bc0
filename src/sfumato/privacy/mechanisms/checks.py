"""The checks that mechanisms share, so that each says the same sentence."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InputError
from sfumato.privacy.neighbours import Neighbours

LARGEST = 1 << 62
"""Bound on integers before noise: their sum with noise stays inside 64 bits."""


def positive(name: str, value: Any, lowest: float = 0.0) -> None:
    """Refuses what is not a finite number above ``lowest``."""
    ok = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not (ok and math.isfinite(value) and value > lowest):
        raise InputError(f"{name} is {value!r}", f"Give a finite number above {lowest:g}.")


def whole(name: str, value: Any, lowest: int) -> None:
    """Refuses what is not an integer of at least ``lowest``."""
    ok = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not (ok and value >= lowest):
        raise InputError(f"{name} is {value!r}", f"Give a whole number of at least {lowest}.")


def delta_given(delta: float, noise: str) -> None:
    """Refuses a budget without delta, for noise that cannot do without."""
    if delta <= 0:
        raise InputError(f"delta is {delta!r}", f"{noise} needs a delta above 0, such as 1e-6.")


def diameter_factor(neighbours: Neighbours) -> int:
    """How many times its contribution a record can move a sum."""
    return 2 if neighbours is Neighbours.REPLACE_ONE else 1


def integers(values: Any, name: str = "values") -> NDArray[np.int64]:
    """``values`` as int64, of any shape.

    Raises:
        InputError: If they are not integers, or too large to add noise to.
    """
    array = np.asarray(values)
    if not np.issubdtype(array.dtype, np.integer):
        raise InputError(f"{name} are of type {array.dtype}", "Give integers.")
    # Compared in Python's integers: the absolute value of the smallest int64 has none in int64.
    if array.size and max(-int(array.min()), int(array.max())) > LARGEST:
        raise InputError(f"{name} go beyond 2**62", "Choose a coarser grid.")
    return array.astype(np.int64)


def codes(values: Any, levels: int) -> NDArray[np.int64]:
    """``values`` as (n,) int64 codes in ``0..levels-1``.

    Raises:
        InputError: If they are not, naming the first that is not.
    """
    array = np.asarray(values)
    if array.ndim != 1:
        raise InputError(f"codes have shape {array.shape}", "Give one code a row.")
    if array.size == 0:
        return np.zeros(0, np.int64)
    if not np.issubdtype(array.dtype, np.integer):
        odd = [v for v in array[:1000].tolist() if not (isinstance(v, float) and v.is_integer())]
        shown = (odd or array.tolist())[0]
        raise InputError(f"code {shown!r} is of type {array.dtype}", "Give integers from 0.")
    outside = np.flatnonzero((array < 0) | (array >= levels))
    if len(outside):
        row = int(outside[0])
        raise InputError(
            f"code {int(array[row])} in row {row} is outside 0..{levels - 1}",
            "Encode the column by its schema first.",
        )
    return array.astype(np.int64)


def finite(values: Any, name: str = "values") -> NDArray[np.float64]:
    """``values`` as float64, of any shape.

    Raises:
        InputError: If one is not a finite number, naming it and its place.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "iuf":
        raise InputError(f"{name} are of type {array.dtype}", "Give numbers.")
    array = array.astype(np.float64)
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        place = tuple(int(i) for i in bad[0])
        raise InputError(
            f"{name} hold {array[place]} at {list(place)}", "Impute or drop it by a public rule."
        )
    return array
