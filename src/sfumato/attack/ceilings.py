"""What a guarantee lets an attack reach, on the scale of each attack.

All of it follows from one curve: the best true-positive rate ``T`` at each false-positive rate.
``T`` bounds a game in which a record is in the data or is not, under the guarantee's own
neighbouring relation; the games of :mod:`sfumato.attack` swap a member for a non-member.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sfumato.release.card import Card

UNITS = frozenset(
    (
        *("record", "row", "image", "whole record", "whole row", "whole image"),
        "labelled whole image",
        *("person", "individual", "patient", "client", "user", "household", "owner"),
    )
)
"""Units of a guarantee that cover at least one whole record, where no column names them."""

_PIXELS = ("image", "whole image")
LABEL_NOISE = "label_noise_probability"
"""What a plan says of labels that are published with noise."""

_TAIL = np.geomspace(1e-6, 0.1, 48)
_GRID = np.concatenate([[0.0], _TAIL, np.linspace(0.1, 0.9, 41)[1:-1], 1 - _TAIL[::-1], [1.0]])


def allowed(ceiling: float | None, *, percent: int | None = None, mark: str = ",") -> str:
    """What a guarantee allows, as the end of a clause: rounded up, so that it is still a bound.

    Args:
        ceiling: On the attack's scale; None gives nothing.
        percent: Digits after the point of a percentage; None gives three of the number itself.
        mark: What goes before.

    >>> allowed(0.05341)
    ', the guarantee allows 0.054'
    >>> allowed(0.5, percent=1), allowed(0.56611, percent=1, mark=";")
    (', the guarantee allows 50.0%', '; the guarantee allows 56.7%')
    """
    if ceiling is None:
        return ""
    if percent is None:
        return f"{mark} the guarantee allows {rounded_up(ceiling):.3f}"
    return f"{mark} the guarantee allows {rounded_up(ceiling, percent + 2):.{percent}%}"


def rounded_up(bound: float, digits: int = 3) -> float:
    """A bound with so many digits after the point.

    A double that stands for 0.5 may lie a little above it, which is no reason to say 0.501.
    """
    scale = 10.0**digits
    return math.ceil(bound * scale - 1e-9) / scale


@dataclass(frozen=True)
class Ceiling:
    """The best true-positive rate at each false-positive rate, from above.

    The curve is concave, so between two points where it is known it lies below the lines
    through the neighbouring pairs of points; those lines are what is used. Nothing that is
    derived here is below what the exact curve gives.

    Args:
        fpr: (k,) rising from 0 to 1.
        tpr: (k,) the curve at ``fpr``.

    >>> perfect_secrecy = Ceiling.of_curve(lambda fpr: fpr)
    >>> round(perfect_secrecy.auc, 9), round(perfect_secrecy.advantage, 9)
    (0.5, 0.0)
    """

    fpr: NDArray[np.float64]
    tpr: NDArray[np.float64]

    @classmethod
    def of_curve(cls, curve: Callable[[float], float]) -> Ceiling:
        """The ceiling of a function from false- to true-positive rates."""
        known = np.clip([curve(float(fpr)) for fpr in _GRID], _GRID, 1.0)
        known[-1] = 1.0
        return cls(_GRID, np.maximum.accumulate(known))

    def at(self, fpr: float) -> float:
        """The most that any attack's true-positive rate can be at ``fpr``."""
        i = int(np.clip(np.searchsorted(self.fpr, fpr, "right") - 1, 0, len(self.fpr) - 2))
        a, b, left, right = self._lines
        return float(
            min(
                self.tpr[i + 1],
                self.tpr[i] + left[i] * (fpr - a[i]),
                self.tpr[i + 1] + right[i] * (fpr - b[i]),
            )
        )

    @property
    def auc(self) -> float:
        """The largest area under a ROC curve."""
        a, b = self.fpr[:-1], self.fpr[1:]
        x, top = self._meet
        area = (x - a) * (self.tpr[:-1] + top) / 2 + (b - x) * (top + self.tpr[1:]) / 2
        return float(min(1.0, area.sum()))

    @property
    def advantage(self) -> float:
        """The largest true-positive rate minus false-positive rate."""
        x, top = self._meet
        return float(min(1.0, np.max(np.concatenate([self.tpr - self.fpr, top - x]))))

    def identification(self, candidates: int) -> float:
        """How often the owner of a local report can be picked out of equally likely candidates.

        For guesses that exclude each other, ``r <= T((1 - r) / (candidates - 1))`` holds for the
        rate ``r`` of right ones; for pure epsilon this is ``e^eps / (e^eps + candidates - 1)``.
        """
        if candidates < 2:
            return 1.0
        return self._largest(lambda r: r <= self.at((1 - r) / (candidates - 1)))

    def share(self, fraction: float) -> float:
        """How large a share of the records that an attack points at can be members.

        Args:
            fraction: Records pointed at, members and non-members, over the number of members;
                there are as many non-members.

        A member and a non-member change places: the rates at which they are pointed at,
        ``share * fraction`` and ``(1 - share) * fraction``, obey ``T``.
        """
        return self._largest(
            lambda s: s * fraction <= self.at(min(1.0, max(0.0, (1 - s) * fraction)))
        )

    @staticmethod
    def _largest(possible: Callable[[float], bool]) -> float:
        low, high = 0.0, 1.0
        if possible(high):
            return high
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if possible(middle) else (low, middle)
        return high

    @property
    def _lines(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
        """For each interval: its ends, and the slopes of the lines from either side."""
        slope = np.diff(self.tpr) / np.diff(self.fpr)
        left = np.concatenate([[np.inf], slope[:-1]])
        right = np.concatenate([slope[1:], [0.0]])
        left[0] = (1 - self.tpr[0]) / (self.fpr[1] - self.fpr[0])
        return self.fpr[:-1], self.fpr[1:], left, right

    @property
    def _meet(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Where the two lines of each interval meet: the highest that the curve can bulge."""
        a, b, left, right = self._lines
        low, high = self.tpr[:-1], self.tpr[1:]
        with np.errstate(divide="ignore", invalid="ignore"):
            x = (high - low + left * a - right * b) / (left - right)
        x = np.clip(np.where(np.isfinite(x), x, b), a, b)
        return x, np.minimum(np.minimum(low + left * (x - a), high + right * (x - b)), high)


def of(card: Card) -> Ceiling | None:
    """The ceiling that a card's guarantee implies for attacks on whole records.

    Returns:
        None where nothing is proven, or what is proven covers less than a record.
    """
    proven = card.guarantee.get("worst_case", card.guarantee)  # of a metric, where there is one
    if proven.get("kind") not in ("central", "local"):
        return None
    unit = str(proven.get("unit")).lower()
    # Where a column says whose rows are, the unit is its name in a word, whatever that is.
    whole = any(fact.name == "unit" for fact in card.facts)
    if not whole and unit not in UNITS:
        return None
    if not whole and unit in _PIXELS and proven["kind"] == "local" and LABEL_NOISE not in card.plan:
        return None  # of an image alone: its label is published as it is
    return _of_guarantee(json.dumps(proven, sort_keys=True))


@lru_cache(maxsize=32)
def _of_guarantee(text: str) -> Ceiling:
    from sfumato.privacy import guarantee

    return Ceiling.of_curve(guarantee.from_dict(json.loads(text)).advantage_ceiling)
