"""Membership by modified entropy: a model hesitates less about what it was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from sfumato.attack.evidence import MINIMUM
from sfumato.attack.membership import scores
from sfumato.attack.membership.game import Side, finding, play
from sfumato.attack.settings import Settings, whole
from sfumato.registry import attack

if TYPE_CHECKING:
    from sfumato.attack.evidence import Evidence
    from sfumato.attack.finding import Finding
    from sfumato.release.release import Release


@attack("membership.entropy")
@dataclass(frozen=True)
class Entropy(Settings):
    """Tells members from others by the modified entropy of the model's prediction, class by class.

    The score is minus the logarithm of the modified entropy, on the scale of the auxiliary
    non-members of the same class: what is usual for an easy class is suspicious for a hard one.
    The attacker has the model's probabilities and records that were not trained on.

    Args:
        max_auxiliary: Auxiliary records that are read.

    Source: Song, Mittal, USENIX Security 2021, section 4.
    """

    kinds: ClassVar[tuple[str, ...]] = ("model",)
    calibrates: ClassVar[int] = 2 * MINIMUM  # non-members; half of them, or auxiliary records
    source: ClassVar[str] = "Song, Mittal. USENIX Security 2021. arXiv:2003.10595"

    max_auxiliary: int = 5000

    def __post_init__(self) -> None:
        super().__post_init__()
        whole(self.max_auxiliary, "max_auxiliary", MINIMUM)

    def __call__(self, release: Release, evidence: Evidence, *, seed: int = 0) -> Finding:
        """The area under the ROC curve of the calibrated entropy."""
        game = play(self, release, evidence, seed, auxiliary=self.max_auxiliary)
        centre, spread = _scales(game.auxiliary, game.classes)
        sides = [
            (_certainty(side) - centre[side.labels]) / spread[side.labels]
            for side in (game.members, game.others)
        ]
        return finding(
            self,
            game,
            sides[0],
            sides[1],
            attack="membership.entropy",
            how="the entropy of the model's predictions",
            baseline=game.baseline(),
            details={"auxiliary": len(game.auxiliary)},
        )


def _certainty(side: Side) -> NDArray[np.float64]:
    entropy = scores.modified_entropy(side.probabilities, side.labels)
    return -np.log(np.maximum(entropy, scores.SMALLEST))


def _scales(side: Side, classes: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of each class; those of all where a class is rare."""
    certainty = _certainty(side)
    centre = np.full(classes, certainty.mean())
    spread = np.full(classes, certainty.std())
    for label in range(classes):
        own = certainty[side.labels == label]
        if len(own) >= MINIMUM:
            centre[label], spread[label] = own.mean(), own.std()
    return centre, np.maximum(spread, 1e-6)
