"""Linkage: finding whose record is behind a released one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sfumato.attack import blind, ceilings, margin, persons, targets
from sfumato.attack.evidence import MINIMUM
from sfumato.attack.finding import Finding
from sfumato.attack.settings import Settings, whole
from sfumato.measure import features, intervals
from sfumato.registry import attack

if TYPE_CHECKING:
    from sfumato.attack.evidence import Evidence
    from sfumato.release.release import Release


_LOOKED_AT = 2000
"""Members, and as many others, that the attacker without the release looks at."""


@attack("linkage.nearest")
@dataclass(frozen=True)
class Linkage(Settings):
    """Links released records to the nearest originals.

    Where row i of the release is row i of the members (the card's plan says ``aligned``), the
    attacker gets released rows and a shuffled line-up of their originals and must pick the right
    one for each. Otherwise the line-up is of as many members as non-members, each released
    record points at the nearest, and what counts is how many of those pointed at are members.
    An original counts once however many released records point at it: a release of many equal
    records says no more about it than one.

    Args:
        max_targets: Released records that are linked; the line-up's size in the first game.
        max_candidates: Members, and as many non-members, in the line-up of the second game.
    """

    kinds: ClassVar[tuple[str, ...]] = ("table", "images")
    source: ClassVar[str] = "Domingo-Ferrer, Torra. Disclosure risk by distance-based linkage. 2001"

    max_candidates: int = 50_000

    def __post_init__(self) -> None:
        super().__post_init__()
        whole(self.max_candidates, "max_candidates", MINIMUM)

    def __call__(self, release: Release, evidence: Evidence, *, seed: int = 0) -> Finding:
        """The rank-1 rate, or the share of members among the records pointed at."""
        targets.check(release, evidence)
        rng = np.random.default_rng(seed)
        rows = features.size(release.data)
        # Rows of a database or of Spark have no order, so none that the release could share.
        in_order = getattr(evidence.members, "ordered", True)
        aligned = release.card.plan.get("aligned") is True and in_order
        if aligned and rows == features.size(evidence.members):
            return self._rank_one(release, evidence, rng)
        return self._share(release, evidence, rng)

    def _rank_one(self, release: Release, evidence: Evidence, rng: np.random.Generator) -> Finding:
        rows = persons.choose(evidence.members, self.max_targets, rng)
        m = len(rows)
        order = rng.permutation(m)  # of equally near originals the first is taken
        published = targets.read(release.data, rows)
        line_up = targets.read(evidence.members, rows)[order]
        _, at = published.nearest(line_up)
        right = int(np.sum(order[at] == np.arange(m)))
        # Only a local guarantee bounds this game: here the attacker knows all other records.
        local = release.card.guarantee.get("kind") == "local"
        ceiling = ceilings.of(release.card) if local else None
        rate, chance = right / m, 1 / m
        limit = None if ceiling is None else max(chance, ceiling.identification(m))
        finding = Finding(
            attack="linkage.nearest",
            metric="rank-1 linkage rate",
            value=rate,
            interval=intervals.clopper_pearson(right, m, self.confidence),
            confidence=self.confidence,
            chance=chance,
            baseline=chance,
            ceiling=limit,
            details={"game": "rank-1", "line_up": m, "linked": right},
        )
        allowed = ceilings.allowed(limit, percent=2)
        summary = (
            f"Shown {m} released rows and the {m} originals behind them, the attack finds the "
            f"right original for {right} ({rate:.2%}; guessing finds {chance:.2%}{allowed}): "
            f"{finding.verdict}."
        )
        return replace(finding, summary=summary)

    def _share(self, release: Release, evidence: Evidence, rng: np.random.Generator) -> Finding:
        chosen, others = targets.balanced(evidence, self.max_candidates, rng)
        m = len(chosen)
        inside = targets.read(evidence.members, chosen)
        outside = targets.read(evidence.non_members, others)
        total = features.size(release.data)
        published = targets.released(release, min(self.max_targets, total), rng)
        order = rng.permutation(2 * m)  # of equally near originals the first is taken
        both = np.concatenate([inside.values, outside.values])[order]
        _, at = published.nearest(replace(inside, values=both, labels=None))
        pointed = np.unique(order[at])
        hits, seen = int(np.sum(pointed < m)), len(pointed)
        interval = intervals.clopper_pearson(hits, seen, self.confidence)
        some = [features.choose(m, _LOOKED_AT, rng) for _ in range(2)]
        without = blind.beside(evidence, inside[some[0]], outside[some[1]], rng)
        known, beaten = 0.5, None
        if without is not None:
            known, tried = without.pointed(seen / (2 * m), rng)
            around = intervals.clopper_pearson(known * tried, tried, self.confidence)
            beaten = margin.of_figures((hits / seen, known), (interval, around), seen)
        ceiling = ceilings.of(release.card)
        details: dict[str, Any] = {
            "game": "members against hold-outs",
            "line_up": 2 * m,
            "linked": len(published),
            "distinct": seen,
            "members": hits,
        }
        finding = Finding(
            attack="linkage.nearest",
            metric="share of members among the nearest originals",
            value=hits / seen,
            interval=interval,
            confidence=self.confidence,
            chance=0.5,
            baseline=known,
            margin=beaten,
            ceiling=None if ceiling is None else max(0.5, ceiling.share(seen / m)),
            details=details,
        )
        low, high = finding.interval
        allowed = ceilings.allowed(finding.ceiling, percent=1)
        summary = (
            f"Of {seen} people's records that released records point at, {hits / seen:.1%} were "
            f"used for the release (interval {low:.1%} to {high:.1%}, guessing 50 %{allowed}): "
            f"{finding.verdict}."
        )
        return replace(finding, summary=summary)
