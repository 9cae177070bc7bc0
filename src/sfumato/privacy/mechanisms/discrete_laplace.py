"""Integer sums under discrete Laplace noise: pure differential privacy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.privacy.budget import Budget
from sfumato.privacy.mechanisms.checks import diameter_factor, integers, positive, whole
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import SECURE, NoiseSource
from sfumato.privacy.noise.aggregates import aggregate_noise
from sfumato.privacy.noise.laplace import MIN_SCALE, check_scale
from sfumato.privacy.transcript import seen

if TYPE_CHECKING:
    from dp_accounting import DpEvent


@dataclass(frozen=True)
class DiscreteLaplace:
    """Adds ``P(x) ~ exp(-|x| / scale)`` to each coordinate of an integer sum.

    Args:
        scale: In grid steps.
        contribution: Bound on the L1 norm of what one record adds to the sum.

    Guaranteed: ``(sensitivity / scale)``-differential privacy, for the bits as drawn.

    >>> DiscreteLaplace.calibrate(Budget(0.5), 1, Neighbours.ADD_REMOVE)
    DiscreteLaplace(scale=2.0, contribution=1)
    """

    scale: float
    contribution: int

    def __post_init__(self) -> None:
        positive("a Laplace scale", self.scale)
        check_scale(self.scale)
        whole("a contribution", self.contribution, 1)

    @classmethod
    def calibrate(
        cls, budget: Budget, contribution: int, neighbours: Neighbours
    ) -> DiscreteLaplace:
        """The least noise with epsilon at most the budget's; its delta is not needed."""
        whole("a contribution", contribution, 1)
        sensitivity = contribution * diameter_factor(neighbours)
        return cls(scale_for(sensitivity, budget.epsilon), contribution)

    def sensitivity(self, neighbours: Neighbours) -> float:
        """The largest L1 distance of two neighbouring sums."""
        return float(self.contribution * diameter_factor(neighbours))

    @property
    def event(self) -> DpEvent:
        """A discrete Laplace event."""
        from sfumato.privacy.events import DiscreteLaplaceDpEvent

        return DiscreteLaplaceDpEvent(1.0 / self.scale, int(self.contribution))

    def release(self, values: Any, source: NoiseSource = SECURE) -> NDArray[np.int64]:
        """The integer ``values``, of any shape, each with its own noise.

        Raises:
            InputError: If a value is no integer.
        """
        sums = integers(values)
        noise = aggregate_noise("laplace", self.scale, sums.size, source)
        return seen(sums + noise.reshape(sums.shape))


def scale_for(sensitivity: float, epsilon: float) -> float:
    """The smallest float scale whose epsilon, computed in floats, is at most ``epsilon``.

    Never below what can be drawn: there, epsilon is simply smaller than asked for.
    """
    scale = max(sensitivity / epsilon, MIN_SCALE)
    while sensitivity * (1.0 / scale) > epsilon or sensitivity / scale > epsilon:
        scale = math.nextafter(scale, math.inf)
    return scale
