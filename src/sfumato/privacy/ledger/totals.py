"""What the lines come to: events are composed, epsilons are never added.

Releases under one neighbouring relation are composed under it. Where relations are mixed, all are
evaluated under replace-one, which every other relation's neighbours reach in two steps and which
accounting takes from the event. A table of local reports is, for one record, that record's report
(parallel composition), so local events compose with central ones under replace-one. A metric
guarantee counts with its worst case; without one it has no sum.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sfumato.errors import BudgetError, InputError
from sfumato.privacy import guarantee as guarantees
from sfumato.privacy.budget import Budget
from sfumato.privacy.guarantee import Central, Guarantee, Local, Metric
from sfumato.privacy.ledger.entry import canonical
from sfumato.privacy.neighbours import Neighbours

PROVEN = "differential privacy"
_RECORDS = {"record", "row", "whole image"}
_ROUNDING = 1e-9  # relative: what a sum of doubles may be off


@dataclass(frozen=True)
class Total:
    """What releases of one kind and unit come to together.

    Args:
        kind: ``"differential privacy"``, or ``"metric"`` or ``"empirical"``, which have no sum.
        unit: Whose data is meant; empty where nothing is proven of anyone.
        neighbours: The relation that ``epsilon`` holds under; None where it has none.
        delta: Where epsilon is read off.
        epsilon: Of all these releases together; infinite where nothing bounds it.
        releases: How many.
        note: Why epsilon is infinite, if it is.
    """

    kind: str
    unit: str
    neighbours: Neighbours | None
    delta: float
    epsilon: float
    releases: int
    note: str = ""

    def describe(self) -> str:
        """One line."""
        many = "1 release" if self.releases == 1 else f"{self.releases} releases"
        if self.neighbours is None or math.isinf(self.epsilon):
            return f"{many} ({self.kind}): no finite total; {self.note}"
        at = f" at δ = {self.delta:g}" if self.delta else ""
        return f"{many}: ε = {self.epsilon:.4g}{at} for each {self.unit} ({self.neighbours})"

    def to_dict(self) -> dict[str, Any]:
        """The total as plain JSON values; an infinite epsilon is None."""
        return {
            "kind": self.kind,
            "unit": self.unit,
            "neighbours": self.neighbours.value if self.neighbours else None,
            "delta": self.delta,
            "epsilon": self.epsilon if math.isfinite(self.epsilon) else None,
            "releases": self.releases,
            "note": self.note,
        }


class Spending:
    """The guarantees that were paid for, equal ones counted together.

    Args:
        paid: Guarantees as written by ``to_dict``.

    Raises:
        InputError: If one cannot be read.
    """

    def __init__(self, paid: Iterable[Mapping[str, Any]]) -> None:
        self._proven: dict[str, list[tuple[Central | Local, int]]] = {}
        self.unproven: Counter[str] = Counter()
        for text, count in Counter(canonical(dict(values)) for values in paid).items():
            guarantee = countable(guarantees.from_dict(json.loads(text)))
            if isinstance(guarantee, Central | Local):
                self._proven.setdefault(unit_of(guarantee), []).append((guarantee, count))
            else:
                self.unproven[guarantee.kind] += count

    @property
    def units(self) -> tuple[str, ...]:
        """Whose data the proven guarantees protect."""
        return tuple(sorted(self._proven))

    def totals(
        self, delta: float | None = None, neighbours: Neighbours | None = None
    ) -> list[Total]:
        """One total for each unit, then one for each kind that has no sum.

        Args:
            delta: Where epsilon is read off; by default the largest delta among the releases.
            neighbours: The relation; by default the releases' own, replace-one if they differ.
        """
        proven = [self._total(unit, delta, neighbours) for unit in self.units]
        return proven + [
            Total(kind, "", None, 0.0, math.inf, count, "its figures cannot be composed")
            for kind, count in sorted(self.unproven.items())
        ]

    def _total(self, unit: str, delta: float | None, relation: Neighbours | None) -> Total:
        paid = self._proven[unit]
        at = max(guarantee.delta for guarantee, _ in paid) if delta is None else delta
        if relation is None:
            relations = {guarantee.neighbours for guarantee, _ in paid}
            relation = relations.pop() if len(relations) == 1 else Neighbours.REPLACE_ONE
        releases = sum(count for _, count in paid)
        try:
            epsilon = self._epsilon(paid, at, relation)
        except InputError as error:
            return Total(PROVEN, unit, relation, at, math.inf, releases, error.problem)
        note = f"no ε holds at δ = {at:g}" if math.isinf(epsilon) else ""
        return Total(PROVEN, unit, relation, at, epsilon, releases, note)

    @staticmethod
    def _epsilon(
        paid: list[tuple[Central | Local, int]], delta: float, relation: Neighbours
    ) -> float:
        from sfumato.privacy import events

        counts: Counter[str] = Counter()
        for guarantee, count in paid:
            counts[canonical(events.to_dict(guarantee.event))] += count
        return _composed(tuple(sorted(counts.items())), delta, relation)


@lru_cache(maxsize=1024)
def _composed(counts: tuple[tuple[str, int], ...], delta: float, relation: Neighbours) -> float:
    """The epsilon of events (as JSON, with their counts) on the same records."""
    from sfumato.privacy import accounting, events

    together = events.compose(
        *(events.repeat(events.from_dict(json.loads(text)), count) for text, count in counts)
    )
    return float(accounting.epsilon(together, delta, relation))


def countable(guarantee: Guarantee) -> Guarantee:
    """The differential privacy that a metric guarantee comes to, if any; others as they are."""
    worst = guarantee.worst_case if isinstance(guarantee, Metric) else None
    return guarantee if worst is None else worst


def unit_of(guarantee: Central | Local) -> str:
    """Whose data it protects; a row and a whole image are one record's."""
    return "record" if guarantee.unit in _RECORDS else guarantee.unit


