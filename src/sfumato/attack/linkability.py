"""Linkability: two parts of one person's record, joined through the release."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sfumato.attack import ceilings, controlled, targets
from sfumato.attack.controlled import Tries
from sfumato.attack.finding import Finding, PerRecord
from sfumato.attack.nearest import some_nearest_codes
from sfumato.attack.settings import Settings, whole
from sfumato.errors import InputError
from sfumato.registry import attack

if TYPE_CHECKING:
    from sfumato.attack.evidence import Evidence
    from sfumato.attack.targets import Records
    from sfumato.data.schema import Schema
    from sfumato.release.release import Release


@attack("anonymeter.linkability")
@dataclass(frozen=True)
class Linkability(Settings):
    """Joins two holders' columns of a person by the released rows that are near to both.

    Each holder knows some columns. Both look for the released rows nearest to theirs; a person is
    linked where the two lists share a row. The control is how often people who are not in the
    release are linked. Of equally near rows each holder takes random ones.

    Args:
        first: Columns of the first holder; empty takes a random half of all columns.
        second: Columns of the second holder; empty takes the others.
        neighbours: Released rows on each list.
    """

    kinds: ClassVar[tuple[str, ...]] = ("table",)
    source: ClassVar[str] = controlled.SOURCE

    max_released: int = 50_000
    first: tuple[str, ...] = ()
    second: tuple[str, ...] = ()
    neighbours: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        whole(self.neighbours, "neighbours", 1)
        for name in ("first", "second"):
            if isinstance(getattr(self, name), str):
                raise InputError(
                    f"{name} is {getattr(self, name)!r}", "Give a list of column names."
                )
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if both := sorted(set(self.first) & set(self.second)):
            raise InputError(f"both holders have {both[0]!r}", "Give each column to one of them.")

    def __call__(self, release: Release, evidence: Evidence, *, seed: int = 0) -> Finding:
        """The risk of being linked."""
        targets.check(release, evidence)
        rng = np.random.default_rng(seed)
        chosen, others = targets.balanced(evidence, self.max_targets, rng)
        inside = targets.read(evidence.members, chosen)
        outside = targets.read(evidence.non_members, others)
        published = targets.released(release, self.max_released, rng)
        halves = self._halves(release.data.schema, rng)  # type: ignore[arg-type]
        linked = [self._linked(side, published, halves, rng) for side in (inside, outside)]
        m = len(inside)
        own, base = (Tries(int(found.sum()), m) for found in linked)
        naive = Tries(m * self._guessed(len(published)), m)
        value, interval = controlled.risk(own, base, self.confidence)
        names = [column.name for column in inside.columns]
        finding = Finding(
            attack="anonymeter.linkability",
            metric="risk: success beyond the control's",
            value=value,
            interval=interval,
            confidence=self.confidence,
            chance=0.0,
            baseline=0.0,  # lists drawn at random meet as often for people who are not in the data
            ceiling=controlled.ceiling_of(ceilings.of(release.card), base, self.confidence),
            details={
                "targets": m,
                "released": len(published),
                "holders": [[names[j] for j in half] for half in halves],
                "neighbours": self.neighbours,
                **controlled.figures(own, base, naive, naive, self.confidence),
            },
            records=PerRecord(chosen, linked[0].astype(float), linked[1].astype(float)),
        )
        low, high = finding.interval
        limit = ceilings.allowed(finding.ceiling)
        summary = (
            "Two holders of parts of a record find each other's part through the release: "
            f"{controlled.told(own, base, naive)}; a risk of {value:+.3f} (interval {low:+.3f} to "
            f"{high:+.3f}{limit}): {finding.verdict}."
        )
        return replace(finding, summary=summary)

    def _halves(
        self, schema: Schema, rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        if len(schema) < 2:
            raise InputError("the release has one column", "There is nothing to link; leave it.")
        names = list(schema.names)
        if not self.first and not self.second:
            order = rng.permutation(len(names))
            half = (len(names) + 1) // 2
            return np.sort(order[:half]), np.sort(order[half:])
        known = [[names.index(schema[n].name) for n in part] for part in (self.first, self.second)]
        rest = [j for j in range(len(names)) if j not in (*known[0], *known[1])]
        parts = [part or rest for part in known]
        if not all(parts):
            raise InputError("one of the two holders has no column", "Leave some to each.")
        return np.asarray(sorted(parts[0])), np.asarray(sorted(parts[1]))

    def _linked(
        self, side: Records, published: Records, halves: Any, rng: np.random.Generator
    ) -> NDArray[np.bool_]:
        """Whether both lists of each record share a released row."""
        k = min(self.neighbours, len(published))
        lists = []
        for half in halves:
            # The order of equals must not be the same for both, or they would meet by it.
            order = rng.permutation(len(published))
            columns = [side.columns[j] for j in half]
            there = published.values[order][:, half]
            rows = some_nearest_codes(side.values[:, half], there, columns, k)  # type: ignore[arg-type]
            lists.append(order[rows])
        shared = lists[0][:, :, None] == lists[1][:, None, :]
        return np.asarray(shared.any(axis=(1, 2)), dtype=np.bool_)

    def _guessed(self, released: int) -> float:
        """How likely two lists drawn at random share a released row."""
        k = min(self.neighbours, released)
        return 1 - math.prod(max(0, released - k - i) / (released - i) for i in range(k))
