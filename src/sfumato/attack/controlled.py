"""Attacks with a control: how much better they do on members than on people who are not in it.

What an attack gets right about anybody is what the release teaches about the population. The risk
is what is left of its success on members, on the scale where the control cannot fail.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sfumato.measure.intervals import Interval, clopper_pearson, normal_quantile

if TYPE_CHECKING:
    from sfumato.attack.ceilings import Ceiling

SOURCE = (
    "Giomi, Boenisch, Wehmeyer, Tasnadi. A unified framework for quantifying privacy risk in "
    "synthetic data. PoPETs 2023. arXiv:2211.10459"
)


@dataclass(frozen=True)
class Tries:
    """How often an attack succeeded.

    Args:
        right: Successes; a share of them where what is expected is known exactly.
        of: Tries, above 0.
    """

    right: float
    of: int

    @property
    def rate(self) -> float:
        """The share that succeeded."""
        return self.right / self.of

    def wilson(self, confidence: float) -> dict[str, float]:
        """The protocol's own estimate of the rate: the centre of Wilson's interval, and its half.

        Source: Wilson, JASA 1927; equation 3 of the protocol.
        """
        z, n, right = normal_quantile(confidence), self.of, self.right
        spread = math.sqrt(right * (n - right) / n + z * z / 4)
        return {
            "rate": (right + z * z / 2) / (n + z * z),
            "error": z / (n + z * z) * spread,
        }


def risk(attack: Tries, control: Tries, confidence: float) -> tuple[float, Interval]:
    """The share of an attack's success that the control does not explain.

    ``1 - (1 - attack) / (1 - control)``: 0 where both do equally well, 1 where the attack never
    fails. The interval takes the exact intervals of both rates and recovers from them that of the
    ratio of failures; it lies above 0 exactly where that of the difference of the rates does.

    Args:
        attack: On members.
        control: On people who are not in the release.
        confidence: Of the interval.

    Returns:
        The risk and its interval, in [-1, 1]. Where the control never fails there is nothing left
        to find: 0, and an interval that says nothing.

    Source: Donner and Zou, Statistics in Medicine 31 (2012) 1113, for the ratio.

    >>> value, (low, high) = risk(Tries(60, 100), Tries(20, 100), 0.95)
    >>> round(value, 3), round(low, 2), round(high, 2)
    (0.5, 0.35, 0.63)
    """
    around = [clopper_pearson(tries.right, tries.of, confidence) for tries in (attack, control)]
    return risk_of((attack.rate, control.rate), (around[0], around[1]))


def risk_of(
    rates: tuple[float, float], around: tuple[Interval, Interval]
) -> tuple[float, Interval]:
    """The risk of two rates, members' and the control's, that have an interval each."""
    missed, other = 1 - rates[0], 1 - rates[1]
    if other <= 0:
        return 0.0, (-1.0, 1.0)
    (right_low, right_high), (base_low, base_high) = around
    low1, high1 = 1 - right_high, 1 - right_low
    low2, high2 = 1 - base_high, 1 - base_low
    product = missed * other
    # Where the failures' ratio leaves its interval: the roots of two quadratic equations.
    down = low1 * (2 * missed - low1)
    root = math.sqrt(max(0.0, product**2 - high2 * (2 * other - high2) * down))
    least = down / (product + root) if product + root > 0 else 0.0
    lead = low2 * (2 * other - low2)
    root = math.sqrt(max(0.0, product**2 - lead * high1 * (2 * missed - high1)))
    most = (product + root) / lead if lead > 0 else math.inf
    value = max(-1.0, 1 - missed / other)
    return value, (min(value, max(-1.0, 1 - most)), max(value, min(1.0, 1 - least)))


def ceiling_of(ceiling: Ceiling | None, control: Tries, confidence: float) -> float | None:
    """The largest risk that a guarantee allows for an attack on single records.

    An attack's rate on members is at most what the curve allows at its rate on others. The bound
    rises with that rate, so the highest plausible one is used.
    """
    if ceiling is None:
        return None
    known = clopper_pearson(control.right, control.of, confidence)[1]
    if known >= 1:
        return 1.0
    return min(1.0, max(0.0, 1 - (1 - ceiling.at(known)) / (1 - known)))


def figures(
    attack: Tries, control: Tries, naive: Tries, naive_control: Tries, confidence: float
) -> dict[str, Any]:
    """What the protocol reports, for a finding's details."""
    rates: Mapping[str, Tries] = {"members": attack, "control": control, "naive": naive}
    return {
        "success": {name: [tries.right, tries.of] for name, tries in rates.items()},
        "naive_control": [naive_control.right, naive_control.of],
        "protocol": {name: tries.wilson(confidence) for name, tries in rates.items()},
        "naive_as_good": naive.rate >= attack.rate,
    }


def told(attack: Tries, control: Tries, naive: Tries) -> str:
    """The three rates in words."""
    return (
        f"{attack.rate:.1%} for people in the data, {control.rate:.1%} for people who are not, and "
        f"{naive.rate:.1%} for guesses made without the release"
    )
