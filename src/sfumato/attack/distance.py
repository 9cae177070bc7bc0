"""Membership by distance: members lie nearer to what was released than others do."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sfumato.attack import blind, ceilings, margin, persons, roc, targets
from sfumato.attack.evidence import MINIMUM
from sfumato.attack.finding import Finding, PerRecord
from sfumato.attack.settings import Settings
from sfumato.measure import features, intervals
from sfumato.registry import attack

if TYPE_CHECKING:
    from sfumato.attack.evidence import Evidence
    from sfumato.attack.targets import Records
    from sfumato.release.release import Release

LOW_FPR = (0.01, 0.001)
_REFERENCES = 5000
_OUTLYING = 0.1


@attack("membership.distance")
@dataclass(frozen=True)
class Distance(Settings):
    """Tells members from others by the distance to the nearest released record.

    With auxiliary records the score is calibrated: the distance to the nearest of those minus
    the distance to the nearest released record, so that a record is not taken for a member for
    being ordinary.

    Source: Chen, Yu, Zhang, Fritz, GAN-Leaks, CCS 2020.
    """

    kinds: ClassVar[tuple[str, ...]] = ("table", "images")
    source: ClassVar[str] = "Chen, Yu, Zhang, Fritz. GAN-Leaks. CCS 2020. arXiv:1909.03935"

    def __call__(self, release: Release, evidence: Evidence, *, seed: int = 0) -> Finding:
        """The area under the attack's ROC curve, against the area the guarantee allows."""
        targets.check(release, evidence)
        rng = np.random.default_rng(seed)
        chosen, others = targets.balanced(evidence, self.max_targets, rng)
        inside = targets.read(evidence.members, chosen)
        outside = targets.read(evidence.non_members, others)
        published = targets.released(release, self.max_released, rng)
        plain = [-side.nearest(published)[0].astype(np.float64) for side in (inside, outside)]
        reference, calibrated = self._reference(evidence, others, rng)
        score, away = plain, None
        if reference is not None:
            away = [side.nearest(reference)[0].astype(np.float64) for side in (inside, outside)]
            if calibrated:
                score = [own + far for own, far in zip(plain, away, strict=True)]
        area, interval = intervals.auc(score[0], score[1], self.confidence)
        ceiling = ceilings.of(release.card)
        details: dict[str, Any] = {
            "targets": len(inside),
            "released": len(published),
            "calibrated": calibrated,
            "advantage": _advantage(score[0], score[1]),
            "advantage_ceiling": None if ceiling is None else ceiling.advantage,
            "identical_to_a_released_record": {
                "members": float(np.mean(plain[0] == 0)),
                "non_members": float(np.mean(plain[1] == 0)),
            },
        }
        if calibrated:
            raw, around = intervals.auc(plain[0], plain[1], self.confidence)
            details["uncalibrated"] = {"auc": raw, "interval": list(around)}
        if away is not None:
            details["outlying"] = self._outlying(score, away, rng)
        without = blind.beside(evidence, inside, outside, rng)
        details["tpr_at_fpr"] = roc.at_low_fpr(
            score[0], score[1], LOW_FPR, self.confidence, ceiling, without
        )
        finding = Finding(
            attack="membership.distance",
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
        self, evidence: Evidence, used: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[Records | None, bool]:
        """A sample of the population, and whether the attacker may calibrate with it.

        Without auxiliary records, non-members that are not attacked say which targets lie
        apart from the rest; the attacker does not get them.
        """
        if evidence.auxiliary is not None:
            total = features.size(evidence.auxiliary)
            rows = features.choose(total, _REFERENCES, rng)
            return targets.read(evidence.auxiliary, rows), True
        whose = persons.of(evidence.non_members)
        spare = np.flatnonzero(~np.isin(whose, whose[used]))
        if len(spare) < 5 * MINIMUM:
            return None, False
        rows = spare[features.choose(len(spare), _REFERENCES, rng)]
        return targets.read(evidence.non_members, rows), False

    def _outlying(
        self, score: list[NDArray[np.float64]], away: list[NDArray[np.float64]], rng: Any
    ) -> dict[str, Any] | None:
        """The attack on the records that lie farthest from the population."""
        together = np.concatenate(away)
        order = np.lexsort((rng.random(len(together)), -together))
        farthest = np.zeros(len(together), np.bool_)
        farthest[order[: max(4 * MINIMUM, int(_OUTLYING * len(together)))]] = True
        picked = [farthest[: len(away[0])], farthest[len(away[0]) :]]
        if min(int(side.sum()) for side in picked) < MINIMUM:
            return None
        area, interval = intervals.auc(score[0][picked[0]], score[1][picked[1]], self.confidence)
        return {
            "members": int(picked[0].sum()),
            "non_members": int(picked[1].sum()),
            "auc": area,
            "interval": list(interval),
        }


def _advantage(positives: NDArray[np.float64], negatives: NDArray[np.float64]) -> float:
    """The largest true- minus false-positive rate; chosen on the targets, so it is optimistic."""
    return max(tpr - fpr for fpr, tpr in roc.curve(positives, negatives))


def _summary(finding: Finding) -> str:
    low, high = finding.interval
    limit = ceilings.allowed(finding.ceiling, percent=1)
    return (
        f"Shown two records, one of them used for this release, the attack picks the right one in "
        f"{finding.value:.1%} of cases (interval {low:.1%} to {high:.1%}, guessing 50 %{limit}): "
        f"{finding.verdict}."
    )
