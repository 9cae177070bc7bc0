"""Objective perturbation: a random linear term in a convex objective, approximately minimised.

The objective is ``F(W) = sum_i loss_i(W) + n ridge / 2 |W|^2 + <b, W>``, ``b`` Gaussian of
standard deviation ``stddev``. At its minimiser ``b = -G(W)``, where ``G`` is the gradient of the
rest, so the density of the minimiser is that of ``b`` at ``-G(W)`` times ``det G'(W)``. For a
neighbour with one record replaced the logarithm of the ratio of densities has two parts, both
bounded here without any assumption but those of :mod:`sfumato.learn.convex`:

- *determinants*. ``G' = A + h`` and ``A + h*``, with ``A >= n ridge`` and ``h`` one record's
  Hessian, of rank ``classes - 1`` and trace at most ``1 - 1 / classes``; the ratio is at most
  ``J = (classes - 1) log(1 + 1 / (classes n ridge))``.
- *densities of b*: ``(2 <b, w> + |w|^2) / (2 stddev^2)``, with ``w`` the difference of the two
  records' gradients at ``W``. It is not longer than ``2 L``, and **it depends on b through W**, but
  lies in a subspace of ``m = 2 (classes - 1)`` dimensions that the two records alone decide. So
  ``|<b, w>| <= 2 L |P b|``, and ``|P b| / stddev`` has the chi distribution of ``m`` degrees.

With ``a = 2 L / stddev`` the loss is at most ``X = J + a chi_m + a^2 / 2``, and ``delta(epsilon) =
E[(1 - e^(epsilon - X))+]``.

The minimiser is never reached. What is published is where an optimiser stopped, under a little
noise of its own: given the minimiser, how far off it stopped is a function of the records no longer
than ``tolerance / (n ridge)``, so this is one more Gaussian mechanism, composed with the first.

Sources: Chaudhuri, Monteleoni and Sarwate, JMLR 2011; Kifer, Smith and Thakurta, COLT 2012
(Gaussian ``b``); Iyengar et al., S&P 2019 (approximate minima). The proof of the loss is this
file's: a published one takes ``w`` for independent of ``b``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from sfumato.errors import InputError
from sfumato.learn.convex import GRADIENT, ROUNDING, Array, Softmax, minimise, noise_on
from sfumato.privacy.neighbours import Neighbours

if TYPE_CHECKING:
    from dp_accounting import DpEvent

    from sfumato.privacy.budget import Budget
    from sfumato.privacy.mechanisms import Gaussian
    from sfumato.privacy.noise import NoiseSource

CLOSE = 1e-3
"""The gradient an optimiser may leave, over the most that one record adds to it."""
_SURELY = 14.0
"""Standard deviations that the length of a normal vector exceeds its root mean square by, never."""
_LINEAR = (0.97, 0.9)
"""The linear term's shares of epsilon and delta."""
_CLOSING = (0.02, 0.1)
"""Shares of the noise for what the optimiser leaves; what remains is for accounting on a grid."""


