"""Lower-triangular Toeplitz matrices that correlate the noise of successive steps.

Gradients ``G`` (steps, d) are released as ``G + C^-1 Z``, which says what ``C G + Z`` says. ``C``
has ones (or any ``c_0``) on its diagonal and ``c_j`` on the ``j``-th below; ``Z`` is independent
Gaussian noise. A record that contributes to step ``t`` alone is hidden by the noise in proportion
to the norm of column ``t``. What the training uses is sums of gradients, ``A G``, whose error is
``B Z`` with ``B = A C^-1``: positive coefficients make neighbouring noise cancel in the sums.

Everything here is arithmetic on public numbers, with errors for ``Z`` of standard deviation 1.

Source: Denisov, McMahan, Rush, Smith, Thakurta, NeurIPS 2022 (factorisation, adaptivity);
Fichtenberger, Henzinger, Upadhyay, ICML 2023 (optimal coefficients); Choquette-Choo et al.,
"(Amplified) Banded Matrix Factorization", NeurIPS 2023 (bands); Kalinin, Lampert, NeurIPS 2024
(banded Toeplitz with repeated participation).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InputError

Array = NDArray[np.float64]
Objective = Literal["mean", "last"]

_MOST_STEPS_WITH_RATES = 4096


@dataclass(frozen=True)
class Workload:
    """Which sums of gradients the weights are: SGD's, with momentum, and a rate for each step.

    Args:
        momentum: In ``[0, 1)``.
        rates: The learning rate of each step, in any unit; all equal by default.
        objective: What to make small: the ``"mean"`` over all steps of the squared error of the
            weights, or that of the ``"last"`` weights, which with equal rates is the largest.
    """

    momentum: float = 0.0
    rates: tuple[float, ...] | None = None
    objective: Objective = "mean"

    def __post_init__(self) -> None:
        if not 0 <= self.momentum < 1:
            raise InputError(f"the momentum is {self.momentum!r}", "Give a number in [0, 1).")
        if self.rates is not None:
            if not all(0 <= rate < math.inf for rate in self.rates) or not any(self.rates):
                raise InputError("a learning rate is negative or all are 0", "Give positive ones.")
            if len(self.rates) > _MOST_STEPS_WITH_RATES:
                raise InputError(
                    f"there are {len(self.rates)} learning rates",
                    f"Give up to {_MOST_STEPS_WITH_RATES}, or none for equal ones.",
                )
        if self.objective not in ("mean", "last"):
            raise InputError(f"the objective is {self.objective!r}", "Use 'mean' or 'last'.")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        rates = None if self.rates is None else list(self.rates)
        return {"momentum": self.momentum, "rates": rates, "objective": self.objective}


def optimal_coefficients(n: int) -> Array:
    """(n,): ``c_0 = 1, c_k = c_{k-1} (2k - 1) / (2k)``, the square root of prefix sums.

    The series of ``(1 - x)^(-1/2)``; the best Toeplitz matrix for the largest error of ``n`` prefix
    sums of records that each take part once.

    >>> optimal_coefficients(4).tolist()
    [1.0, 0.5, 0.375, 0.3125]
    """
    k = np.arange(1, n, dtype=np.float64)
    return np.concatenate([[1.0], np.cumprod((2 * k - 1) / (2 * k))])


def column_norm(coefficients: Sequence[float], steps: int) -> float:
    """``|c|`` of the first ``steps`` coefficients: the norm of the longest column."""
    return float(np.linalg.norm(np.asarray(coefficients, np.float64)[:steps]))


def participation_norm(coefficients: Sequence[float], steps: int, period: int) -> float:
    """The sensitivity where a record of norm 1 takes part in every ``period``-th of the steps.

    ``|sum_j shift_{j period}(c)|``, with all participations from the first step on. For
    coefficients that are not negative this is exact: the largest over where a record begins and
    over how its contributions point. All pointing one way is worst, because no two columns have a
    negative product; beginning later leaves a part of the same sums out.

    >>> participation_norm([1.0], 8, 2)
    2.0
    """
    return float(np.linalg.norm(_participations(np.asarray(coefficients), steps, period)))


def squared_error(coefficients: Sequence[float], steps: int, workload: Workload) -> float:
    """The squared error of the workload's sums, a coordinate, for ``Z`` of deviation 1."""
    value, _ = _error(np.asarray(coefficients, np.float64), steps, workload)
    return value


