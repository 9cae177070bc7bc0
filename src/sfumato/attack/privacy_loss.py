"""The privacy-loss classifier: the game of its source, and the corrected one.

The source trains a classifier on generated records against noise, asks how often real private
records are taken for generated ones (P), and calls ``(P - 0.5) / 0.5`` the privacy loss. Any
realistic release scores near 1 there, private or not: it measures realism. Corrected: the
classifier must tell the release's own records from held-out ones of the same population, and is
judged on records of either kind that it was not trained on; ``2 P - 1`` is then the membership
advantage, which the guarantee bounds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sfumato.attack import blind, ceilings, margin, roc, targets
from sfumato.attack.evidence import MINIMUM
from sfumato.attack.finding import Finding
from sfumato.attack.settings import Settings, whole
from sfumato.measure import cnn, intervals, models
from sfumato.registry import attack

if TYPE_CHECKING:
    from collections.abc import Callable

    from sfumato.attack.evidence import Evidence
    from sfumato.attack.targets import Records
    from sfumato.release.release import Release

    Seen = Callable[[Records], NDArray[np.float64]]

WARNING = (
    "The source's game: real records taken for released ones rather than for noise. It measures "
    "how realistic the release is, not what it leaks."
)


@attack("privacy_loss")
@dataclass(frozen=True)
class PrivacyLoss(Settings):
    """Tells members from hold-outs by how models of the release see them.

    A record is described by the probability that it is released rather than noise, by the
    confidence and the loss of models trained on the release to predict the target, and by its
    distance to the nearest released record. A classifier of members learns on one half of the
    targets and is judged on the other.

    Args:
        max_training: Released records that the models are trained on, drawn by the seed.
    """

    kinds: ClassVar[tuple[str, ...]] = ("table", "images")
    source: ClassVar[str] = "Privacy protection in generative models, privacy-loss measure"

    max_training: int = 20_000

    def __post_init__(self) -> None:
        super().__post_init__()
        whole(self.max_training, "max_training", MINIMUM)

    def __call__(self, release: Release, evidence: Evidence, *, seed: int = 0) -> Finding:
        """The corrected privacy loss; the source's is in ``details``."""
        targets.check(release, evidence)
        rng = np.random.default_rng(seed)
        chosen, others = targets.balanced(evidence, self.max_targets, rng)
        inside = targets.read(evidence.members, chosen)
        outside = targets.read(evidence.non_members, others)
        published = targets.released(release, self.max_released, rng)
        training = published[rng.permutation(len(published))[: self.max_training]]
        realism = _realism(training, rng, seed)
        recognised = realism(inside)
        views = [realism, *_task_views(release, training, seed)]

        def describe(side: Records) -> NDArray[np.float64]:
            near = side.nearest(published)[0].astype(np.float64)
            return np.column_stack([near, near == 0, *(view(side) for view in views)])

        parts = blind.halves(len(inside), len(outside), rng)
        positives, negatives = blind.split_scores(describe(inside), describe(outside), parts)
        hits, wrong = int(np.sum(positives > 0)), int(np.sum(negatives > 0))
        m, n = len(positives), len(negatives)
        ceiling = ceilings.of(release.card)
        finding = Finding(
            attack="privacy_loss",
            metric="privacy loss, 2 P - 1",
            value=hits / m - wrong / n,
            interval=intervals.difference(hits, m, wrong, n, self.confidence),
            confidence=self.confidence,
            chance=0.0,
            **self._beside(evidence, (inside, outside), parts, (positives > 0, negatives > 0)),
            ceiling=None if ceiling is None else ceiling.advantage,
            roc=roc.curve(positives, negatives),
            details={
                "P": (hits / m + 1 - wrong / n) / 2,
                "judged": m + n,
                "source_privacy_loss": {
                    "value": 2 * float(np.mean(recognised > 0.5)) - 1,
                    "P": float(np.mean(recognised > 0.5)),
                    "warning": WARNING,
                },
            },
        )
        low, high = finding.interval
        limit = ceilings.allowed(finding.ceiling)
        summary = (
            f"A classifier that sees the release tells people who are in the data from people who "
            f"are not in {finding.details['P']:.1%} of cases, a privacy loss of "
            f"{finding.value:+.3f} (interval {low:+.3f} to {high:+.3f}, guessing 0{limit}): "
            f"{finding.verdict}."
        )
        return replace(finding, summary=summary)

    def _beside(
        self,
        evidence: Evidence,
        sides: tuple[Records, Records],
        parts: blind.Halves,
        told: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    ) -> dict[str, Any]:
        """The finding's baseline and margin: what is told from the records' own values."""
        if evidence.by_coins:
            return {"baseline": 0.0, "margin": None}
        seen = blind.seen(*sides)
        own, of_others = (one > 0 for one in blind.split_scores(seen[0], seen[1], parts))
        return {
            "baseline": max(0.0, float(np.mean(own) - np.mean(of_others))),
            "margin": margin.of_sides((told[0], own), (told[1], of_others), self.confidence),
        }


