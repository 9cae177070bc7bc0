"""By how much an attack beats one without the release, which is tried on as few people.

What an attacker without the release scores is an estimate too. Beside a figure of few people, one
that is taken for exact calls chance a leak, or a leak chance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.measure import intervals
from sfumato.measure.intervals import Interval

if TYPE_CHECKING:
    from sfumato.attack.blind import Blind

PEOPLE = "people"


@dataclass(frozen=True)
class Margin:
    """The difference of an attack's figure and that of an attacker without the release.

    Args:
        value: On the scale of the finding.
        interval: Of the difference; both figures may be off by chance, and are of the same people.
        tried: How many of ``of`` it is an estimate from, of either side together.
        of: What they are.
    """

    value: float
    interval: Interval
    tried: int
    of: str = PEOPLE

    @property
    def decided(self) -> bool:
        """Whether the interval says who did better."""
        return self.interval[0] > 0 or self.interval[1] <= 0

    @property
    def told(self) -> str:
        """Of how many it is, in words."""
        return f"{self.tried:,} {self.of}"

    def scaled(self, by: float) -> Margin:
        """The same on a scale of which a unit is ``1 / by`` of this one's."""
        low, high = self.interval
        return Margin(self.value * by, (low * by, high * by), self.tried, self.of)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "value": self.value,
            "interval": list(self.interval),
            "tried": self.tried,
            "of": self.of,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Margin:
        """Reads a margin back.

        Raises:
            KeyError, TypeError, ValueError: If a field is missing or is not what it should be.
        """
        low, high = values["interval"]
        return cls(
            float(values["value"]), (float(low), float(high)), int(values["tried"]), values["of"]
        )


def of_same(
    attack: NDArray[np.bool_], without: NDArray[np.bool_], confidence: float, of: str = PEOPLE
) -> Margin:
    """Of two rates on the same records.

    Args:
        attack: (n,) whether the attack is right.
        without: (n,) whether the attacker without the release is.
        confidence: Of the interval.
        of: What the records are.
    """
    return Margin(
        float(attack.mean() - without.mean()), _paired(attack, without, confidence), len(attack), of
    )


def of_shares(
    attack: NDArray[np.float64], without: NDArray[np.float64], confidence: float, of: str = PEOPLE
) -> Margin:
    """Of two means of shares in [0, 1] of the same things, whatever their distribution."""
    apart = float(np.mean(attack - without))
    low, high = intervals.bounded_mean((1 + apart) / 2, len(attack), confidence)
    return Margin(apart, (2 * low - 1, 2 * high - 1), len(attack), of)


Side = tuple[NDArray[np.bool_], NDArray[np.bool_]]


def of_sides(inside: Side, outside: Side, confidence: float) -> Margin:
    """Of two differences, members' rate less non-members'.

    Args:
        inside: (m,) whether the attack is right about each member, and whether the attacker
            without the release is.
        outside: (n,) the same of non-members.
        confidence: Of the interval.
    """
    gains = [float(a.mean() - b.mean()) for a, b in (inside, outside)]
    around = [_paired(a, b, confidence) for a, b in (inside, outside)]
    low, high = intervals.of_difference(gains, (around[0], around[1]))
    tried = len(inside[0]) + len(outside[0])
    return Margin(gains[0] - gains[1], (max(-2.0, low), min(2.0, high)), tried)


def of_groups(
    right: tuple[int, int], others: tuple[int, int], confidence: float, of: str = PEOPLE
) -> Margin:
    """Of two rates on different people.

    Args:
        right: How many the attack is right about, and of how many.
        others: The same of the others.
        confidence: Of the interval.
        of: What they are.
    """
    value = right[0] / right[1] - others[0] / others[1]
    interval = intervals.difference(*right, *others, confidence)
    return Margin(value, interval, right[1] + others[1], of)


