"""What a guarantee means in concrete figures, each computed from the event of what ran."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sfumato.errors import InputError
from sfumato.privacy.neighbours import Neighbours
from sfumato.report.charts import GRADES

if TYPE_CHECKING:
    from sfumato.privacy.guarantee import Guarantee
    from sfumato.release.card import Card

# Logarithmic up to 10 %, then linear: the ceiling is drawn on both kinds of axes.
_RATES = (
    0.0,
    *(10 ** (-3 + step / 6) for step in range(12)),
    *(0.1 + 0.05 * step for step in range(19)),
)
_DELTAS = (1e-4, 1e-5, 1e-6, 1e-8)


@dataclass(frozen=True)
class Bounds:
    """A guarantee in figures; where nothing is proven there are none.

    Args:
        bounded: Whether the guarantee bounds an attack at all.
        accuracy: Best share of right guesses between two neighbours that are equally likely; in
            [0.5, 1], and 1 where nothing is bounded.
        curve: ``(fpr, tpr)``: the most that any membership attack can reach.
        profile: ``(delta, epsilon)`` at other deltas; empty where epsilon does not depend on it.
        other: The neighbouring relation that the guarantee is not stated under.
        other_epsilon: Epsilon of the same event under ``other``; None where none is known.
        regret: How far the trade-off curve lies from that of ``gdp_mu``, in rates; None without mu.
    """

    bounded: bool
    accuracy: float
    curve: tuple[tuple[float, float], ...]
    profile: tuple[tuple[float, float], ...]
    other: Neighbours | None
    other_epsilon: float | None
    regret: float | None

    def at(self, fpr: float) -> float:
        """The most that is possible at a false-positive rate, or at the next rate above it."""
        return next(tpr for rate, tpr in self.curve if rate >= fpr * (1 - 1e-9))

    @property
    def grade(self) -> str:
        """The word for ``accuracy``; this project's own scale, no standard's."""
        return next(word for end, word in GRADES if self.accuracy <= end + 1e-9)

    @property
    def per_hundred(self) -> int:
        """Right guesses in 100, rounded up."""
        return min(math.ceil(100 * self.accuracy - 1e-9), 100)


def bounds(card: Card) -> Bounds:
    """The figures of a card's guarantee.

    Raises:
        InputError: If the card's event cannot be read.
    """
    guarantee = card.proven
    event = getattr(guarantee, "event", None)
    if event is None:
        return Bounds(False, 1.0, (), (), None, None, None)
    curve = tuple((fpr, guarantee.advantage_ceiling(fpr)) for fpr in _RATES)
    relation: Neighbours = guarantee.neighbours  # type: ignore[union-attr]
    other = Neighbours.ADD_REMOVE if relation is Neighbours.REPLACE_ONE else Neighbours.REPLACE_ONE
    return Bounds(
        bounded=True,
        accuracy=_accuracy(guarantee, curve),
        curve=curve,
        profile=_profile(guarantee),
        other=other,
        other_epsilon=_epsilon_under(guarantee, other),
        regret=_regret(curve, guarantee.gdp_mu()),
    )


def _accuracy(guarantee: Guarantee, curve: tuple[tuple[float, float], ...]) -> float:
    """Half of one plus the total variation distance, which is delta at epsilon 0."""
    from sfumato.privacy import accounting

    distance = accounting.delta(guarantee.event, 0.0, guarantee.neighbours)  # type: ignore[union-attr]
    reached = max(tpr - fpr for fpr, tpr in curve)  # never print less than the curve shows
    return min((1 + max(distance, reached)) / 2, 1.0)


def _profile(guarantee: Guarantee) -> tuple[tuple[float, float], ...]:
    if guarantee.delta == 0:  # type: ignore[union-attr]
        return ()
    found = []
    for delta in _DELTAS:
        epsilon = guarantee.epsilon(delta)
        if math.isfinite(epsilon):
            found.append((delta, epsilon))
    return tuple(found)


def _epsilon_under(guarantee: Any, other: Neighbours) -> float | None:
    from sfumato.privacy import accounting

    try:
        found = accounting.epsilon(guarantee.event, guarantee.delta, other)
    except InputError:
        return None
    return found if math.isfinite(found) else None


def _regret(curve: tuple[tuple[float, float], ...], mu: float | None) -> float | None:
    """The smallest shift r with ``f(x + r) - r <= G_mu(x)`` at the curve's points.

    ``f`` is the trade-off curve (false negatives by false positives), ``G_mu`` that of the
    Gaussian; mu is chosen so that ``f >= G_mu``. Source: Gomez et al., arXiv 2503.10945.
    """
    if mu is None or not math.isfinite(mu) or not curve:
        return None
    from scipy.special import ndtr, ndtri

    xs = [fpr for fpr, _ in curve]
    ys = [1 - tpr for _, tpr in curve]

    def missed(fpr: float) -> float:
        if fpr >= 1:
            return 0.0
        at = max(index for index, x in enumerate(xs) if x <= fpr)
        if at + 1 == len(xs):
            return ys[at]
        share = (fpr - xs[at]) / (xs[at + 1] - xs[at])
        return ys[at] + share * (ys[at + 1] - ys[at])

    def gaussian(fpr: float) -> float:
        return float(ndtr(ndtri(1 - fpr) - mu)) if 0 < fpr < 1 else float(fpr == 0)

    low, high = 0.0, 1.0
    while high - low > 1e-5:
        shift = (low + high) / 2
        if all(missed(x + shift) - shift <= gaussian(x) + 1e-9 for x in xs):
            high = shift
        else:
            low = shift
    return high