def _realism(training: Records, rng: np.random.Generator, seed: int) -> Seen:
    """The source's classifier: the probability that a record is released rather than noise."""
    from sklearn.ensemble import RandomForestClassifier

    released = training.values[: min(5000, len(training))]
    if training.columns:
        sizes = np.array([column.size for column in training.columns])
        noise = rng.integers(0, sizes, released.shape).astype(np.float32)
    else:
        noise = rng.random(released.shape, dtype=np.float32)
    x = np.concatenate([released, noise]).astype(np.float32)
    y = np.repeat([1, 0], len(released))
    forest = RandomForestClassifier(n_estimators=50, min_samples_leaf=5, random_state=seed)
    forest.fit(x, y)
    return lambda side: np.asarray(
        forest.predict_proba(side.values.astype(np.float32))[:, 1], dtype=np.float64
    )


def _task_views(release: Release, training: Records, seed: int) -> list[Seen]:
    """Confidence in, and loss on, the true target, of models trained on the release."""
    schema: Any = release.data.schema
    if release.data.kind == "images":
        shape, classes = schema.shape, len(schema.classes)
        labels = training.labels
        assert labels is not None
        predict = cnn.classifier(
            cnn.CONVOLUTIONAL,
            training.values.reshape(-1, *shape).astype(np.float32),
            labels,
            classes,
            seed=seed,
            epochs=2,
        ).predict

        def look(side: Records) -> NDArray[np.float64]:
            assert side.labels is not None
            images = side.values.reshape(-1, *shape).astype(np.float32)
            return _confidences(predict(images), side.labels)

        return [look]
    if len(schema) < 2:
        return []
    goal = schema.names.index(schema.target) if schema.target is not None else 0
    column = schema.columns[goal]
    if column.ordered and column.cardinality > 20:
        return []  # distances and realism already see numbers
    known = [c for j, c in enumerate(schema.columns) if j != goal]
    views: list[Seen] = []
    for family in (models.LINEAR, models.FOREST):
        fitted = models.classifier(
            family,
            known,
            np.delete(training.values, goal, axis=1).astype(np.int32),
            training.values[:, goal].astype(np.int64),
            column.size,
            seed,
        )

        def view(side: Records, fitted: models.Fitted = fitted) -> NDArray[np.float64]:
            rows = np.delete(side.values, goal, axis=1).astype(np.int32)
            return _confidences(fitted.predict(rows), side.values[:, goal].astype(np.int64))

        views.append(view)
    return views


def _confidences(
    probabilities: NDArray[np.float64], truth: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(n, 3): the loss on the true class, its probability, the highest probability."""
    true = probabilities[np.arange(len(truth)), truth]
    return np.column_stack([-np.log(np.maximum(true, 1e-6)), true, probabilities.max(axis=1)])