def of_figures(
    figures: tuple[float, float],
    around: tuple[Interval, Interval],
    tried: int,
    of: str = PEOPLE,
) -> Margin:
    """Of two figures that have intervals, as if they were independent."""
    return Margin(figures[0] - figures[1], intervals.of_difference(figures, around), tried, of)


def of_areas(
    inside: NDArray[np.float64], outside: NDArray[np.float64], blind: Blind, confidence: float
) -> Margin:
    """Of two areas under ROC curves, of which the second is a mean over parts of the records.

    Args:
        inside: (m,) the attack's scores of members.
        outside: (n,) and of others.
        blind: What is made of the same records without the release.
        confidence: Of the interval.

    Source: DeLong, DeLong and Clarke-Pearson, Biometrics 1988, for the correlation; Donner and Zou
    for the interval.
    """
    area, interval = intervals.auc(inside, outside, confidence)
    whole = intervals.placements(inside, outside)
    spread = sum(float(one.var(ddof=1)) / len(one) for one in whole) * blind.variance
    common = 0.0
    for own, other in zip(whole, blind.standing, strict=True):
        judged = ~np.isnan(other)
        # A mean of all and a mean of some of them vary together as one of all does.
        common += float(np.cov(own[judged], other[judged])[0, 1]) / len(own)
    alike = common / math.sqrt(spread) if spread > 0 else 0.0
    around = interval, blind.interval(confidence)
    found = intervals.of_difference((area, blind.area), around, min(1.0, max(-1.0, alike)))
    return Margin(area - blind.area, found, len(inside) + len(outside))


def over_blind(
    inside: NDArray[np.float64],
    outside: NDArray[np.float64],
    blind: Blind | None,
    confidence: float,
) -> dict[str, Any]:
    """A finding's ``baseline`` and ``margin``, of an area under a ROC curve.

    Args:
        inside: (m,) the attack's scores of members.
        outside: (n,) and of others.
        blind: What is made of the same records without the release; None where coins said who is a
            member, so that it is exactly chance.
        confidence: Of the interval.
    """
    if blind is None:
        return {"baseline": 0.5, "margin": None}
    found = of_areas(inside, outside, blind, confidence)
    return {"baseline": blind.area, "margin": found}


def sureness(row: Mapping[str, Any]) -> float:
    """How far above 0 what a row of figures tells surely is: its figure, and its margin if any."""
    low = float(row["interval"][0])
    return low if row["margin"] is None else min(low, float(row["margin"]["interval"][0]))


def known(rows: Sequence[Mapping[str, Any]], by_coins: bool) -> list[dict[str, Any]]:
    """Rows of figures without the margins that nobody needs where coins said who is a member."""
    return [{**row, "margin": None} if by_coins else dict(row) for row in rows]


def of_row(row: Mapping[str, Any]) -> Margin | None:
    """The margin in a row of figures, if it has one."""
    return None if row["margin"] is None else Margin.from_dict(row["margin"])


def least(found: Callable[[float], Sequence[Margin]], confidence: float) -> Margin:
    """The margin over the best of several attackers without the release.

    Each end is the least of all: whoever beats all of them has beaten the best, whichever that is,
    and one lower end says too much only where its own does. That none of the upper ends is too low
    needs each to be surer.

    Args:
        found: The margins over each of them, at a confidence.
        confidence: Of the interval.
    """
    plain = found(confidence)
    surer = found(1 - (1 - confidence) / len(plain))
    nearest = min(plain, key=lambda one: one.value)
    interval = min(one.interval[0] for one in plain), min(one.interval[1] for one in surer)
    return Margin(nearest.value, interval, nearest.tried, nearest.of)


def _paired(attack: NDArray[np.bool_], without: NDArray[np.bool_], confidence: float) -> Interval:
    both, first, second = (
        int(np.sum(one & other))
        for one, other in ((attack, without), (attack, ~without), (~attack, without))
    )
    neither = len(attack) - both - first - second
    return intervals.paired_difference(both, first, second, neither, confidence)
