"""Real sums under Gaussian noise on a public grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InputError
from sfumato.privacy.budget import Budget
from sfumato.privacy.mechanisms.checks import delta_given, diameter_factor, positive, whole
from sfumato.privacy.mechanisms.grid import check_step, rounding_cost
from sfumato.privacy.mechanisms.snapping import on_steps, snap
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import SECURE, NoiseSource, discrete_gaussian
from sfumato.privacy.noise.gaussian import MAX_STDDEV, grid_step
from sfumato.privacy.transcript import seen

if TYPE_CHECKING:
    from dp_accounting import DpEvent

_FINEST = 2.0**24


def fits(stddev: float, granularity: float) -> bool:
    """Whether a grid of such steps is fine enough for the noise, and the noise not too wide."""
    return _FINEST <= stddev / granularity <= MAX_STDDEV


@dataclass(frozen=True)
class Gaussian:
    """Adds Gaussian noise to each coordinate of a real-valued sum, in steps of a public grid.

    Args:
        stddev: In the values' units.
        contribution: Bound on the L2 norm of what one record adds to the sum.
        granularity: The grid's step, a power of two; at most ``stddev / 2**24``.
        rounded_coordinates: 0 where the sum lies on the grid already, because each record went
            through ``to_grid`` (rounding toward zero: the contribution is unchanged). Else how
            many coordinates ``release`` will round to the nearest step after summation;
            ``granularity`` times the square root of it is added to the contribution.

    Guaranteed: the loss of the continuous Gaussian mechanism. Rounded to the grid, its density and
    that of the noise drawn here differ by a factor within ``1 +- 8 (granularity / stddev)**2``
    inside 13 standard deviations, which for ``n`` coordinates adds at most ``n 2**-44`` to an
    epsilon at the coarsest grid, and ``n 2**-50`` at the one that ``calibrate`` chooses (see
    ``noise.gaussian`` for the latter).
    """

    stddev: float
    contribution: float
    granularity: float
    rounded_coordinates: int = 0

    def __post_init__(self) -> None:
        positive("a Gaussian stddev", self.stddev)
        positive("a contribution", self.contribution)
        check_step(self.granularity)
        whole("rounded_coordinates", self.rounded_coordinates, 0)
        if not fits(self.stddev, self.granularity):
            raise InputError(
                f"granularity {self.granularity:g} does not suit a stddev of {self.stddev:g}",
                "Give a power of two from stddev / 2**48 to stddev / 2**24.",
            )

    @classmethod
    def calibrate(
        cls,
        budget: Budget,
        contribution: float,
        neighbours: Neighbours,
        granularity: float | None = None,
        rounded_coordinates: int = 0,
    ) -> Gaussian:
        """The least noise that meets the budget.

        Without ``granularity`` the grid follows from the noise: about a 2**-40th of it.

        Raises:
            InputError: If the budget has no delta.
        """
        from sfumato.privacy.calibration import calibrate_gaussian

        delta_given(budget.delta, "Gaussian noise")
        positive("a contribution", contribution)
        whole("rounded_coordinates", rounded_coordinates, 0)
        multiplier = calibrate_gaussian(budget, neighbours)
        step = grid_step(multiplier * contribution) if granularity is None else granularity
        padded = contribution + rounding_cost(step, rounded_coordinates, "l2")
        return cls(multiplier * padded, contribution, step, rounded_coordinates)

    @property
    def padded_contribution(self) -> float:
        """The contribution with what rounding after summation adds to it."""
        return self.contribution + rounding_cost(self.granularity, self.rounded_coordinates, "l2")

    def sensitivity(self, neighbours: Neighbours) -> float:
        """A bound on the L2 distance of two neighbouring sums on the grid."""
        return self.padded_contribution * diameter_factor(neighbours)

    @property
    def event(self) -> DpEvent:
        """A Gaussian event."""
        from sfumato.privacy.events import GaussianDpEvent

        return GaussianDpEvent(self.stddev / self.padded_contribution)

    def release(self, values: Any, source: NoiseSource = SECURE) -> NDArray[np.float64]:
        """The ``values``, of any shape, each with its own noise, as multiples of the grid's step.

        Raises:
            InputError: If a value is not finite, lies off the grid (where it should be on it), or
                their number is not the declared one.
        """
        steps = snap(values, self.granularity, self.rounded_coordinates)
        noise = discrete_gaussian(self.stddev / self.granularity, steps.size, source)
        return seen(on_steps(steps + noise.reshape(steps.shape), self.granularity))
