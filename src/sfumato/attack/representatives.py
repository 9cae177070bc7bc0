"""Judging pictures that an attack made of classes: a prototype is not yet a person."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.attack import margin, reveal
from sfumato.attack.finding import Finding
from sfumato.attack.nearest import nearest_pixels
from sfumato.measure import cnn, intervals

if TYPE_CHECKING:
    from sfumato.measure.task import Part


@dataclass(frozen=True)
class Judge:
    """Who says whether a picture shows the class that was asked for, and whom it resembles.

    Args:
        members: Records that the model was trained on.
        others: Records that it was not trained on; the judging classifier is trained on them.
        classes: K.
        confidence: Of both intervals together: of the class that is shown, and of the persons.
        seed: Of the classifier.
    """

    members: Part
    others: Part
    classes: int
    confidence: float
    seed: int = 0

    def finding(
        self,
        name: str,
        asked: NDArray[np.int64],
        found: NDArray[np.float32],
        blind: NDArray[np.float32],
        sure: NDArray[np.float64],
        show: bool,
        how: str,
    ) -> Finding:
        """The figures of an attack that made a picture for each class asked for.

        Args:
            name: Registered.
            asked: (n,) classes.
            found: (n, c, h, w) in [0, 1], what the attack made.
            blind: (n, c, h, w), what it would have shown without the model.
            sure: (n,) the model's own probability of the class asked for.
            show: Whether pictures are added to the details.
            how: The attack in words.
        """
        judge = cnn.classifier(
            cnn.CONVOLUTIONAL, self.others.x, self.others.y, self.classes, seed=self.seed
        ).predict
        n = len(asked)
        shown, plain = (judge(made).argmax(axis=1) == asked for made in (found, blind))
        right, fair = int(shown.sum()), int(plain.sum())
        inside, outside = (
            -nearest_pixels(part.x.reshape(len(part.x), -1), found.reshape(n, -1))[0]
            for part in (self.members, self.others)
        )
        # Two questions are put, and the sentence answers both: their intervals hold together.
        each = 1 - (1 - self.confidence) / 2
        area, between = intervals.auc(inside, outside, each)
        own = judge(self.others.x).argmax(axis=1) == self.others.y
        finding = Finding(
            attack=name,
            metric="share of pictures that an independent classifier takes for the class asked for",
            value=right / n,
            interval=intervals.clopper_pearson(right, n, each),
            confidence=self.confidence,
            chance=1 / self.classes,
            baseline=fair / n,
            margin=margin.of_same(shown, plain, each, "pictures"),
            details={
                "pictures": n,
                "classes": self.classes,
                "model_is_sure": float(sure.mean()),
                "judge_training_accuracy": float(own.mean()),
                # Whether members are nearer to the pictures than people the model never saw.
                "membership_auc": [area, *between],
                "distance": {"members": -float(inside.mean()), "others": -float(outside.mean())},
                **reveal.pictures(show, found),
            },
        )
        nearer = between[0] > 0.5
        person = (
            "members are nearer to them than strangers: they show more than a class"
            if nearer
            else "members are no nearer to them than strangers: they show a class, not a person"
        )
        summary = (
            f"{how}: {right / n:.0%} of the pictures are taken for the class asked for (without "
            f"the model {fair / n:.0%}, guessing {1 / self.classes:.0%}): {finding.verdict}; "
            f"{person} (AUC {area:.2f}, interval {between[0]:.2f} to {between[1]:.2f})."
        )
        return replace(finding, summary=summary)


def asked_classes(classes: int, each: int) -> NDArray[np.int64]:
    """Each class ``each`` times."""
    return np.tile(np.arange(classes, dtype=np.int64), each)


def own_scores(module: Any, found: Any, asked: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n,) the module's probability of the class asked for."""
    import torch

    with torch.no_grad():
        scores = module(found).softmax(dim=1).numpy()
    return np.asarray(scores[np.arange(len(asked)), asked], np.float64)
