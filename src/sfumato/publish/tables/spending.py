"""How a budget is divided over counts of features, choices of pairs, and counts of pairs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sfumato.errors import InputError
from sfumato.privacy.budget import Budget
from sfumato.privacy.mechanisms import DiscreteGaussian, DiscreteLaplace, NoisyMax
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise.gaussian import MIN_STDDEV
from sfumato.privacy.noise.laplace import MIN_SCALE

if TYPE_CHECKING:
    from dp_accounting import DpEvent

Noise = DiscreteGaussian | DiscreteLaplace


@dataclass(frozen=True)
class Spending:
    """The mechanisms of one run.

    Args:
        first: Noise of the counts of each feature by the target.
        choice: Of one round's measurement; None where there is nothing to choose.
        second: Noise of the rounds' counts.
        features: How many are counted at first; one round fewer follows for a tree of pairs.
        cycles: Rounds for pairs beyond a tree.
    """

    first: Noise
    choice: NoisyMax | None
    second: Noise | None
    features: int
    cycles: int = 0

    @property
    def rounds(self) -> int:
        """How many measurements follow the first counts."""
        return 0 if self.choice is None else self.features - 1 + self.cycles

    @property
    def event(self) -> DpEvent:
        """All counts and all choices, composed."""
        from sfumato.privacy import events

        parts = [_histograms(self.first, self.features)]
        if self.choice is not None and self.second is not None:
            parts.append(events.repeat(self.choice.event, self.rounds))
            parts.append(_histograms(self.second, self.rounds))
        return events.compose(*parts)

    @property
    def plan(self) -> dict[str, Any]:
        """The noise as JSON values."""
        laplace = isinstance(self.first, DiscreteLaplace)
        name = "scale" if laplace else "stddev"
        plan: dict[str, Any] = {
            "noise": "discrete Laplace" if laplace else "discrete Gaussian",
            "tables": self.features,
            f"{name}_of_features": getattr(self.first, name),
            "rounds": self.rounds,
        }
        if self.choice is not None:
            plan["epsilon_of_a_choice"] = self.choice.epsilon
            plan[f"{name}_of_rounds"] = getattr(self.second, name)
        return plan


def variance(noise: Noise) -> float:
    """Of one count's noise."""
    return 2 * noise.scale**2 if isinstance(noise, DiscreteLaplace) else noise.stddev**2


def divide(
    budget: Budget, features: int, choosing: float, pairs: float, cycles: int = 0
) -> Spending:
    """The least noise that the budget allows, with Laplace or Gaussian counts.

    Never below what can be drawn: there, epsilon is simply smaller than asked for.

    Args:
        budget: The whole.
        features: How many are counted.
        choosing: Share of the budget for choices, as epsilon (Laplace) or its square (Gaussian).
        pairs: Share for the rounds' counts; the rest is for the first counts.
        cycles: Rounds for pairs beyond a tree.
    """
    shares = (features, choosing, pairs, cycles)
    laplace = _calibrated(Budget(budget.epsilon), *shares)
    least = isinstance(laplace.first, DiscreteLaplace) and laplace.first.scale == MIN_SCALE
    if budget.delta == 0 or least:
        return laplace
    try:
        gaussian = _calibrated(budget, *shares)
    except InputError:  # so small a budget that the accountant's grid tells no noise from another
        return laplace
    return min(laplace, gaussian, key=lambda spending: variance(spending.first))


def _calibrated(
    budget: Budget, features: int, choosing: float, pairs: float, cycles: int
) -> Spending:
    from sfumato.privacy.calibration import analytic_gaussian_mu, calibrate

    make = _laplace if budget.delta == 0 else _gaussian
    guess = 1 / (budget.epsilon if budget.delta == 0 else analytic_gaussian_mu(budget))
    scale = calibrate(
        lambda scale: make(scale, features, choosing, pairs, cycles).event,
        budget,
        Neighbours.ADD_REMOVE,
        (guess / 4, guess * 4),
    )
    return make(scale, features, choosing, pairs, cycles)


def _laplace(scale: float, features: int, choosing: float, pairs: float, cycles: int) -> Spending:
    """Shares of epsilon, which adds up over everything."""
    rounds = features - 1 + cycles
    if rounds == 0:
        return Spending(_laplace_noise(scale, 1), None, None, 1)
    return Spending(
        _laplace_noise(scale * features / (1 - choosing - pairs), features),
        NoisyMax(choosing / rounds / scale, 1.0),
        _laplace_noise(scale * rounds / pairs, rounds),
        features,
        cycles,
    )


def _gaussian(scale: float, features: int, choosing: float, pairs: float, cycles: int) -> Spending:
    """Shares of the squared epsilon of small losses, which adds up nearly."""
    rounds = features - 1 + cycles
    if rounds == 0:
        return Spending(_gaussian_noise(scale), None, None, 1)
    return Spending(
        _gaussian_noise(scale * math.sqrt(features / (1 - choosing - pairs))),
        NoisyMax(math.sqrt(choosing / rounds) / scale, 1.0),
        _gaussian_noise(scale * math.sqrt(rounds / pairs)),
        features,
        cycles,
    )


def _laplace_noise(scale: float, contribution: int) -> DiscreteLaplace:
    return DiscreteLaplace(max(scale, MIN_SCALE), contribution)


def _gaussian_noise(stddev: float) -> DiscreteGaussian:
    return DiscreteGaussian(max(stddev, MIN_STDDEV), 1, "cell")


def _histograms(noise: Noise, count: int) -> DpEvent:
    """A record is in one cell of each: of Laplace noise, one sum of that contribution."""
    from sfumato.privacy import events

    return noise.event if isinstance(noise, DiscreteLaplace) else events.repeat(noise.event, count)
