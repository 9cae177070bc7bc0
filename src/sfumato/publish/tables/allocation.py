"""How a record's budget is divided between its attributes.

Every attribute is scaled to ``[0, 1]`` by public bounds, so its diameter is 1, and a downstream
model that is smooth loses about ``sum_j w_j Var_j`` when attribute ``j`` gets noise of variance
``Var_j``; ``w_j`` is its importance (a squared gradient or curvature). Pure functions of public
numbers, or of importance that was paid for; nothing here sees a row.

Source: perturbation.md A.1 (Utaliyeva, Shin, Choi, Sensors 2023, 23(4):1980); the exponents are
Lagrange solutions of the two objectives named below.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InputError

Rule = Literal["uniform", "proportional", "sqrt", "cube-root"]
Noise = Literal["laplace", "gaussian", "piecewise", "duchi"]

RULES: tuple[str, ...] = get_args(Rule)
NOISES: tuple[str, ...] = get_args(Noise)

FLOOR = 0.1
"""No attribute's weight falls below this share of an equal weight: its noise stays finite."""

# Exponents of w in the share of one attribute. Laplace divides epsilon, Var = 2 / eps^2; Gaussian
# divides mu^2 (= 2 rho), Var = 1 / mu^2. "cube-root" minimises sum w Var, "sqrt" minimises
# sum w E|noise|; the rules carry the names they have for Laplace noise. The variance of bounded
# reports falls with eps^2, too, where eps is small (4 / eps^2 and 16 / (3 eps^2) at most).
_PURE = {"uniform": 0.0, "proportional": 1.0, "sqrt": 1 / 2, "cube-root": 1 / 3}
_EXPONENT: dict[str, dict[str, float]] = {
    "laplace": _PURE,
    "gaussian": {"uniform": 0.0, "proportional": 1.0, "sqrt": 2 / 3, "cube-root": 1 / 2},
    "piecewise": _PURE,
    "duchi": _PURE,
}


def floored(weights: NDArray[np.float64], floor: float = FLOOR) -> NDArray[np.float64]:
    """Weights that sum to 1, each raised to at least ``floor / d`` before the last rescaling.

    Args:
        weights: (d,) at least 0, not all 0.
        floor: Share of an equal weight; 0 leaves the weights as they are.

    Returns:
        (d,) float64, positive wherever ``floor`` is.

    Raises:
        InputError: If a weight is negative or not finite, or all are 0.
    """
    given = np.asarray(weights, dtype=np.float64)
    if given.size == 0:
        raise InputError("there is no weight", "Give one for each attribute.")
    bad = given[~(np.isfinite(given) & (given >= 0))]
    if bad.size:
        raise InputError(f"a weight is {float(bad[0])!r}", "Give finite numbers of at least 0.")
    top = float(given.max())
    if top == 0:
        raise InputError("the weights sum to 0", "Give at least one weight above 0.")
    scaled = given / top  # first, so that huge weights do not overflow their sum
    raised = np.maximum(scaled / scaled.sum(), floor / given.size)
    return np.asarray(raised / raised.sum(), dtype=np.float64)


def shares(weights: NDArray[np.float64], rule: str, noise: str = "laplace") -> NDArray[np.float64]:
    """Each attribute's share of the record's budget; the shares sum to 1.

    Args:
        weights: (d,) positive, from :func:`floored`.
        rule: ``"cube-root"`` minimises the weighted variance, ``"sqrt"`` the weighted absolute
            error, ``"uniform"`` ignores the weights. ``"proportional"`` is what "less noise on
            what matters" suggests; it can be worse than uniform and is kept as a baseline.
        noise: ``"gaussian"`` divides mu squared, all others divide epsilon.

    Raises:
        InputError: If ``rule`` or ``noise`` is unknown.

    >>> w = floored(np.array([.5, .25, .15, .07, .03]))
    >>> [round(weighted_variance(w, 5 * shares(w, rule)), 2) for rule in RULES]
    [2.0, 4.82, 1.65, 1.54]
    """
    check_rule(rule, noise)
    powered = np.asarray(weights, dtype=np.float64) ** _EXPONENT[noise][rule]
    return np.asarray(powered / powered.sum(), dtype=np.float64)


def split(total: float, parts: NDArray[np.float64]) -> tuple[float, ...]:
    """Divides ``total`` by shares, so that the parts sum to it and never above it.

    The sum is held exactly, as rational numbers: it is at most ``total`` and short of it by less
    than the parts' last digit. Rounding is taken from the largest part.

    Args:
        total: What is divided; positive.
        parts: (d,) at least 0 with a positive sum.

    >>> sum(split(1.0, np.array([1., 1., 1.])))
    1.0
    """
    fractions = np.asarray(parts, dtype=np.float64) / math.fsum(parts)
    divided = [float(total * part) for part in fractions]
    largest = int(np.argmax(divided))
    others = sum((Fraction(p) for i, p in enumerate(divided) if i != largest), Fraction(0))
    exact = Fraction(total) - others
    divided[largest] = _at_most(exact)
    return tuple(divided)


def total(parts: Sequence[float]) -> float:
    """The sum of parts, rounded down, so that sums of sums exceed nothing either."""
    return _at_most(sum(map(Fraction, parts), Fraction(0)))


def part(total: float, count: int) -> float:
    """``total / count``, rounded down, so that ``count`` of them never sum to more."""
    return _at_most(Fraction(total) / count)


def remainder(total: float, part: float) -> float:
    """``total - part``, rounded down, so that the two never sum to more than ``total``."""
    return _at_most(Fraction(total) - Fraction(part))


def _at_most(exact: Fraction) -> float:
    rounded = float(exact)
    return rounded if Fraction(rounded) <= exact else math.nextafter(rounded, -math.inf)


def weighted_variance(
    weights: NDArray[np.float64], budgets: NDArray[np.float64], noise: str = "laplace"
) -> float:
    """``sum_j w_j Var_j`` at diameter 1: what the allocations are compared by.

    Args:
        weights: (d,) importance.
        budgets: (d,) mu squared of each attribute under Gaussian noise, else epsilon.
        noise: Which of the two.
    """
    variance = 1 / budgets if noise == "gaussian" else 2 / budgets**2
    return float(np.sum(weights * variance))


def check_rule(rule: str, noise: str) -> None:
    """Refuses an unknown rule or noise.

    Raises:
        InputError: If either is unknown.
    """
    if rule not in RULES:
        raise InputError(f"allocation is {rule!r}", f"Use one of {', '.join(RULES)}.")
    if noise not in NOISES:
        raise InputError(f"noise is {noise!r}", f"Use one of {', '.join(NOISES)}.")
