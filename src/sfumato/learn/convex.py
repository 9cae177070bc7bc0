"""Multinomial logistic regression with a ridge: what makes it convex, and its minimiser.

The objective is ``mean_i loss(W; u_i, y_i) + ridge / 2 |W|^2 + <tilt, W>`` for rows ``u_i`` in the
unit ball. Of one record's loss, cross-entropy of ``softmax(W^T u)``:

- its gradient ``u (p - e_y)^T`` is no longer than :data:`GRADIENT`;
- its Hessian, ``(diag p - p p^T)`` by ``u u^T``, is positive, with eigenvalues up to
  :data:`CURVATURE` and a trace up to ``1 - 1 / classes``.

The objective is therefore ``ridge``-strongly convex, and whoever stands where the gradient has
norm ``g`` is within ``g / ridge`` of the minimiser: how far an optimiser has come can be bounded
after the fact, whatever optimiser it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InputError, SfumatoError
from sfumato.learn.logistic import softmax
from sfumato.privacy.neighbours import Neighbours

if TYPE_CHECKING:
    from sfumato.privacy.budget import Budget
    from sfumato.privacy.mechanisms import Gaussian

Array = NDArray[np.float64]

GRADIENT = math.sqrt(2)
"""The longest gradient of one record's loss: ``|p - e_y| |u|``."""
CURVATURE = 0.5
"""The largest eigenvalue of one record's Hessian: of ``diag p - p p^T``, times ``|u|^2``."""
_HAIR = 1 - 2.0**-40  # more than the rounding of a norm, less than anybody notices
_QUASI_NEWTON = 400
ROUNDING = 0.5
"""The part of a tolerance that the optimiser is asked for; the rest is for the rounding of sums."""
_GRID = 2.0**-24  # of the noise: fine enough to cost nothing, and coarse enough for large weights
_MOST_STEPS = 2.0**61


def unit_rows(features: NDArray[np.floating], bound: float) -> Array:
    """Features of records in the unit ball, with a constant for the bias.

    Each row is shortened to ``bound`` if it is longer, by itself, and becomes
    ``(x / bound, 1) / sqrt(2)``. A row that is not finite counts as zeros.

    Args:
        features: (n, d).
        bound: Public.

    Returns:
        (n, d + 1); no norm is above 1.
    """
    rows = np.where(np.isfinite(features).all(axis=1)[:, None], features, 0).astype(np.float64)
    norms = np.sqrt(np.square(rows).sum(axis=1))
    shortened = _HAIR / np.maximum(norms, bound) / math.sqrt(2)
    made = np.empty((len(rows), rows.shape[1] + 1))
    made[:, :-1] = rows * shortened[:, None]
    made[:, -1] = _HAIR / math.sqrt(2)
    return made


def layer(weights: Array, bound: float) -> tuple[Array, Array]:
    """What a linear layer on shortened, unscaled features has to hold to give the same scores.

    Args:
        weights: (d + 1, classes), for rows from :func:`unit_rows`.
        bound: Of these rows.

    Returns:
        (classes, d) weights and (classes,) biases.
    """
    return weights[:-1].T / (bound * math.sqrt(2)), weights[-1] / math.sqrt(2)


@dataclass(frozen=True, eq=False)
class Softmax:
    """The objective on private records.

    Args:
        rows: (n, p) from :func:`unit_rows`.
        labels: (n,) class numbers.
        classes: How many there are.
        records: The public number of records, which the sum of losses is divided by.
        ridge: Above 0.
        tilt: (p, classes), or None for none.
    """

    rows: Array
    labels: NDArray[np.int64]
    classes: int
    records: int
    ridge: float
    tilt: Array | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Of the weights."""
        return self.rows.shape[1], self.classes

    def gradient_sum(self, weights: Array) -> Array:
        """The sum of the records' own gradients, (p, classes)."""
        return self._losses(weights)[1]

    def value(self, weights: Array) -> tuple[float, Array]:
        """The objective and its gradient."""
        loss, gradient = self._losses(weights)
        value = loss / self.records + self.ridge / 2 * float(np.sum(weights**2))
        gradient = gradient / self.records + self.ridge * weights
        if self.tilt is not None:
            value += float(np.sum(self.tilt * weights))
            gradient = gradient + self.tilt
        return value, gradient

    def _losses(self, weights: Array) -> tuple[float, Array]:
        scores = self.rows @ weights
        chosen = np.arange(len(self.labels)), self.labels
        top = scores.max(axis=1)
        log_sums = top + np.log(np.exp(scores - top[:, None]).sum(axis=1))
        loss = float(np.sum(log_sums - scores[chosen]))
        residuals = softmax(scores)
        residuals[chosen] -= 1.0
        return loss, self.rows.T @ residuals


