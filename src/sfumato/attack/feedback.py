"""Generator feedback: whether a generator of released pictures comes closer to members."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from sfumato.attack import blind, ceilings, dcgan, margin, roc, targets
from sfumato.attack.finding import Finding
from sfumato.attack.settings import Settings, one_of, whole
from sfumato.errors import InputError
from sfumato.measure import features, intervals
from sfumato.registry import attack

if TYPE_CHECKING:
    from sfumato.attack.evidence import Evidence
    from sfumato.attack.targets import Records
    from sfumato.data import ImageSet
    from sfumato.release.release import Release

_T = TypeVar("_T")
LIKENESS = ("pixels", "ssim")
_NEAR, _BLOCK = 16, 256


@attack("feedback.generator")
@dataclass(frozen=True)
class Generator(Settings):
    """Trains a DCGAN on released pictures and asks whom its pictures resemble.

    A person's similarity is one minus the root mean squared difference to the nearest of many
    generated pictures, or the structural similarity (SSIM) to the likest of them. That is high for
    whoever looks like others, so what counts is how much higher it is for members than for people
    who were not in the data. The generator is a function of the release alone, so training it costs
    nothing; the comparison with real records does not leave the custodian: this is the audit loop,
    the only one that looks at private records.

    Args:
        steps: Of the generator's training.
        generated: Pictures that are made.
        likeness: ``"pixels"``, or ``"ssim"``: the likest is then looked for among the 16 nearest
            by pixels.

    Source: the generator feedback of "deep difference privacy", Security and Communication
    Networks 2022, 1598826, as member minus hold-out instead of mere likeness.
    """

    kinds: ClassVar[tuple[str, ...]] = ("images",)
    source: ClassVar[str] = "Security and Communication Networks 2022, 1598826; corrected here"
    costly: ClassVar[bool] = True

    steps: int = 600
    generated: int = 2000
    likeness: str = "pixels"

    def __post_init__(self) -> None:
        super().__post_init__()
        whole(self.steps, "steps", 1)
        whole(self.generated, "generated", 1)
        one_of(self.likeness, "likeness", LIKENESS)

    def __call__(self, release: Release, evidence: Evidence, *, seed: int = 0) -> Finding:
        """How often a member is nearer to the generated pictures than somebody else."""
        targets.check(release, evidence)
        rng = np.random.default_rng(seed)
        chosen, others = targets.balanced(evidence, self.max_targets, rng)
        inside = targets.read(evidence.members, chosen)
        outside = targets.read(evidence.non_members, others)
        content: Any = release.data
        rows = features.choose(len(content), self.max_released, rng)
        made = self._pictures(content.select(rows), seed)
        near = [_similarity(side, made, self.likeness) for side in (inside, outside)]
        area, interval = intervals.auc(near[0], near[1], self.confidence)
        ceiling = ceilings.of(release.card)
        gap = float(near[0].mean() - near[1].mean())
        error = float(np.sqrt(sum(side.var(ddof=1) / len(side) for side in near)))
        reach = intervals.normal_quantile(self.confidence) * error
        without = blind.beside(evidence, inside, outside, rng)
        finding = Finding(
            attack="feedback.generator",
            metric="AUC",
            value=area,
            interval=interval,
            confidence=self.confidence,
            chance=0.5,
            **margin.over_blind(near[0], near[1], without, self.confidence),
            ceiling=None if ceiling is None else ceiling.auc,
            roc=roc.curve(near[0], near[1]),
            details={
                "targets": len(inside),
                "generated": self.generated,
                "likeness": self.likeness,
                "similarity": {"members": float(near[0].mean()), "others": float(near[1].mean())},
                "members_minus_others": [gap, gap - reach, gap + reach],
            },
        )
        limit = ceilings.allowed(finding.ceiling, percent=1)
        summary = (
            f"A generator trained on the release makes pictures that are nearer to a member than "
            f"to somebody else in {area:.1%} of cases (interval {interval[0]:.1%} to "
            f"{interval[1]:.1%}, guessing 50 %{limit}; similarity {gap:+.4f} higher): "
            f"{finding.verdict}."
        )
        return replace(finding, summary=summary)

    def similarities(
        self, content: ImageSet, sides: Sequence[ImageSet], seed: int
    ) -> list[NDArray[np.float64]]:
        """(n,) for each side: how near each record is to generated pictures, in [0, 1].

        A function of the record, the released pictures and the seed alone.
        """
        rows = features.choose(len(content), self.max_released, np.random.default_rng(seed))
        made = self._pictures(content.select(rows), seed)
        return [_similarity(targets.read(side), made, self.likeness) for side in sides]

    def _pictures(self, released: ImageSet, seed: int) -> NDArray[np.float32]:
        return dcgan.fit(released.images, steps=self.steps, seed=seed)(self.generated)


def _similarity(records: Records, made: NDArray[np.float32], likeness: str) -> NDArray[np.float64]:
    """(n,) how near the nearest of generated pictures (g, c, h, w) is, in [0, 1]."""
    if likeness == "pixels":
        references = replace(records, values=made.reshape(len(made), -1), labels=None)
        return np.asarray(1 - records.nearest(references)[0], np.float64)
    from sfumato.attack.gradients.likeness import radius_for, ssim

    flat, shape = made.reshape(len(made), -1), made.shape[1:]
    lengths, radius, few = np.square(flat).sum(axis=1), radius_for(shape), min(_NEAR, len(made))
    found = np.zeros(len(records))
    for start in range(0, len(records), _BLOCK):
        rows = records.values[start : start + _BLOCK]
        far = lengths - 2 * (rows @ flat.T)
        near = np.argpartition(far, few - 1, axis=1)[:, :few]
        pictures = rows.astype(np.float32).reshape(-1, *shape)
        alike = [ssim(made[near[:, k]], pictures, radius) for k in range(few)]
        found[start : start + _BLOCK] = np.max(alike, axis=0)
    return np.clip(found, 0.0, 1.0)


@dataclass(frozen=True)
class Chosen(Generic[_T]):
    """What a public loop came to.

    Args:
        candidate: The loosest that was still accepted; None if not even the first was.
        findings: Of every candidate that was tried, in order.
    """

    candidate: _T | None
    findings: tuple[Finding, ...]


def public_loop(
    candidates: Sequence[_T],
    make: Callable[[_T], Release],
    evidence: Evidence,
    limit: float,
    *,
    attack: Generator | None = None,
    seed: int = 0,
) -> Chosen[_T]:
    """Chooses settings by feedback on public data; to be deployed once on private ones.

    Nothing private is looked at, so nothing is spent. The loop starts from the strongest privacy
    and only loosens; the first candidate that fails ends it, and no release is handed on.

    Args:
        candidates: Settings, from the strongest privacy to the weakest.
        make: A release of the evidence's members under a candidate.
        evidence: Public records of both sides.
        limit: An AUC in (0.5, 1]: a candidate passes if its interval ends below.
        attack: The feedback; with the default settings if None.
        seed: Of the attacks.

    Raises:
        InputError: If there are no candidates, or the limit is out of range.
    """
    if not candidates:
        raise InputError("there are no candidates", "Give settings to choose from.")
    if not 0.5 < limit <= 1:
        raise InputError(f"limit is {limit!r}", "Give an AUC in (0.5, 1].")
    judge = attack or Generator()
    accepted: _T | None = None
    findings: list[Finding] = []
    for candidate in candidates:
        findings.append(judge(make(candidate), evidence, seed=seed))
        if findings[-1].interval[1] >= limit:
            break
        accepted = candidate
    return Chosen(accepted, tuple(findings))
