"""The least noise that a budget allows: never too little, at most a thousandth too much."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from sfumato.errors import InputError
from sfumato.privacy.neighbours import Neighbours

if TYPE_CHECKING:
    from dp_accounting import DpEvent

    from sfumato.privacy.budget import Budget

TOLERANCE = 5e-4
"""How much larger than the smallest a calibrated parameter may be, relatively."""
_COARSE = 10
"""The first stage of the search uses a grid this many times coarser: fast, and close enough."""
_FURTHEST = 1e9
_EVALUATIONS = 200


def analytic_gaussian_mu(budget: Budget) -> float:
    """The largest mu at which Gaussian noise meets the budget (Balle, Wang 2018).

    The noise of one release is then the distance between neighbours divided by mu.

    Raises:
        InputError: If the budget's delta is 0, which no Gaussian noise meets.

    >>> from sfumato.privacy.budget import Budget
    >>> round(analytic_gaussian_mu(Budget(1.0, 1e-5)), 3)
    0.268
    """
    from sfumato.privacy.accounting import gaussian

    _needs_delta(budget)
    return gaussian.mu(budget.epsilon, budget.delta)


def calibrate_gaussian(
    budget: Budget, neighbours: Neighbours, sampling_rate: float = 1.0, steps: int = 1
) -> float:
    """The noise multiplier of ``steps`` Gaussian releases, each from a Poisson sample.

    Args:
        budget: What all steps together may spend; its delta above 0.
        neighbours: The relation of the budget.
        sampling_rate: Probability with which a step sees a record, in ``(0, 1]``.
        steps: Number of releases, at least 1.

    Returns:
        Noise over the bound on one record's contribution. ``epsilon`` of the event, at the
        budget's delta, is at most the budget's epsilon; within 1e-3 of the smallest such value.

    Raises:
        InputError: If an argument is out of its range.
    """
    _needs_delta(budget)
    if not 0 < sampling_rate <= 1:
        raise InputError(f"the sampling rate is {sampling_rate!r}", "Give a number in (0, 1].")
    if not (isinstance(steps, int) and steps >= 1):
        raise InputError(f"the number of steps is {steps!r}", "Give a whole number of at least 1.")
    from sfumato.privacy import events

    def make_event(noise_multiplier: float) -> DpEvent:
        step: DpEvent = events.GaussianDpEvent(noise_multiplier)
        if sampling_rate < 1:
            step = events.PoissonSampledDpEvent(sampling_rate, step)
        return events.repeat(step, steps)

    far = 2 if neighbours is Neighbours.REPLACE_ONE else 1
    mu = analytic_gaussian_mu(budget) / far
    if sampling_rate == 1:
        return _nudged(math.sqrt(steps) / mu, make_event, budget, neighbours)
    seen = -math.expm1(steps * math.log1p(-sampling_rate))
    if budget.delta >= seen:
        raise InputError(
            f"delta is {budget.delta:g}, but a record is sampled at all with probability {seen:g}",
            "No noise would be needed: give a smaller delta.",
        )
    # Central limit (Bu, Dong, Long, Su 2020): mu = rate sqrt(steps (e^(1/sigma^2) - 1)).
    guess = 1 / math.sqrt(math.log1p((mu / sampling_rate) ** 2 / steps))
    return _search(make_event, budget, neighbours, guess, 0.0, math.inf)


def calibrate(
    make_event: Callable[[float], DpEvent],
    budget: Budget,
    neighbours: Neighbours,
    bracket: tuple[float, float],
) -> float:
    """The smallest parameter, such as a noise scale, whose event meets the budget.

    Args:
        make_event: The event for a parameter; its epsilon must fall as the parameter grows.
        budget: The target.
        neighbours: The relation of the budget.
        bracket: Where to look, ``0 < low < high``.

    Returns:
        A parameter in the bracket whose event has been found to meet the budget, within 1e-3
        (relatively) of one that does not, or the lower end if that meets it.

    Raises:
        InputError: If the bracket is no interval of positive numbers, or its upper end does not
            meet the budget.
    """
    low, high = bracket
    if not 0 < low < high < math.inf:
        raise InputError(f"the bracket is {bracket!r}", "Give two numbers, 0 < low < high.")
    return _search(make_event, budget, neighbours, math.sqrt(low * high), low, high)


def _needs_delta(budget: Budget) -> None:
    if budget.delta == 0:
        raise InputError(
            "delta is 0, which no Gaussian noise can meet", "Give a delta, or use Laplace noise."
        )


def _nudged(
    value: float, make_event: Callable[[float], DpEvent], budget: Budget, neighbours: Neighbours
) -> float:
    """``value``, raised by rounding errors until the accountant agrees that it meets the budget."""
    from sfumato.privacy import accounting

    step = 1e-15
    while accounting.epsilon(make_event(value), budget.delta, neighbours) > budget.epsilon:
        value *= 1 + step
        step *= 2
    return value


def _search(
    make_event: Callable[[float], DpEvent],
    budget: Budget,
    neighbours: Neighbours,
    guess: float,
    low: float,
    high: float,
) -> float:
    """A root on a coarse grid, then the answer on the accountant's own, starting there."""
    from sfumato.privacy import accounting

    def excess(interval: float | None) -> Callable[[float], float]:
        def of(value: float) -> float:
            """``ln(epsilon / target)``; at most 0 where the budget is met."""
            spent = accounting.epsilon(
                make_event(value), budget.delta, neighbours, interval=interval
            )
            if spent <= budget.epsilon:
                return min(math.log(spent / budget.epsilon), 0.0) if spent > 0 else -math.inf
            return max(math.log(spent / budget.epsilon), math.ulp(0.0))

        return of

    coarse = excess(_COARSE * accounting.INTERVAL)
    start, slope = _root(coarse, guess, -1.0, low, high, 10 * TOLERANCE)
    return _root(excess(None), start, slope, low, high, TOLERANCE)[0]