def noise_on(budget: Budget, contribution: float, weights: int, largest: float) -> Gaussian:
    """The least Gaussian noise on weights that meets the budget, under replace-one.

    Its grid is chosen so that the weights of no records, however they lie, are beyond it: whether a
    run succeeds must not be a function of them.

    Args:
        budget: Its delta above 0.
        contribution: Half the distance of two neighbours' weights, as the house states it.
        weights: How many there are.
        largest: No weight is larger; public.

    Raises:
        InputError: If such weights and such little noise do not fit one grid.
    """
    from sfumato.privacy.calibration import calibrate_gaussian
    from sfumato.privacy.mechanisms import Gaussian
    from sfumato.privacy.mechanisms.grid import power_below

    relation = Neighbours.REPLACE_ONE
    step = power_below(calibrate_gaussian(budget, relation) * contribution) * _GRID
    if largest > _MOST_STEPS * step:
        raise InputError(
            f"weights of up to {largest:.3g} and noise of some {step / _GRID:.3g} fit no grid",
            "Give a larger regularisation, or a smaller budget.",
        )
    return Gaussian.calibrate(budget, contribution, relation, step, rounded_coordinates=weights)


def minimise(problem: Softmax, tolerance: float) -> Array:
    """Weights at which the gradient's norm is at most ``tolerance``.

    A quasi-Newton method does most of it. What it leaves is done by accelerated gradient steps,
    which need no values of the objective to tell apart, and which theory bounds in number.

    Args:
        problem: The objective.
        tolerance: Above 0.

    Returns:
        (p, classes), the same for the same problem; ``tolerance / ridge`` from the minimiser at
        most.

    Raises:
        SfumatoError: If floating-point numbers cannot tell such a gradient from zero.

    Source: Nesterov, Introductory Lectures on Convex Optimization, 2004, 2.2.1.
    """
    from scipy.optimize import minimize

    size = problem.shape[0] * problem.shape[1]

    def flat(weights: Array) -> tuple[float, Array]:
        value, gradient = problem.value(weights.reshape(problem.shape))
        return value, gradient.ravel()

    found = minimize(
        flat,
        np.zeros(size),
        jac=True,
        method="L-BFGS-B",
        options={
            "maxiter": _QUASI_NEWTON,
            "maxcor": 20,
            "ftol": 0.0,
            "gtol": tolerance / math.sqrt(size),
        },
    )
    return _accelerated(problem, found.x.reshape(problem.shape), tolerance)


def _accelerated(problem: Softmax, start: Array, tolerance: float) -> Array:
    weights = ahead = start
    gradient = problem.value(start)[1]
    norm = float(np.linalg.norm(gradient))
    smooth = CURVATURE + problem.ridge
    root = math.sqrt(smooth / problem.ridge)
    # f(W_k) - f* <= 2 (1 - 1/root)^k (f(W_0) - f*), and |gradient|^2 <= 2 smooth (f - f*).
    least = 2 * smooth * norm**2 / problem.ridge / tolerance**2
    steps = math.ceil(2 * root * max(1.0, math.log(max(least, 1.0)))) + 10
    for _ in range(steps):
        if norm <= tolerance:
            return weights
        before, weights = weights, ahead - problem.value(ahead)[1] / smooth
        ahead = weights + (root - 1) / (root + 1) * (weights - before)
        norm = float(np.linalg.norm(problem.value(weights)[1]))
    if norm <= tolerance:
        return weights
    # How far it came is a function of the records, and is not told.
    raise SfumatoError(
        f"floating-point numbers reach no gradient of {tolerance:.3g}, which is what is paid for",
        "Give a larger regularisation.",
    )
