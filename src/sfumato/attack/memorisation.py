"""Memorisation: released pictures that are far nearer to one training picture than to any other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from sfumato.attack import ceilings, persons, targets
from sfumato.attack.finding import CLOSEST, Finding
from sfumato.attack.settings import Settings
from sfumato.errors import InputError
from sfumato.measure import features, intervals
from sfumato.registry import attack

if TYPE_CHECKING:
    from sfumato.attack.evidence import Evidence
    from sfumato.attack.targets import Records
    from sfumato.data.imageset import ImageSet
    from sfumato.data.table import Table
    from sfumato.release.release import Release

SHOWN = 12
_WORK = 2e11  # multiplications, some seconds
_QUANTILES = (0.0, 0.01, 0.1, 0.5)


@attack("memorisation.nearest")
@dataclass(frozen=True)
class Memorisation(Settings):
    """Finds released pictures that reproduce a training picture.

    A released picture reproduces a training picture if its distance to it is at most ``ratio`` of
    its distance to the nearest of as many held-out pictures (of all pictures of as many persons,
    where it is known whom they show). The same with the sides exchanged is
    the control: nothing can reproduce a picture that was never seen. A training picture counts
    once however often it is reproduced, and where it is known whom pictures show, so does a person.

    No distance shows that a release is safe: what is not reproduced may still be told apart by
    other attacks.

    Args:
        max_targets: Training pictures, and as many held-out ones, that are looked for; where
            persons are known, all pictures of as many persons on either side as fit.
        max_released: Released pictures that are compared; fewer where pictures are large.
        ratio: Above 0 and below 1; smaller is stricter.
    """

    kinds: ClassVar[tuple[str, ...]] = ("images",)
    source: ClassVar[str] = (
        "Carlini et al. Extracting training data from diffusion models. USENIX Security 2023. "
        "arXiv:2301.13188; with held-out pictures in place of the neighbourhood"
    )

    max_targets: int = 20_000
    max_released: int = 10_000
    ratio: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        good = isinstance(self.ratio, int | float) and not isinstance(self.ratio, bool)
        if not (good and 0 < self.ratio < 1):
            raise InputError(f"ratio is {self.ratio!r}", "Give a number between 0 and 1.")

    def __call__(self, release: Release, evidence: Evidence, *, seed: int = 0) -> Finding:
        """The share of training pictures that are reproduced, less that of held-out ones."""
        targets.check(release, evidence)
        if release.data.kind != "images":
            raise InputError("only pictures are compared by their pixels", "Leave this out.")
        near = self.search(release, evidence, seed)
        m, released = near.of, len(near.inside)
        hits, wrong = near.reproduced(self.ratio)
        own, people = near.people(evidence.members, near.at[hits], near.chosen[0])
        base, others = near.people(evidence.non_members, near.at_control[wrong], near.chosen[1])
        ceiling = ceilings.of(release.card)
        low, high = intervals.clopper_pearson(int(hits.sum()), released, self.confidence)
        quotient = near.quotient
        closest = np.argsort(quotient, kind="stable")[:SHOWN]
        finding = Finding(
            attack="memorisation.nearest",
            metric="share of training pictures reproduced, less that of held-out ones",
            value=own / people - base / others,
            interval=intervals.difference(own, people, base, others, self.confidence),
            confidence=self.confidence,
            chance=0.0,
            ceiling=None if ceiling is None else ceiling.advantage,
            details={
                "ratio": self.ratio,
                "targets": m,
                "held_out": len(near.chosen[1]),
                "persons": {"training": people, "held_out": others},
                "reproduced": {"training": own, "held_out": base},
                "released": {
                    "compared": released,
                    "memorised": int(hits.sum()),
                    "share": float(hits.mean()),
                    "interval": [low, high],
                    "control": float(wrong.mean()),
                },
                "quotients": {f"{q:g}": float(np.quantile(quotient, q)) for q in _QUANTILES},
                CLOSEST: [
                    {
                        "released": int(near.rows[row]),
                        "quotient": float(quotient[row]),
                        "training": float(near.inside[row]),
                        "held_out": float(near.outside[row]),
                    }
                    for row in closest
                ],
            },
        )
        return replace(finding, summary=_summary(finding))

    def search(self, release: Release, evidence: Evidence, seed: int) -> Neighbours:
        """The nearest training and held-out picture of each released one."""
        rng = np.random.default_rng(seed)
        chosen, others = self._drawn(evidence, rng)
        inside = targets.read(evidence.members, chosen)
        outside = targets.read(evidence.non_members, others)
        pixels = inside.values.shape[1]
        limit = min(
            self.max_released, max(100, int(_WORK / ((len(inside) + len(outside)) * pixels)))
        )
        total = features.size(release.data)
        rows = features.choose(total, limit, rng)
        published = targets.read(release.data, rows)
        return Neighbours.between(published, inside, outside, rows, chosen, others)

    def _drawn(self, evidence: Evidence, rng: np.random.Generator) -> list[NDArray[np.int64]]:
        """Row numbers of as many pictures, or all pictures of as many persons, on either side."""
        sides = evidence.members, evidence.non_members
        sizes = [features.size(side) for side in sides]
        if [persons.count(side) for side in sides] == sizes:
            return [features.choose(n, min(self.max_targets, *sizes), rng) for n in sizes]
        # A person of whom a part is looked for is missed where another part came back.
        whose = [persons.of(side) for side in sides]
        each = [np.bincount(one) for one in whose]
        order = [rng.permutation(len(counts)) for counts in each]
        fit = [
            np.searchsorted(np.cumsum(counts[people]), self.max_targets, "right")
            for counts, people in zip(each, order, strict=True)
        ]
        count = max(1, min(fit))
        return [
            np.flatnonzero(np.isin(one, people[:count]))
            for one, people in zip(whose, order, strict=True)
        ]


@dataclass(frozen=True)
class Neighbours:
    """Distances of released pictures to both sides, and the pictures that they are to.

    Args:
        rows: (r,) numbers of the released pictures.
        inside: (r,) distances to the nearest training picture, as root mean squared pixels.
        outside: (r,) the same to the nearest held-out picture.
        at: (r,) numbers of those training pictures.
        at_control: (r,) numbers of those held-out pictures.
        chosen: Numbers of the pictures on each side.
    """

    rows: NDArray[np.int64]
    inside: NDArray[np.float32]
    outside: NDArray[np.float32]
    at: NDArray[np.int64]
    at_control: NDArray[np.int64]
    chosen: tuple[NDArray[np.int64], NDArray[np.int64]]

    @classmethod
    def between(
        cls,
        published: Records,
        inside: Records,
        outside: Records,
        rows: NDArray[np.int64],
        chosen: NDArray[np.int64],
        others: NDArray[np.int64],
    ) -> Neighbours:
        """The neighbours of released pictures."""
        near, at = published.nearest(inside)
        far, at_control = published.nearest(outside)
        return cls(rows, near, far, chosen[at], others[at_control], (chosen, others))

    @staticmethod
    def people(
        data: Table | ImageSet, reproduced: NDArray[np.int64], among: NDArray[np.int64]
    ) -> tuple[int, int]:
        """How many persons have a reproduced picture, of how many whose pictures were compared."""
        whose = persons.of(data)
        return len(np.unique(whose[reproduced])), len(np.unique(whose[among]))

    @property
    def of(self) -> int:
        """How many training pictures there are."""
        return len(self.chosen[0])

    @property
    def quotient(self) -> NDArray[np.float64]:
        """(r,) distance to training over distance to held-out; 1 where both are 0."""
        a, b = self.inside.astype(np.float64), self.outside.astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where((a == 0) & (b == 0), 1.0, np.minimum(a / b, 1e9))

    def reproduced(self, ratio: float) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which released pictures reproduce a training picture, and which a held-out one."""
        a, b = self.inside.astype(np.float64), self.outside.astype(np.float64)
        return (a <= ratio * b) & (b > 0), (b <= ratio * a) & (a > 0)


def _summary(finding: Finding) -> str:
    found, counts = finding.details["released"], finding.details["reproduced"]
    low, high = finding.interval
    limit = ceilings.allowed(finding.ceiling)
    several = finding.details["persons"]["training"] < finding.details["targets"]
    whose = "people's " if several else ""
    return (
        f"Of {found['compared']} released pictures, {found['memorised']} ({found['share']:.2%}) "
        f"are at most {finding.details['ratio']:g} times as far from one training picture as from "
        f"any of {finding.details['held_out']} held-out ones (the other way round: "
        f"{found['control']:.2%}). They reproduce {counts['training']} {whose}training pictures, "
        f"against {counts['held_out']} held-out ones (difference of shares {finding.value:+.4f}, "
        f"interval {low:+.4f} to {high:+.4f}{limit}): {finding.verdict}."
    )
