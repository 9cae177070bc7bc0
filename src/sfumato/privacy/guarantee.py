"""What a release proves: a closed set of value types, never compared across kinds.

Every figure is computed from the event of what ran, by :mod:`sfumato.privacy.accounting`.
Events follow ``dp_accounting``'s own convention: a multiplier is noise divided by the bound on
one record's *contribution*, and the relation decides how far two neighbours can be apart. Whoever
hands a card's event and relation to another accountant must arrive at the same epsilon.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from sfumato.errors import InputError
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.rounding import up

if TYPE_CHECKING:
    from dp_accounting import DpEvent


@dataclass(frozen=True)
class _Accounted:
    """The figures that follow from an event under a relation."""

    kind: ClassVar[str]
    event: DpEvent
    delta: float
    unit: str
    neighbours: Neighbours

    def epsilon(self, delta: float | None = None) -> float:
        """The epsilon of the event at ``delta`` (the guarantee's own by default)."""
        from sfumato.privacy import accounting

        at = self.delta if delta is None else delta
        return accounting.epsilon(self.event, at, self.neighbours)

    def gdp_mu(self) -> float | None:
        """The smallest mu for which the event is mu-GDP, or None where there is none."""
        from sfumato.privacy import accounting

        return accounting.gdp_mu(self.event, self.neighbours)

    def advantage_ceiling(self, fpr: float) -> float:
        """The best true-positive rate that any membership attack can reach at ``fpr``."""
        from sfumato.privacy import accounting

        return accounting.max_tpr(self.event, fpr, self.neighbours)

    def to_dict(self) -> dict[str, Any]:
        """The guarantee as plain JSON values, for a card."""
        from sfumato.privacy import events

        return {
            "kind": self.kind,
            "event": events.to_dict(self.event),
            "delta": self.delta,
            "unit": self.unit,
            "neighbours": self.neighbours.value,
        }

    def _figure(self) -> str:
        epsilon = up(self.epsilon())
        return f"ε = {epsilon}" if self.delta == 0 else f"(ε, δ) = ({epsilon}, {self.delta:g})"

    def _factor(self) -> str:
        """How much likelier an output can be, in the words that follow "at most"."""
        epsilon = self.epsilon()
        times = f"{up(math.exp(epsilon))} times" if epsilon < 50 else f"e^{up(epsilon)} times"
        return times if self.delta == 0 else f"{times} (beyond δ)"


@dataclass(frozen=True)
class Central(_Accounted):
    """``(epsilon, delta)``-DP of the whole release; a trusted curator sees the data.

    Args:
        event: Everything that was drawn from the private data, as one ``DpEvent``.
        delta: Where epsilon is read off.
        unit: Whose presence is hidden: ``"record"``, ``"patient"``, ``"client"``.
        neighbours: The relation the event is accounted under.
    """

    kind: ClassVar[str] = "central"
    unit: str = "record"
    neighbours: Neighbours = Neighbours.ADD_REMOVE

    def describe(self) -> str:
        """One honest sentence."""
        apart = self.neighbours.phrase.format(unit=self.unit)
        return (
            f"Differential privacy of the whole release with {self._figure()}: of two data sets "
            f"that {apart}, one makes any output at most {self._factor()} as likely as the other."
        )


@dataclass(frozen=True)
class Local(_Accounted):
    """``(epsilon, delta)`` of each record's own report; nobody but its owner need be trusted.

    Args:
        event: What one record's report reveals, as one ``DpEvent``.
        delta: Where epsilon is read off.
        unit: What a report covers: ``"row"``, ``"whole image"``, ``"16-pixel part"``.
    """

    kind: ClassVar[str] = "local"
    unit: str = "row"
    neighbours: Neighbours = Neighbours.REPLACE_ONE

    def describe(self) -> str:
        """One honest sentence."""
        return (
            f"Local differential privacy of each {self.unit} with {self._figure()}: of two true "
            f"{self.unit}s, one makes any published version at most {self._factor()} as likely as "
            "the other."
        )


@dataclass(frozen=True)
class Metric:
    """Indistinguishability that weakens with distance: ``epsilon * d(x, x')``.

    Where something is proven between any two values, however far apart, it is given beside: it is
    what a ledger counts, what bounds attacks, and what the figures of the guarantee are read from.

    Args:
        epsilon_per_distance: Nats per unit of ``metric``.
        metric: The distance, in words.
        typical_distances: Named distances that give the figure a meaning.
        worst_case: The differential privacy between any two values; None where there is none.

    >>> from sfumato.privacy.events import PureDpEvent
    >>> worst = Central(PureDpEvent(1.5, "replace-one"), 0.0, neighbours=Neighbours.REPLACE_ONE)
    >>> Metric(0.5, "angle", worst_case=worst).epsilon(), Metric(0.5, "pixels").epsilon()
    (1.5, inf)
    """

    kind: ClassVar[str] = "metric"
    epsilon_per_distance: float
    metric: str
    typical_distances: Mapping[str, float] = field(default_factory=dict)
    worst_case: Central | None = None

    @property
    def delta(self) -> float | None:
        """Of the worst case; None without one."""
        return None if self.worst_case is None else self.worst_case.delta

    def epsilon(self, delta: float | None = None) -> float:
        """Of the worst case; infinite without one."""
        return float("inf") if self.worst_case is None else self.worst_case.epsilon(delta)

    def gdp_mu(self) -> float | None:
        """Of the worst case; None without one."""
        return None if self.worst_case is None else self.worst_case.gdp_mu()

    def advantage_ceiling(self, fpr: float) -> float:
        """Of the worst case; 1 without one, as nothing bounds an attack on distant records."""
        return 1.0 if self.worst_case is None else self.worst_case.advantage_ceiling(fpr)

    def describe(self) -> str:
        """One honest sentence."""
        said = (
            f"Two records at distance d ({self.metric}) are ε·d-indistinguishable with "
            f"ε = {self.epsilon_per_distance:g}; "
        )
        if self.worst_case is None:
            return f"{said}this is not differential privacy of a record."
        apart = self.worst_case.neighbours.phrase.format(unit=self.worst_case.unit)
        return (
            f"{said}at any distance, {self.worst_case._figure()} holds between two data sets that "
            f"{apart}."
        )

    def to_dict(self) -> dict[str, Any]:
        """The guarantee as plain JSON values, for a card."""
        values: dict[str, Any] = {
            "kind": self.kind,
            "epsilon_per_distance": self.epsilon_per_distance,
            "metric": self.metric,
            "typical_distances": dict(self.typical_distances),
        }
        if self.worst_case is not None:
            values["worst_case"] = self.worst_case.to_dict()
        return values


@dataclass(frozen=True)
class Empirical:
    """Nothing is proven; only the attacks that were run speak for the release."""

    kind: ClassVar[str] = "empirical"
    attacks: tuple[str, ...] = ()

    def epsilon(self, delta: float | None = None) -> float:
        """Infinite: there is no proof."""
        return float("inf")

    def gdp_mu(self) -> float | None:
        """None: there is no proof."""
        return None

    def advantage_ceiling(self, fpr: float) -> float:
        """1: nothing bounds an attack."""
        return 1.0

    def describe(self) -> str:
        """One honest sentence."""
        ran = ", ".join(self.attacks) or "no attack was run"
        return f"No privacy guarantee. Evidence only: {ran}."

    def to_dict(self) -> dict[str, Any]:
        """The guarantee as plain JSON values, for a card."""
        return {"kind": self.kind, "attacks": list(self.attacks)}


Guarantee = Central | Local | Metric | Empirical


def from_dict(values: Mapping[str, Any]) -> Guarantee:
    """Reads a guarantee back from a card.

    Raises:
        InputError: If the kind is unknown, or a field is missing or of the wrong kind.
    """
    kind = values.get("kind")
    try:
        return _READERS[kind](values)
    except KeyError as error:
        if kind in _READERS:
            problem = f"the {kind} guarantee lacks {error}"
            raise InputError(problem, "The card is damaged.") from None
        raise InputError(
            f"guarantee kind is {kind!r}", f"Use {', '.join(map(str, _READERS))}."
        ) from None
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"the {kind} guarantee cannot be read ({error})", "The card is damaged."
        ) from None


def _read_central(values: Mapping[str, Any]) -> Central:
    from sfumato.privacy import events

    event = events.from_dict(values["event"])
    neighbours = Neighbours(values["neighbours"])
    return Central(event, float(values["delta"]), str(values["unit"]), neighbours)


def _read_local(values: Mapping[str, Any]) -> Guarantee:
    from sfumato.privacy import events

    event = events.from_dict(values["event"])
    return Local(event, float(values["delta"]), str(values["unit"]))


def _read_metric(values: Mapping[str, Any]) -> Guarantee:
    typical = {str(name): float(value) for name, value in values["typical_distances"].items()}
    worst = _read_central(values["worst_case"]) if "worst_case" in values else None
    return Metric(float(values["epsilon_per_distance"]), str(values["metric"]), typical, worst)


def _read_empirical(values: Mapping[str, Any]) -> Guarantee:
    return Empirical(tuple(str(name) for name in values["attacks"]))


_READERS: Mapping[Any, Callable[[Mapping[str, Any]], Guarantee]] = {
    "central": _read_central,
    "local": _read_local,
    "metric": _read_metric,
    "empirical": _read_empirical,
}