def left(ceiling: Budget, spending: Spending, neighbours: Neighbours | None = None) -> float:
    """The epsilon that is surely left under a ceiling: ceiling minus total, at its delta.

    A release of a pure guarantee this strong, under the relation of the total, still fits (basic
    composition bounds what accounting will find). One that is accounted more tightly may be larger.

    Args:
        ceiling: What all releases together may reach.
        spending: What was paid for.
        neighbours: The relation; by default the releases' own, replace-one if they differ.
    """
    if len(spending.units) > 1 or spending.unproven:
        return 0.0
    totals = spending.totals(ceiling.delta, neighbours)
    rest = ceiling.epsilon - totals[0].epsilon if totals else ceiling.epsilon
    return rest if rest > _ROUNDING * ceiling.epsilon else 0.0


def admit(ceiling: Budget | None, paid: Sequence[Mapping[str, Any]], guarantee: Guarantee) -> None:
    """Refuses a guarantee that would bring the total over the ceiling.

    Args:
        ceiling: What all releases together may reach; None for no bound.
        paid: The guarantees paid for already, as written by ``to_dict``.
        guarantee: The one that is to be paid for.

    Raises:
        BudgetError: Naming what was asked for and what is left.
    """
    if ceiling is None:
        return
    guarantee = countable(guarantee)
    if not isinstance(guarantee, Central | Local):
        raise BudgetError(
            f"the ledger has a ceiling ({ceiling}) and a {guarantee.kind} guarantee has no epsilon "
            "to hold against it",
            "Use a method with a differential privacy guarantee, or a ledger without a ceiling.",
        )
    before = Spending(paid)
    if before.unproven:
        raise BudgetError(
            f"the ledger has a ceiling ({ceiling}) but holds releases without a differential "
            f"privacy guarantee ({', '.join(sorted(before.unproven))}), so no total is below it",
            "Nothing more can be published under this ceiling.",
        )
    units = {*before.units, unit_of(guarantee)}
    if len(units) > 1:
        raise BudgetError(
            f"this release protects each {unit_of(guarantee)}, the ledger's ceiling ({ceiling}) "
            f"counts for each {' and '.join(before.units)}; the two cannot be added",
            "Account for the other unit in a ledger of its own.",
        )
    after = Spending([*paid, guarantee.to_dict()]).totals(ceiling.delta)[0]
    if not after.epsilon <= ceiling.epsilon * (1 + _ROUNDING):
        raise _overdraft(ceiling, guarantee, after, left(ceiling, before, after.neighbours))


def _overdraft(
    ceiling: Budget, guarantee: Central | Local, after: Total, rest: float
) -> BudgetError:
    remains = f"ε = {_down(rest)} is left" if rest > 0 else "nothing is left"
    advice = f"Ask for at most ε = {_down(rest)}" if rest > 0 else "Publish no more of this data"
    if math.isinf(after.epsilon):
        cure = f"{advice}, with a method that is accounted under {after.neighbours}."
        if ceiling.delta == 0:
            pure = "Use pure noise such as discrete Laplace, or set" if rest > 0 else "Set"
            cure = f"{pure} a ceiling with a δ above 0."
        return BudgetError(
            f"with this release there is no finite total at the ceiling's δ = {ceiling.delta:g} "
            f"({after.note}); the ceiling is {ceiling} and {remains}",
            cure,
        )
    at = f", δ = {guarantee.delta:g}" if guarantee.delta else ""
    return BudgetError(
        f"this release asks for ε = {guarantee.epsilon():.6g}{at}, which brings the total to "
        f"ε = {after.epsilon:.6g}, over the ceiling of {ceiling} ({after.neighbours}); {remains}",
        f"{advice}, or raise the ceiling.",
    )


def _down(value: float) -> str:
    """Five digits, rounded down, so that asking for what is printed is granted."""
    step = 10.0 ** (math.floor(math.log10(value)) - 4)
    return f"{math.floor(value / step + 1e-6) * step:.5g}"  # what a double is off is forgiven
