"""Real sums under Laplace noise on a public grid: pure differential privacy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InputError
from sfumato.privacy.budget import Budget
from sfumato.privacy.mechanisms.checks import diameter_factor, positive, whole
from sfumato.privacy.mechanisms.discrete_laplace import scale_for
from sfumato.privacy.mechanisms.grid import check_step, power_below, rounding_cost
from sfumato.privacy.mechanisms.snapping import on_steps, snap
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import SECURE, NoiseSource, discrete_laplace
from sfumato.privacy.noise.laplace import MAX_SCALE
from sfumato.privacy.transcript import seen

if TYPE_CHECKING:
    from dp_accounting import DpEvent

_FINEST = 2.0**20


@dataclass(frozen=True)
class Laplace:
    """Adds Laplace noise to each coordinate of a real-valued sum, in steps of a public grid.

    Args:
        scale: In the values' units.
        contribution: Bound on the L1 norm of what one record adds to the sum; a step or more.
        granularity: The grid's step, a power of two; at most ``scale / 2**20``.
        rounded_coordinates: 0 where the sum lies on the grid already, because each record went
            through ``to_grid`` (rounding toward zero: the contribution is unchanged). Else how
            many coordinates ``release`` will round to the nearest step after summation;
            ``granularity`` for each is added to the contribution.

    Guaranteed: the loss of the continuous Laplace mechanism with this scale, or less, at every
    epsilon. Noise on a grid loses slightly more than continuous noise of the same scale, at most
    ``1 / (4 k**2)`` for ``k = scale / granularity``; the scale drawn from is larger by ``1 / k``.
    """

    scale: float
    contribution: float
    granularity: float
    rounded_coordinates: int = 0

    def __post_init__(self) -> None:
        positive("a Laplace scale", self.scale)
        check_step(self.granularity)
        whole("rounded_coordinates", self.rounded_coordinates, 0)
        positive("a contribution", self.contribution)
        if self.contribution < self.granularity:
            raise InputError(
                f"a contribution of {self.contribution:g} is below the grid's step",
                "Choose a finer grid.",
            )
        if not _FINEST <= self.scale / self.granularity < MAX_SCALE:
            raise InputError(
                f"granularity {self.granularity:g} does not suit a scale of {self.scale:g}",
                "Give a power of two from scale / 2**46 to scale / 2**20.",
            )

    @classmethod
    def calibrate(
        cls,
        budget: Budget,
        contribution: float,
        neighbours: Neighbours,
        granularity: float | None = None,
        rounded_coordinates: int = 0,
    ) -> Laplace:
        """The least noise with epsilon at most the budget's; its delta is not needed.

        Without ``granularity`` the grid follows from the scale: about a 2**-32nd of it.
        """
        positive("a contribution", contribution)
        whole("rounded_coordinates", rounded_coordinates, 0)
        times = diameter_factor(neighbours)
        if granularity is None:
            finest = power_below(times * contribution / budget.epsilon) * 2.0**-32
            granularity = min(finest, power_below(contribution))
        check_step(granularity)
        padded = contribution + rounding_cost(granularity, rounded_coordinates, "l1")
        scale = scale_for(times * padded / granularity, budget.epsilon) * granularity
        return cls(scale, contribution, granularity, rounded_coordinates)

    @property
    def padded_contribution(self) -> float:
        """The contribution with what rounding after summation adds to it."""
        return self.contribution + rounding_cost(self.granularity, self.rounded_coordinates, "l1")

    def sensitivity(self, neighbours: Neighbours) -> float:
        """A bound on the L1 distance of two neighbouring sums on the grid."""
        return self.padded_contribution * diameter_factor(neighbours)

    @property
    def event(self) -> DpEvent:
        """A Laplace event."""
        from sfumato.privacy.events import LaplaceDpEvent

        return LaplaceDpEvent(self.scale / self.padded_contribution)

    def release(self, values: Any, source: NoiseSource = SECURE) -> NDArray[np.float64]:
        """The ``values``, of any shape, each with its own noise, as multiples of the grid's step.

        Raises:
            InputError: If a value is not finite, lies off the grid (where it should be on it), or
                their number is not the declared one.
        """
        steps = snap(values, self.granularity, self.rounded_coordinates)
        scale = self.scale / self.granularity
        noise = discrete_laplace(scale + 1.0, steps.size, source).reshape(steps.shape)
        return seen(on_steps(steps + noise, self.granularity))
