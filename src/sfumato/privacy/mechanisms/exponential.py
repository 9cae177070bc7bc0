"""One of many candidates chosen in proportion to how good it is."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InputError
from sfumato.privacy.mechanisms.checks import finite, positive
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import SECURE, NoiseSource
from sfumato.privacy.transcript import choice_seen

if TYPE_CHECKING:
    from dp_accounting import DpEvent

WORST_GAP = 200.0
"""Candidates worse than this many nats below the best count as this bad.

A maximum of scores is as sensitive as the scores, so privacy is unchanged; the probability of
choosing such a candidate becomes ``exp(-200)`` instead of something smaller.
"""
_SLACK = 1e-12
_SCALE_BITS = 52 + 300  # exp(-200) > 2**-289: every weight is a whole number of units


@dataclass(frozen=True)
class ExponentialMechanism:
    """Chooses ``i`` with probability proportional to ``exp(epsilon score_i / (2 sensitivity))``.

    Args:
        epsilon: Of one choice, at least 1e-6.
        sensitivity: How far one record can move any score.
        neighbours: The relation that ``sensitivity`` is stated under.

    Guaranteed: epsilon-DP. Weights are computed in floats, each to a relative error below 1e-13,
    and used as exact integers; epsilon is lowered by 1e-12 to cover those errors.

    Source: McSherry and Talwar, "Mechanism Design via Differential Privacy", 2007.
    """

    epsilon: float
    sensitivity: float
    neighbours: Neighbours = Neighbours.ADD_REMOVE

    def __post_init__(self) -> None:
        positive("epsilon", self.epsilon, 1e-6)
        positive("a sensitivity", self.sensitivity)

    @property
    def event(self) -> DpEvent:
        """A pure event under the relation of the sensitivity."""
        from sfumato.privacy.events import PureDpEvent

        return PureDpEvent(float(self.epsilon), self.neighbours.value)

    def select(self, scores: Any, source: NoiseSource = SECURE) -> int:
        """The index chosen.

        Args:
            scores: (k,) finite numbers; more is better.
            source: Where the bits come from.

        Raises:
            InputError: If there are no scores, or one is not a finite number.
        """
        ends = list(accumulate(self.weights(scores)))
        return choice_seen(bisect_right(ends, integer_below(ends[-1], source)), len(ends))

    def weights(self, scores: Any) -> list[int]:
        """The whole numbers that the probabilities are exactly proportional to.

        Raises:
            InputError: If there are no scores, or one is not a finite number.
        """
        with np.errstate(over="ignore"):  # an infinite gap is the worst gap
            nats = gaps(scores) * ((self.epsilon - _SLACK) / (2 * self.sensitivity))
        floats = np.exp(-np.minimum(nats, WORST_GAP))
        return [exact(weight, _SCALE_BITS) for weight in floats.tolist()]


def gaps(scores: Any) -> NDArray[np.float64]:
    """How far each score is below the best, (k,), at least 0.

    Raises:
        InputError: If there are no scores, or one is not a finite number.
    """
    if np.ndim(scores) != 1 or np.size(scores) == 0:
        raise InputError(f"scores have shape {np.shape(scores)}", "Give one score a candidate.")
    array = finite(scores, "scores")
    given = np.asarray(scores)
    if given.dtype.kind in "iu" and max(-int(given.min()), int(given.max())) > 1 << 53:
        raise InputError("integer scores go beyond 2**53, where floats have gaps", "Scale them.")
    with np.errstate(over="ignore"):
        return np.asarray(array.max() - array)


def exact(value: float, bits: int) -> int:
    """The whole number ``value * 2**bits``; ``bits`` is enough for it to be one."""
    numerator, denominator = value.as_integer_ratio()
    return (numerator << bits) // denominator


def integer_below(high: int, source: NoiseSource) -> int:
    """An integer exactly uniform on ``[0, high)``, of any size, by rejection."""
    size = (high.bit_length() + 7) // 8
    excess = 8 * size - high.bit_length()
    while True:
        drawn = int.from_bytes(source.bytes(size), "little") >> excess
        if drawn < high:
            return drawn
