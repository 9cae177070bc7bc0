"""Real sums in and out of integers, for the mechanisms that add integer noise to them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InputError
from sfumato.privacy.mechanisms.grid import on_grid, round_to_grid


def snap(values: Any, granularity: float, rounded_coordinates: int) -> NDArray[np.int64]:
    """The values in grid steps: as they must be (0), or rounded as was declared and paid for.

    Raises:
        InputError: If a value is not finite or off the grid, or their number is not the declared.
    """
    if rounded_coordinates == 0:
        return on_grid(values, granularity)
    if np.size(values) != rounded_coordinates:
        raise InputError(
            f"{np.size(values)} values are to be rounded, {rounded_coordinates} were declared",
            "Declare the number of values as rounded_coordinates.",
        )
    return round_to_grid(values, granularity)


def on_steps(steps: NDArray[np.int64], granularity: float) -> NDArray[np.float64]:
    """Grid steps as numbers; post-processing of what is noisy already.

    Beyond ``2**53`` steps the last ones are rounded away; that depends on the sum alone.
    """
    return steps.astype(np.float64) * granularity
