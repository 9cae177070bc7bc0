"""What one attack got out of a release: a figure with everything needed to read it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from sfumato.attack.margin import Margin
from sfumato.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


REVEALED = "revealed"
"""Under this name a finding's details hold private pictures, where somebody asked for them."""

CLOSEST = "closest"
"""Under this name they hold which released records give a single person away most."""

_SIDED = ("membership", "anonymeter", "attribute", "linkage", "memorisation", "privacy_loss")
"""Families of attacks whose figure sets members against non-members."""


@dataclass(frozen=True)
class PerRecord:
    """What an attack scored single records with; private, and never written with a finding.

    Args:
        rows: (m,) row numbers of the members that were attacked.
        members: (m,) their scores, higher where the attack is surer.
        non_members: (n,) scores of those it was tried on besides.
    """

    rows: NDArray[np.int64]
    members: NDArray[np.float64]
    non_members: NDArray[np.float64]


@dataclass(frozen=True)
class Finding:
    """The result of one attack.

    A finding holds counts, rates and curves, never a record of anybody, unless an attack was told
    to reveal the pictures it made (:meth:`hidden` takes them out). It was computed on private rows
    all the same, so it belongs in the custodian's evaluation.

    Args:
        attack: The registered name of the attack.
        metric: What ``value`` is, in words: ``"AUC"``, ``"membership advantage"``.
        value: The attack's success.
        interval: Confidence interval of ``value``.
        confidence: Of ``interval``, such as 0.95.
        chance: What guessing scores on the same metric.
        baseline: What an attacker without access to the release scored, or None.
        margin: By how much the attack did better than that attacker, where his score is an
            estimate too; None where it is known exactly, or where there is no such attacker.
        ceiling: The most that the guarantee lets any attack score on the same metric, or None
            where the guarantee says nothing about this attack.
        roc: ``(fpr, tpr)`` points, both rising from ``(0, 0)`` to ``(1, 1)``.
        details: Further figures; JSON values.
        summary: One plain sentence for a custodian.
        records: Scores of single members, where the attack has such; in memory only.

    Raises:
        ValueError: If a figure is not finite, or the interval does not hold the value.
    """

    attack: str
    metric: str
    value: float
    interval: tuple[float, float]
    confidence: float
    chance: float
    baseline: float | None = None
    margin: Margin | None = None
    ceiling: float | None = None
    roc: tuple[tuple[float, float], ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    summary: str = ""
    records: PerRecord | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        low, high = self.interval
        figures = [self.value, low, high, self.chance, self.baseline or 0.0, self.ceiling or 0.0]
        if self.margin is not None:
            figures += [self.margin.value, *self.margin.interval]
        if not all(math.isfinite(figure) for figure in figures):
            raise ValueError(f"{self.attack}: a figure is not finite: {figures}")
        if self.margin is not None and self.baseline is None:
            raise ValueError(f"{self.attack}: a margin over no baseline")
        if not low <= self.value <= high:
            raise ValueError(f"{self.attack}: {self.value} is outside its interval {low, high}")
        if not 0 < self.confidence < 1:
            raise ValueError(f"{self.attack}: confidence is {self.confidence}")
        json.dumps(self.details, allow_nan=False)

    @property
    def better_than_chance(self) -> bool:
        """Whether the attack surely does better than chance and than one without access.

        Its interval lies above chance, and that of its margin over the baseline above 0; or it
        does so about the few members that it is surest of.
        """
        if self.finds_some and not self.worse_than_chance:
            return True
        if self.margin is not None:
            return self.interval[0] > self.chance and self.margin.interval[0] > 0
        beaten = self.chance if self.baseline is None else max(self.chance, self.baseline)
        return self.interval[0] > beaten

    @property
    def finds_some(self) -> bool:
        """Whether it surely finds more members than others where few others may be accused.

        A leak of few members is seen there, and hardly in a figure of all of them.
        """
        return self.told_at("beats_chance") is not None

    def told_at(self, what: str) -> Mapping[str, Any] | None:
        """The first point at a low false-positive rate of which something is said, if any.

        Args:
            what: ``"beats_chance"`` or ``"breaks_guarantee"``.
        """
        points = self.details.get("tpr_at_fpr")
        given = points if isinstance(points, Sequence) else ()
        told = (one for one in given if isinstance(one, Mapping) and one.get(what) is True)
        return next(told, None)

    @property
    def undecided(self) -> bool:
        """Whether it beats chance, and too few people tell whether also an attacker without access.

        Then nothing can be said: neither that the release leaks, nor that this attack shows none.
        """
        return (
            self.margin is not None
            and not self.margin.decided
            and self.interval[0] > self.chance
            and not self.finds_some
        )

    @property
    def worse_than_chance(self) -> bool:
        """Whether members do surely worse than non-members, where these are compared.

        Luck is no reason for that: it is how a leak looks when the two sides are exchanged.
        """
        return self.attack.partition(".")[0] in _SIDED and self.interval[1] < self.chance

    @property
    def breaks_guarantee(self) -> bool:
        """Whether more than the ceiling was surely reached: then the proof or the code is wrong.

        By the interval, or by a true-positive rate where few others may be accused: a guarantee
        bounds every point of the curve, and an area may be small for one that is far outside.
        """
        over = self.ceiling is not None and self.interval[0] > self.ceiling
        return over or self.told_at("breaks_guarantee") is not None

    @property
    def verdict(self) -> str:
        """What to make of the figure, in a few plain words."""
        if self.breaks_guarantee:
            at = _where(self.told_at("breaks_guarantee"))
            return f"more than the guarantee allows{at}: the claim, its proof or the code is wrong"
        if self.worse_than_chance:
            return (
                "worse than guessing by more than luck; were members and non-members exchanged, "
                "this is a leak"
            )
        if self.finds_some:
            limit = "nothing is proven to limit it"
            limit = limit if self.ceiling is None else "within what the guarantee allows"
            return f"better than guessing{_where(self.told_at('beats_chance'))}, {limit}"
        if self.interval[0] <= self.chance:
            return "no better than guessing"
        if self.undecided:
            assert self.margin is not None
            return (
                f"better than guessing, but {self.margin.told} cannot tell whether better than an "
                "attacker without the release"
            )
        if not self.better_than_chance:
            return "no better than an attacker without the release"
        if self.ceiling is None:
            return "better than guessing, and nothing is proven to limit it"
        return "better than guessing, within what the guarantee allows"

    def hidden(self) -> Finding:
        """The finding without the pictures that an attack was asked to add to its details."""
        return self._without(REVEALED)

    def of_all(self) -> Finding:
        """The finding for others' eyes: figures of all people, none that points at one of them."""
        return self._without(REVEALED, CLOSEST)

    def _without(self, *names: str) -> Finding:
        if not self.details.keys() & set(names):
            return self
        kept = {name: value for name, value in self.details.items() if name not in names}
        return replace(self, details=kept)

    def to_dict(self) -> dict[str, Any]:
        """The finding as plain JSON values."""
        return {
            "attack": self.attack,
            "metric": self.metric,
            "value": self.value,
            "interval": list(self.interval),
            "confidence": self.confidence,
            "chance": self.chance,
            "baseline": self.baseline,
            "margin": None if self.margin is None else self.margin.to_dict(),
            "ceiling": self.ceiling,
            "roc": [list(point) for point in self.roc],
            "details": dict(self.details),
            "summary": self.summary,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Finding:
        """Reads a finding back.

        Raises:
            InputError: If a field is missing or is not what it should be.
        """
        try:
            low, high = values["interval"]
            beaten = values.get("margin")  # what was written before there were any has none
            return cls(
                attack=str(values["attack"]),
                metric=str(values["metric"]),
                value=float(values["value"]),
                interval=(float(low), float(high)),
                confidence=float(values["confidence"]),
                chance=float(values["chance"]),
                baseline=_optional(values["baseline"]),
                margin=None if beaten is None else Margin.from_dict(beaten),
                ceiling=_optional(values["ceiling"]),
                roc=tuple((float(fpr), float(tpr)) for fpr, tpr in values["roc"]),
                details=dict(values["details"]),
                summary=str(values["summary"]),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"a finding cannot be read ({error!r})", "The evaluation is damaged; run it again."
            ) from None


def _where(point: Mapping[str, Any] | None) -> str:
    """How many members are found at a low false-positive rate, in words; nothing of no point."""
    if point is None:
        return ""
    return f" ({point['tpr']:.2%} of members are found where {point['fpr']:.2%} of others are)"


def _optional(value: Any) -> float | None:
    return None if value is None else float(value)
