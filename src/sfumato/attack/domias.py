"""DOMIAS: members lie where the release is denser than the population."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sfumato.attack import blind, ceilings, margin, persons, roc, targets
from sfumato.attack.density import best_width, log_density
from sfumato.attack.evidence import MINIMUM
from sfumato.attack.finding import Finding, PerRecord
from sfumato.attack.settings import Settings, whole
from sfumato.errors import InputError
from sfumato.measure import features, intervals
from sfumato.registry import attack

if TYPE_CHECKING:
    from sfumato.attack.evidence import Evidence
    from sfumato.attack.targets import Records
    from sfumato.release.release import Release

LOW_FPR = (0.01, 0.001)


@attack("membership.domias")
@dataclass(frozen=True)
class Domias(Settings):
    """Tells members from others by how much denser the release lies there than the population.

    Where a generator overfits, it puts more mass on a member's neighbourhood than the population
    has. Both densities are kernel estimates with one width, chosen by leaving out records of the
    attacker's reference; the population's is of auxiliary records or, without any, of non-members
    that are not attacked. With a narrow kernel this is a calibrated distance.

    Args:
        max_reference: Records of the population that the attacker holds.

    Source: van Breugel, Sun, Qian, van der Schaar, AISTATS 2023.
    """

    kinds: ClassVar[tuple[str, ...]] = ("table", "images")
    source: ClassVar[str] = (
        "van Breugel, Sun, Qian, van der Schaar. Membership inference attacks against synthetic "
        "data through overfitting detection. AISTATS 2023. arXiv:2302.12580"
    )

    calibrates: ClassVar[int] = MINIMUM  # non-members; half of them, or auxiliary records

    max_released: int = 20_000
    max_reference: int = 5000

    def __post_init__(self) -> None:
        super().__post_init__()
        whole(self.max_reference, "max_reference", MINIMUM)

    def __call__(self, release: Release, evidence: Evidence, *, seed: int = 0) -> Finding:
        """The area under the attack's ROC curve, against the area the guarantee allows."""
        targets.check(release, evidence)
        rng = np.random.default_rng(seed)
        reference, left = self._reference(evidence, rng)
        members = persons.one_each(evidence.members, rng)
        each = min(self.max_targets, len(members), len(left))
        chosen = members[features.choose(len(members), each, rng)]
        others = left[features.choose(len(left), each, rng)]
        inside = targets.read(evidence.members, chosen)
        outside = targets.read(evidence.non_members, others)
        published = targets.released(release, self.max_released, rng)
        width = best_width(reference, rng)
        score = [
            log_density(side, published, width) - log_density(side, reference, width)
            for side in (inside, outside)
        ]
        area, interval = intervals.auc(score[0], score[1], self.confidence)
        ceiling = ceilings.of(release.card)
        without = blind.beside(evidence, inside, outside, rng)
        details: dict[str, Any] = {
            "targets": each,
            "released": len(published),
            "reference": len(reference),
            "reference_is": "non-members" if evidence.auxiliary is None else "auxiliary records",
            "width": width,
            "tpr_at_fpr": roc.at_low_fpr(
                score[0], score[1], LOW_FPR, self.confidence, ceiling, without
            ),
            "advantage_ceiling": None if ceiling is None else ceiling.advantage,
        }
        finding = Finding(
            attack="membership.domias",
            metric="AUC",
            value=area,
            interval=interval,
            confidence=self.confidence,
            chance=0.5,
            **margin.over_blind(score[0], score[1], without, self.confidence),
            ceiling=None if ceiling is None else ceiling.auc,
            roc=roc.curve(score[0], score[1]),
            details=details,
            records=PerRecord(chosen, score[0], score[1]),
        )
        return replace(finding, summary=_summary(finding))

    def _reference(
        self, evidence: Evidence, rng: np.random.Generator
    ) -> tuple[Records, NDArray[np.int64]]:
        """The attacker's sample of the population, and the non-members left to be attacked."""
        if evidence.auxiliary is not None:
            rows = features.choose(features.size(evidence.auxiliary), self.max_reference, rng)
            everyone = persons.one_each(evidence.non_members, rng)
            return targets.read(evidence.auxiliary, rows), everyone
        whose = evidence.together
        total = int(whose.max()) + 1
        # All persons beyond those to attack, and at least half.
        spare = max(total - self.max_targets, total // 2)
        if total - spare < MINIMUM // 2 or spare < MINIMUM // 2:
            raise InputError(
                f"{total} non-members are too few to attack and to compare with",
                "Give more, or auxiliary records.",
            )
        held = np.isin(whose, rng.permutation(total)[:spare])
        rows, left = np.flatnonzero(held), np.flatnonzero(~held)
        rows = rows[features.choose(len(rows), self.max_reference, rng)]
        if evidence.non_members.whose() is not None:
            left = left[persons.one_of_each(whose[left], rng)]
        return targets.read(evidence.non_members, rows), left


def _summary(finding: Finding) -> str:
    low, high = finding.interval
    limit = ceilings.allowed(finding.ceiling, percent=1)
    return (
        f"Shown two records, one of them used for this release, an attacker who compares how dense "
        f"the release and {finding.details['reference']} other people's records lie around them "
        f"picks the right one in {finding.value:.1%} of cases (interval {low:.1%} to {high:.1%}, "
        f"guessing 50 %{limit}): {finding.verdict}."
    )
