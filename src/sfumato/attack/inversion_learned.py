"""Learned inversion: a decoder from what was released of a picture back to the picture."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sfumato.attack import auxiliary, persons, resample, reveal, targets
from sfumato.attack.decoding import Pairs, decode
from sfumato.attack.evidence import MINIMUM
from sfumato.attack.finding import Finding
from sfumato.attack.gradients.likeness import radius_for, ssim
from sfumato.attack.margin import Margin
from sfumato.attack.settings import Settings, flag, whole
from sfumato.errors import InputError
from sfumato.measure import features
from sfumato.registry import attack

if TYPE_CHECKING:
    from sfumato.attack.evidence import Evidence
    from sfumato.release.release import Release

_SMALLEST = 1e-6


@attack("inversion.learned")
@dataclass(frozen=True)
class Learned(Settings):
    """Learns from pairs to make people's pictures of what was released of them.

    Of a model it is the answers on somebody's picture: the attacker asks the model about his own
    pictures and learns the way back. Of released pictures it is the released one, where picture i
    of the release is picture i of the members (the card's plan says ``aligned``): the attacker
    knows half of the members, learns from those pairs, and is judged on the other half.

    What counts is the share of the pictures' variance that is recovered, by a network or a linear
    map, whichever is better on known people that neither had seen, and only as far as it is better
    than the class (:mod:`sfumato.attack.decoding`). The attacker without the release shows the mean
    picture of the class, which he is told, as near to that of all as is best for the same people.

    Args:
        max_targets: Pictures that are attacked.
        steps: Of the decoder's training.
        reveal: Adds the first pictures to the finding.

    Source: Yang, Zhang, Chang, Liang, CCS 2019 (models); He, Zhang, Lee, ACSAC 2019
    (representations).
    """

    kinds: ClassVar[tuple[str, ...]] = ("images", "model")
    source: ClassVar[str] = "Yang et al. Neural network inversion. CCS 2019. arXiv:1902.08552"
    costly: ClassVar[bool] = True

    steps: int = 1500
    reveal: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        flag(self.reveal, "reveal")
        whole(self.steps, "steps", 1)

    def __call__(self, release: Release, evidence: Evidence, *, seed: int = 0) -> Finding:
        """The share of the variance of people's pictures that is recovered."""
        targets.check(release, evidence)
        rng = np.random.default_rng(seed)
        of_model = release.artefact.kind == "model"
        pairs = (self._asked if of_model else self._aligned)(release, evidence, seed, rng)
        known, attacked = pairs
        truth, people = attacked.pictures, attacked.persons
        made = decode(known, attacked.seen, attacked.labels, steps=self.steps, seed=seed)
        found, means = made.found, made.without
        away, blind, spread = (
            np.square(guess - truth).sum(axis=(1, 2, 3))
            for guess in (found, means, known.pictures.mean(axis=0, keepdims=True))
        )
        value, interval = resample.ratio(
            spread - away, spread, people, self.confidence, np.random.default_rng(seed)
        )
        beyond = resample.ratio(
            blind - away, spread, people, self.confidence, np.random.default_rng(seed)
        )
        radius = radius_for(truth.shape[1:])
        alike = ssim(found, truth, radius)
        finding = Finding(
            attack="inversion.learned",
            metric="share of the pictures' variance that is recovered",
            value=value,
            interval=interval,
            confidence=self.confidence,
            chance=0.0,
            baseline=max(0.0, float(1 - blind.sum() / spread.sum())),
            margin=Margin(*beyond, len(np.unique(people))),
            details={
                "released": "answers" if of_model else "pictures",
                "decoder": made.way,
                "decoder_weight": made.weight,
                "pairs_learnt_from": len(known.labels),
                "targets": len(truth),
                "persons_attacked": len(np.unique(people)),
                "ssim": float(alike.mean()),
                "ssim_of_class_means": float(ssim(means, truth, radius).mean()),
                "ssim_to_another_person": float(ssim(found, np.roll(truth, 1, 0), radius).mean()),
                "mse": float(np.square(found - truth).mean()),
                **reveal.pictures(self.reveal, found),
            },
        )
        what = "the model's answers about them" if of_model else "their released versions"
        summary = (
            f"A decoder of {what} recovers {value:.0%} of the variance of people's pictures (mean "
            f"SSIM {alike.mean():.2f}; knowing their class alone gives {finding.baseline:.0%}): "
            f"{finding.verdict}."
        )
        return replace(finding, summary=summary)

    def _asked(
        self, release: Release, evidence: Evidence, seed: int, rng: np.random.Generator
    ) -> tuple[Pairs, Pairs]:
        """The attacker's pictures with the model's answers, members' alike, one of each person."""
        model = release.model
        auxiliary.pictures_only(model, "inversion.learned")
        _, held = auxiliary.parted(evidence, seed)
        own = auxiliary.labelled(model, held, self.max_released, rng)
        members = auxiliary.labelled(model, evidence.members, self.max_targets, rng)

        def part(some: Any) -> Pairs:
            told = np.log(np.maximum(model.probabilities_from(some.x), _SMALLEST))
            return Pairs(np.asarray(told), some.x, some.y, np.arange(len(some.y)))

        return part(own), part(members)

    def _aligned(
        self, release: Release, evidence: Evidence, seed: int, rng: np.random.Generator
    ) -> tuple[Pairs, Pairs]:
        """Half of the members with their released versions, the other half, and who those are."""
        released, members = paired(release, evidence, "inversion.learned")
        known, attacked = halves(members, rng)
        attacked, whose = np.sort(attacked[: self.max_targets]), persons.of(members)

        def part(rows: NDArray[np.int64]) -> Pairs:
            chosen = members.select(rows)
            seen = released.select(rows).images
            return Pairs(seen, chosen.images, np.asarray(chosen.labels), whose[rows])

        return part(np.sort(known)), part(attacked)


def paired(release: Release, evidence: Evidence, name: str) -> tuple[Any, Any]:
    """The released pictures and the members', where picture i of one is picture i of the other.

    Raises:
        InputError: If they are not.
    """
    members: Any = evidence.members
    released: Any = release.data
    in_order = getattr(members, "ordered", True)
    same = in_order and features.size(released) == features.size(members)
    if release.card.plan.get("aligned") is not True or not same:
        raise InputError(
            f"{name} needs to know which released picture was made of which member's",
            "Its card must say aligned, with as many pictures as there are members; where labels "
            "are protected, only the evaluation of `publish` knows their order.",
        )
    return released, members


def halves(members: Any, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row numbers of the members whom the attacker knows and of those whom he attacks.

    By person where persons are known, so that nobody is in both.
    """
    names = persons.of(members)
    known = rng.permutation(np.unique(names))
    inside = np.isin(names, known[: len(known) // 2])
    first, second = np.flatnonzero(inside), np.flatnonzero(~inside)
    if min(len(first), len(second)) < MINIMUM:
        raise InputError(
            f"{len(members)} members are too few to know half of them and attack the others",
            f"Give at least {2 * MINIMUM}.",
        )
    return rng.permutation(first), rng.permutation(second)