@dataclass(frozen=True)
class ObjectivePerturbation:
    """The noisy approximate minimiser, under replace-one.

    Make one with :meth:`calibrate`.

    Args:
        classes: How many labels there are.
        records: The public number of records.
        ridge: Of the mean objective.
        stddev: Of each coordinate of the linear term, in the objective of sums.
        closing: The noise on where the optimiser stopped.
    """

    classes: int
    records: int
    ridge: float
    stddev: float
    closing: Gaussian

    @classmethod
    def calibrate(
        cls, budget: Budget, *, classes: int, records: int, ridge: float, width: int
    ) -> ObjectivePerturbation:
        """The least noise that meets the budget.

        Args:
            budget: Its delta above 0.
            classes: How many labels there are.
            records: The public number of records.
            ridge: Above 0.
            width: Of a row, its constant included.

        Raises:
            InputError: If the budget has no delta, or is too small or too large to be accounted,
                the ridge alone costs more than epsilon, or weights and noise do not fit one grid.
        """
        from sfumato.privacy import accounting
        from sfumato.privacy.budget import Budget
        from sfumato.privacy.mechanisms import Gaussian
        from sfumato.privacy.mechanisms.checks import delta_given

        delta_given(budget.delta, "objective perturbation with Gaussian noise")
        epsilon, delta = budget.epsilon * _LINEAR[0], budget.delta * _LINEAR[1]
        determinants = curvature_loss(classes, records * ridge)
        if determinants >= 0.9 * epsilon:
            raise InputError(
                f"a regularisation of {ridge:g} for {records} records costs {determinants:.3g} of "
                f"epsilon {budget.epsilon:g} whatever the noise",
                f"Give {2 / (records * epsilon):.1g} or more.",
            )
        ratio = _largest_ratio(epsilon, delta, determinants, 2 * (classes - 1))
        unresolved = InputError(
            f"epsilon {budget.epsilon:g} at delta {budget.delta:g} is beyond what the accounting "
            "of a tilted objective resolves",
            "Give an epsilon from 0.01 to 500 and a delta of 1e-12 or more.",
        )
        if ratio <= 0:
            raise unresolved
        stddev = 2 * GRADIENT / ratio
        rest = Budget(budget.epsilon * _CLOSING[0], budget.delta * _CLOSING[1])
        made = cls(classes, records, ridge, stddev, Gaussian(1.0, 1.0, 2.0**-30))
        weights = width * classes
        tilted = stddev * (math.sqrt(weights) + _SURELY) / records
        largest = (GRADIENT + tilted) / ridge + made.offset(weights)
        made = replace(made, closing=noise_on(rest, made.offset(weights), weights, largest))
        spent = accounting.epsilon(made.event, budget.delta, Neighbours.REPLACE_ONE)
        if not spent <= budget.epsilon:
            raise unresolved
        return made

    @property
    def event(self) -> DpEvent:
        """The linear term's, and the Gaussian on where the optimiser stopped."""
        from sfumato.privacy import events

        linear = events.ObjectiveDpEvent(self.stddev / GRADIENT, self.determinants, self.dimensions)
        return events.compose(linear, self.closing.event)

    @property
    def determinants(self) -> float:
        """``J``."""
        return curvature_loss(self.classes, self.records * self.ridge)

    @property
    def dimensions(self) -> int:
        """``m``."""
        return 2 * (self.classes - 1)

    @property
    def tolerance(self) -> float:
        """The norm of the mean objective's gradient at which the optimiser may stop."""
        return CLOSE * GRADIENT / self.records

    def offset(self, weights: int) -> float:
        """How far from the exact minimiser the optimiser may stop.

        The linear term is drawn on a grid; it stands for a continuous one, from which it is half a
        step away in each coordinate at most.
        """
        from sfumato.privacy.noise.gaussian import grid_step

        grid = grid_step(self.stddev) * math.sqrt(weights) / self.records
        return (self.tolerance + grid) / self.ridge

    def minimise(self, problem: Softmax, source: NoiseSource) -> Array:
        """Where the optimiser stops on an objective with a fresh linear term. **Private**."""
        from sfumato.privacy.noise import gaussian

        rows, classes = problem.shape
        tilt = gaussian(self.stddev, rows * classes, source).reshape(rows, classes)
        tilted = replace(problem, tilt=tilt / self.records)
        return minimise(tilted, ROUNDING * self.tolerance)

    def release(self, problem: Softmax, source: NoiseSource) -> Array:
        """The weights, (p, classes)."""
        return self.closing.release(self.minimise(problem, source), source)


def curvature_loss(classes: int, ridge_sum: float) -> float:
    """``J``: the most that two neighbours' determinants can say.

    Args:
        classes: How many labels there are.
        ridge_sum: The ridge of the objective of sums, ``n ridge``.
    """
    return (classes - 1) * math.log1p(1 / (classes * ridge_sum))


def delta_of(epsilon: float, ratio: float, determinants: float, dimensions: int) -> float:
    """``E[(1 - e^(epsilon - X))+]``, rounded up.

    Args:
        epsilon: At least 0.
        ratio: ``a``: the distance of two records' gradients over ``stddev``.
        determinants: ``J``.
        dimensions: ``m``.
    """
    from sfumato.privacy.accounting.terms import Tilted

    return float(Tilted(ratio, determinants, dimensions).deltas(np.array([epsilon]))[0])


def _largest_ratio(epsilon: float, delta: float, determinants: float, dimensions: int) -> float:
    """The largest ``a`` at which :func:`delta_of` is at most ``delta``, rounded down."""
    low, high = 0.0, math.sqrt(2 * epsilon) + epsilon  # a^2 / 2 alone is then more than epsilon
    for _ in range(60):
        middle = (low + high) / 2
        if delta_of(epsilon, middle, determinants, dimensions) <= delta:
            low = middle
        else:
            high = middle
    return low