def _root(
    excess: Callable[[float], float],
    start: float,
    slope: float,
    low: float,
    high: float,
    tolerance: float,
) -> tuple[float, float]:
    """The smallest value with ``excess(value) <= 0``, within ``tolerance``; and the slope there.

    Secant steps on logarithms, kept inside what is known to fail and to meet. Once a step lands
    close, the next one tries just across the root, which closes the bracket.

    Args:
        excess: Decreasing; at most 0 where the value is good.
        start: Where to begin.
        slope: First guess at ``d excess / d ln(value)``; negative.
        low: Nothing below is tried.
        high: Nothing above is tried.
        tolerance: Relative width of the bracket to reach.
    """
    fails, meets = 0.0, math.inf  # the bracket
    value, last = min(max(start, low), high), None
    for _ in range(_EVALUATIONS):
        gap = excess(value)
        if last is not None and math.isfinite(gap) and math.isfinite(last[1]):
            run = math.log(value / last[0])
            if run and (gap - last[1]) / run < 0:
                slope = (gap - last[1]) / run
        last = (value, gap)
        if gap <= 0:
            meets = min(meets, value)
            if value == low:
                return value, slope
        else:
            fails = max(fails, value)
            if value == high:
                raise InputError(
                    f"no noise up to {high:g} meets the budget", "Give a larger epsilon or delta."
                )
        if meets <= fails * (1 + tolerance):
            return meets, slope
        value = min(max(_propose(value, gap, slope, fails, meets, tolerance), low), high)
        if value > _FURTHEST and math.isinf(high):
            break
    raise InputError(
        "no amount of noise was found that meets the budget", "Give a larger epsilon or delta."
    )


def _propose(
    value: float, gap: float, slope: float, fails: float, meets: float, tolerance: float
) -> float:
    """Where to look next: a secant step, or just across the root, or the middle."""
    across = 1 + 0.8 * tolerance
    if math.isfinite(gap):
        step = min(max(-gap / slope, -2.0), 2.0)  # at most a factor of e^2 at a time
        aim = value * math.exp(step)
        if abs(step) < 0.8 * tolerance:
            aim = value / across if gap <= 0 else value * across
        else:
            aim *= 1 + 0.1 * tolerance if gap > 0 else 1 - 0.1 * tolerance
        if fails < aim < meets:
            return aim
    if fails == 0:
        return meets / 4
    if math.isinf(meets):
        return fails * 4
    return math.sqrt(fails * meets)
