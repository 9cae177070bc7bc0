"""Label inference from what was released: the third of the three label games."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sfumato.attack import auxiliary, ceilings, margin, persons, targets
from sfumato.attack.finding import Finding
from sfumato.attack.label import score
from sfumato.attack.margin import Margin
from sfumato.attack.settings import Settings
from sfumato.errors import InputError
from sfumato.measure import features, intervals
from sfumato.measure.progress import silent
from sfumato.measure.task import Part, task_of
from sfumato.registry import attack

if TYPE_CHECKING:
    from sfumato.attack.evidence import Evidence
    from sfumato.measure.task import Predict
    from sfumato.release.release import Release


@attack("label.posterior")
@dataclass(frozen=True)
class Posterior(Settings):
    """Guesses members' labels from their other values and the release.

    A released model names its likeliest class. Released records name the class that a model of
    them predicts; where row i of the release is row i of the members, the released label itself.
    The attacker without the release predicts with a model of records that he holds. What a model
    of the population tells about anybody is no leak: the finding stands beside the best of that
    attacker and of the same rate for non-members, and has to beat both by more than luck; a
    guarantee bounds members' rate by theirs.

    Args:
        max_released: Released records that the attacker learns from.
        epochs: Passes over images.

    Source: the label games of Esfandiari et al., AISTATS 2022 (label privacy); the ceiling
    compares a member's odds with and without the member.
    """

    kinds: ClassVar[tuple[str, ...]] = ("table", "images", "model")
    source: ClassVar[str] = "Esfandiari et al. Label differential privacy via clustering. 2022"
    costly: ClassVar[bool] = True

    epochs: int = 3

    def __call__(self, release: Release, evidence: Evidence, *, seed: int = 0) -> Finding:
        """Members' labels recovered beyond guessing, against a model that never saw them."""
        targets.check(release, evidence)
        rng = np.random.default_rng(seed)
        judged, held = auxiliary.parted(evidence, seed)
        content: Any = release.artefact.content
        kind = str(evidence.members.kind)
        task, read = task_of(content.schema, kind, seed, self.epochs)
        if task.kind != "classification":
            raise InputError(
                f"the target {task.target!r} is a number",
                "This game is about classes; leave it out.",
            )
        classes = len(task.classes)
        rows = persons.choose(evidence.members, self.max_targets, rng)
        members = read(evidence.members, rows)
        others = read(judged, persons.choose(judged, self.max_targets, rng))
        own = read(held, features.choose(features.size(held), self.max_released, rng))
        fit = task.fit[next(iter(task.fit)) if kind == "images" else "random forest"]
        without = fit(own, silent)
        aligned = self._aligned(release, evidence)
        if release.artefact.kind == "model":
            guess: Predict = content.probabilities_from
            how = "the model's answers"
        else:
            published = features.choose(features.size(content), self.max_released, rng)
            guess = fit(read(content, published), silent)
            how = "a model of the released records"
        if aligned:
            told = read(content, rows).y
            how = "their released labels"
        else:
            told = guess(members.x).argmax(axis=1)
        right = told == members.y
        fair = int(np.sum(guess(others.x).argmax(axis=1) == others.y))
        blind = without(members.x).argmax(axis=1) == members.y
        ceiling = self._ceiling(release, aligned, members.y, classes, fair, len(others.y))
        return self._finding(how, classes, right, fair, blind, members, others, ceiling)

    @staticmethod
    def _aligned(release: Release, evidence: Evidence) -> bool:
        in_order = getattr(evidence.members, "ordered", True)
        same = release.artefact.kind != "model" and features.size(release.data) == features.size(
            evidence.members
        )
        return bool(release.card.plan.get("aligned") is True and in_order and same)

    def _ceiling(
        self,
        release: Release,
        aligned: bool,
        labels: NDArray[np.int64],
        classes: int,
        fair: int,
        judged: int,
    ) -> float | None:
        """The most of members' labels that the guarantee lets this attack recover."""
        limit = ceilings.of(release.card)
        if limit is None:
            return None
        if aligned:
            # Two bounds of a released label, both of the members' own shares of classes: T of the
            # commonest, and that of picking one of K equally likely ones, which unequal shares
            # loosen by no more than their distance from equal ones.
            shares = np.bincount(labels, minlength=classes) / len(labels)
            uneven = float(np.maximum(shares - 1 / classes, 0).sum())
            return min(
                max(float(shares.max()), limit.at(float(shares.max()))),
                limit.identification(classes) + uneven,
            )
        # For each member, T of how often his label is told by a release without him.
        known = intervals.clopper_pearson(fair, judged, self.confidence)[1]
        return max(known, limit.at(known))

    def _finding(
        self,
        how: str,
        classes: int,
        right: NDArray[np.bool_],
        fair: int,
        blind: NDArray[np.bool_],
        members: Part,
        others: Part,
        ceiling: float | None,
    ) -> Finding:
        m, n, hits = len(members.y), len(others.y), int(right.sum())
        low, high = intervals.clopper_pearson(hits, m, self.confidence)
        population = intervals.clopper_pearson(fair, n, self.confidence)[1]
        commonest = members.y == int(np.bincount(others.y, minlength=classes).argmax())
        known = {"model": float(blind.mean()), "commonest": float(commonest.mean())}

        def beaten(confidence: float) -> list[Margin]:
            return [
                margin.of_same(right, blind, confidence),
                margin.of_same(right, commonest, confidence),
                margin.of_groups((hits, m), (fair, n), confidence),
            ]

        finding = Finding(
            attack="label.posterior",
            metric="labels recovered beyond guessing (0 guessing, 1 all)",
            value=score(hits / m, classes),
            interval=(score(low, classes), score(high, classes)),
            confidence=self.confidence,
            chance=0.0,
            baseline=score(max(*known.values(), fair / n), classes),
            margin=margin.least(beaten, self.confidence).scaled(1 / (1 - 1 / classes)),
            ceiling=None if ceiling is None else score(ceiling, classes),
            details={
                "classes": classes,
                "success_rate": {"members": hits / m, "non_members": fair / n},
                "members_minus_non_members": [
                    hits / m - fair / n,
                    *intervals.difference(hits, m, fair, n, self.confidence),
                ],
                "population": population,
                "without_the_release": known["model"],
                "commonest_class": known["commonest"],
            },
        )
        limited = ceilings.allowed(ceiling, percent=1, mark=";")
        summary = (
            f"From {how} the attack tells {hits / m:.1%} of members' labels, from a model that "
            f"never saw the release {known['model']:.1%}, and {fair / n:.1%} of strangers' by the "
            f"release, which is what it tells about people in general (at most {population:.1%}) "
            f"and no leak{limited}: {finding.verdict}."
        )
        return replace(finding, summary=summary)