def optimise(bands: int, steps: int, workload: Workload, period: int | None = None) -> Array:
    """(bands,) coefficients, the first 1, that make error times sensitivity small.

    Args:
        bands: How many; 1 is independent noise.
        steps: Of the training.
        workload: See the class.
        period: Steps from one participation of a record to the next. Fewer than there are bands
            make its columns overlap; otherwise the sensitivity goes with the column's norm.
    """
    bands = min(bands, steps)
    overlapping = period is not None and period < bands
    return np.asarray(_optimise(bands, steps, workload, period if overlapping else None))


@lru_cache(maxsize=64)
def _optimise(bands: int, steps: int, workload: Workload, period: int | None) -> tuple[float, ...]:
    from scipy.optimize import minimize

    if bands == 1:
        return (1.0,)
    apart = period or steps

    def log_loss(rest: Array) -> tuple[float, Array]:
        c = np.concatenate([[1.0], rest])
        error, error_slope = _error(c, steps, workload)
        sums = _participations(c, steps, apart)
        square = float(sums @ sums)
        square_slope = np.array([2 * sums[i::apart].sum() for i in range(bands)])
        slope = error_slope / error + square_slope / square
        return math.log(error * square), slope[1:]

    start = optimal_coefficients(bands)[1:]
    found = minimize(log_loss, start, jac=True, method="L-BFGS-B", bounds=[(0, 1)] * (bands - 1))
    return (1.0, *(float(c) for c in found.x))


def _participations(c: Array, steps: int, period: int) -> Array:
    """(steps,) sum of the columns of every ``period``-th step, from the first on."""
    total = np.zeros(steps)
    for start in range(0, steps, period):
        column = c[: steps - start]
        total[start : start + len(column)] += column
    return total


def _error(c: Array, steps: int, workload: Workload) -> tuple[float, Array]:
    """The squared error, and its slope in each coefficient.

    With ``b = a / c`` as power series and ``u = b / c``: ``d b_i / d c_j = -u_{i - j}``.
    """
    from scipy.signal import lfilter

    one = np.zeros(steps)
    one[0] = 1.0
    if workload.rates is None:
        sums = np.cumsum(lfilter([1.0], [1.0, -workload.momentum], one))  # column of A
        weights = np.ones(steps)
        if workload.objective == "mean":
            weights -= np.arange(steps) / steps  # in how many rows b_i stands
        b = lfilter([1.0], c, sums)
        u = lfilter([1.0], c, b)
        slope = [-2 * float((weights[j:] * b[j:]) @ u[: steps - j]) for j in range(len(c))]
        return float(weights @ b**2), np.array(slope)
    if len(workload.rates) != steps:
        raise InputError(
            f"there are {len(workload.rates)} learning rates for {steps} steps",
            "Give one for each step.",
        )
    from scipy.linalg import toeplitz

    h = lfilter([1.0], c, lfilter([1.0], [1.0, -workload.momentum], one))
    rates = np.asarray(workload.rates)[:, None]
    matrices = []  # B = A C^-1 and U = B C^-1
    for column in (h, lfilter([1.0], c, h)):
        rows = rates * toeplitz(column, np.zeros(steps))
        summed = np.cumsum(rows, axis=0)
        matrices.append(summed[-1:] if workload.objective == "last" else summed)
    big, up = matrices
    slope = [-2 * float((big[:, : steps - j] * up[:, j:]).sum()) for j in range(len(c))]
    return float((big**2).sum()) / len(big), np.array(slope) / len(big)
