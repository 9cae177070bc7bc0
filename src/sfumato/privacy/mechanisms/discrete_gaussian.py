"""Integer sums under discrete Gaussian noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.privacy.budget import Budget
from sfumato.privacy.mechanisms.checks import delta_given, diameter_factor, integers, positive
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import SECURE, NoiseSource
from sfumato.privacy.noise.aggregates import aggregate_noise
from sfumato.privacy.noise.gaussian import MIN_STDDEV, check_stddev
from sfumato.privacy.transcript import seen

if TYPE_CHECKING:
    from dp_accounting import DpEvent

    from sfumato.privacy.events import Shape


@dataclass(frozen=True)
class DiscreteGaussian:
    """Adds ``P(x) ~ exp(-x**2 / (2 stddev**2))`` to each coordinate of an integer sum.

    Args:
        stddev: In grid steps.
        contribution: Bound on the L2 norm of what one record adds to the sum.
        shape: What a record may add: ``"vector"`` (anything within the norm), ``"cell"``
            (0..contribution to a single coordinate, as in a histogram) or ``"scalar"``; the
            narrower it is, the less noise a budget needs.

    Guaranteed: what the event claims; the draws fall short of the ideal by less than
    ``(1 + exp(epsilon)) 2**-113`` in delta a coordinate.

    Source: Canonne, Kamath and Steinke, "The Discrete Gaussian for Differential Privacy", 2020.
    """

    stddev: float
    contribution: float
    shape: Shape = "vector"

    def __post_init__(self) -> None:
        positive("a Gaussian stddev", self.stddev)
        check_stddev(self.stddev)
        positive("a contribution", self.contribution)
        _ = self.event  # the event checks that the contribution fits the shape

    @classmethod
    def calibrate(
        cls,
        budget: Budget,
        contribution: float,
        neighbours: Neighbours,
        shape: Shape = "vector",
    ) -> DiscreteGaussian:
        """The least noise that meets the budget.

        Raises:
            InputError: If the budget has no delta.
        """
        delta_given(budget.delta, "Gaussian noise")
        positive("a contribution", contribution)
        return cls(stddev_for(budget, contribution, neighbours, shape), contribution, shape)

    def sensitivity(self, neighbours: Neighbours) -> float:
        """The largest L2 distance of two neighbouring sums."""
        return float(self.contribution * diameter_factor(neighbours))

    @property
    def event(self) -> DpEvent:
        """A discrete Gaussian event."""
        from sfumato.privacy.events import DiscreteGaussianDpEvent

        return DiscreteGaussianDpEvent(float(self.stddev), self.contribution, self.shape)

    def release(self, values: Any, source: NoiseSource = SECURE) -> NDArray[np.int64]:
        """The integer ``values``, of any shape, each with its own noise.

        Raises:
            InputError: If a value is no integer.
        """
        sums = integers(values)
        noise = aggregate_noise("gaussian", self.stddev, sums.size, source)
        return seen(sums + noise.reshape(sums.shape))


def stddev_for(budget: Budget, contribution: float, neighbours: Neighbours, shape: Shape) -> float:
    """The least discrete Gaussian stddev that meets the budget, and can be drawn."""
    from sfumato.privacy.calibration import calibrate, calibrate_gaussian
    from sfumato.privacy.events import DiscreteGaussianDpEvent

    # The continuous Gaussian's answer is close; the search starts around it.
    guess = calibrate_gaussian(budget, neighbours) * contribution
    stddev = calibrate(
        lambda stddev: DiscreteGaussianDpEvent(stddev, contribution, shape),
        budget,
        neighbours,
        (guess / 4, guess * 4),
    )
    return max(stddev, MIN_STDDEV)
