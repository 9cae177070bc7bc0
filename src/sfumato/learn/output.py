"""Output perturbation: the minimiser of a strongly convex objective, under noise.

Two data sets that differ in one record's value have objectives whose gradients are nowhere further
apart than ``2 L / n``, with ``L`` the longest gradient of one record's loss. Both are
``ridge``-strongly convex, so their minimisers are at most ``2 L / (n ridge)`` apart. What is
published is where an optimiser stopped: at a gradient of norm ``tolerance`` at most, and so within
``tolerance / ridge`` of the minimiser; for two data sets that is paid for twice.

Source: Chaudhuri, Monteleoni and Sarwate, JMLR 2011, Algorithm 1, with Gaussian noise, for several
classes at once, and for the optimum that is reached rather than the one that is meant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sfumato.learn.convex import GRADIENT, ROUNDING, Array, Softmax, minimise, noise_on

if TYPE_CHECKING:
    from dp_accounting import DpEvent

    from sfumato.privacy.budget import Budget
    from sfumato.privacy.mechanisms import Gaussian
    from sfumato.privacy.noise import NoiseSource

CLOSE = 1e-2
"""The gradient an optimiser may leave, over the most that one record adds to the mean."""


@dataclass(frozen=True)
class OutputPerturbation:
    """The noisy minimiser, under replace-one.

    Make one with :meth:`calibrate`.

    Args:
        records: The public number of records.
        ridge: Of the objective.
        noise: On every weight.
    """

    records: int
    ridge: float
    noise: Gaussian

    @classmethod
    def calibrate(
        cls, budget: Budget, *, records: int, ridge: float, weights: int
    ) -> OutputPerturbation:
        """The least noise that meets the budget.

        Args:
            budget: Its delta above 0.
            records: The public number of records.
            ridge: Above 0.
            weights: How many there are.

        Raises:
            InputError: If the weights and the noise do not fit one grid.
        """
        # The house states contributions, of which neighbours under replace-one are two apart.
        half = sensitivity(records, ridge) / 2
        largest = (1 + CLOSE) * GRADIENT / ridge  # where the gradient of a mean is balanced
        return cls(records, ridge, noise_on(budget, half, weights, largest))

    @property
    def event(self) -> DpEvent:
        """One Gaussian on all weights."""
        return self.noise.event

    @property
    def tolerance(self) -> float:
        """The norm of the gradient at which the optimiser may stop."""
        return CLOSE * GRADIENT / self.records

    def reached(self, problem: Softmax) -> Array:
        """Where the optimiser stops. **Private**."""
        return minimise(problem, ROUNDING * self.tolerance)

    def release(self, problem: Softmax, source: NoiseSource) -> Array:
        """The weights, (p, classes), with noise of its own on each."""
        return self.noise.release(self.reached(problem), source)


def sensitivity(records: int, ridge: float) -> float:
    """How far the optimiser's results on two neighbours can be apart, under replace-one."""
    return 2 * (1 + CLOSE) * GRADIENT / (records * ridge)
