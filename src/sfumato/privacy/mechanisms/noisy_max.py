"""One of many candidates chosen by flipping coins in a random order (permute and flip)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Context, Decimal, localcontext
from typing import TYPE_CHECKING, Any

from sfumato.privacy.mechanisms.checks import positive
from sfumato.privacy.mechanisms.exponential import WORST_GAP, gaps
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import SECURE, NoiseSource
from sfumato.privacy.transcript import choice_seen

if TYPE_CHECKING:
    from dp_accounting import DpEvent

_MARGIN = 2.0**-30
_MORE_BITS = 384


@dataclass(frozen=True)
class NoisyMax:
    """The candidate whose score is largest after exponential noise is added to each.

    Drawn in the equivalent form: candidates are visited in a uniformly random order, and the first
    whose coin shows heads, with probability ``exp(-epsilon gap / (2 sensitivity))``, is chosen;
    the best one's always does. Never worse than the exponential mechanism, at the same epsilon.

    Args:
        epsilon: Of one choice.
        sensitivity: How far one record can move any score.
        neighbours: The relation that ``sensitivity`` is stated under.

    Guaranteed: epsilon-DP. Coins are decided in floats where these are sure, and to 384 bits
    where they are not (once in a billion).

    Source: McKenna and Sheldon, "Permute-and-Flip", 2020; Ding et al., "The Permute-and-Flip
    Mechanism is Identical to Report-Noisy-Max with Exponential Noise", 2021.
    """

    epsilon: float
    sensitivity: float
    neighbours: Neighbours = Neighbours.ADD_REMOVE

    def __post_init__(self) -> None:
        positive("epsilon", self.epsilon)
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
        gaps(scores)  # checks them; the gaps themselves are taken exactly, one at a time
        values = [float(score) for score in scores]
        best = max(values)
        waiting = list(range(len(values)))
        while True:
            place = int(source.integers(len(waiting), 1)[0])
            waiting[place], waiting[-1] = waiting[-1], waiting[place]
            candidate = waiting.pop()
            if self._heads(best, values[candidate], source):
                return choice_seen(candidate, len(values))

    def _heads(self, best: float, score: float, source: NoiseSource) -> bool:
        if score == best:
            return True
        word = int(source.uint64(1)[0])
        roughly = math.exp(-min((best - score) * self.epsilon / (2 * self.sensitivity), WORST_GAP))
        if abs(word * 2.0**-64 - roughly) > _MARGIN:
            return word * 2.0**-64 < roughly
        with localcontext(Context(prec=120)):
            # A hair below epsilon, to cover what 384 bits do not hold.
            rate = Decimal(self.epsilon) * (1 - Decimal(2) ** -48) / (2 * Decimal(self.sensitivity))
            nats = min((Decimal(best) - Decimal(score)) * rate, Decimal(WORST_GAP))
            threshold = int((-nats).exp() * (1 << _MORE_BITS))
        more = int.from_bytes(source.bytes((_MORE_BITS - 64) // 8), "little")
        return ((word << (_MORE_BITS - 64)) | more) < threshold
