"""Membership by the prediction gap: a model is right more often about what it was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from sfumato.attack.membership.game import finding, play
from sfumato.attack.settings import Settings
from sfumato.registry import attack

if TYPE_CHECKING:
    from sfumato.attack.evidence import Evidence
    from sfumato.attack.finding import Finding
    from sfumato.release.release import Release


@attack("membership.gap")
@dataclass(frozen=True)
class Gap(Settings):
    """Calls a record a member if the model predicts its class.

    The attacker sees one predicted class a record. It is the floor for all attacks that see no
    more; its area is one half plus half the gap between the accuracies on members and others, and
    it never accuses few: at small false-positive rates it finds nobody.

    Source: Yeom, Giacomelli, Fredrikson, Jha, CSF 2018, section III-B (bounded loss).
    """

    kinds: ClassVar[tuple[str, ...]] = ("model",)
    source: ClassVar[str] = "Yeom, Giacomelli, Fredrikson, Jha. CSF 2018. arXiv:1709.01604"

    def __call__(self, release: Release, evidence: Evidence, *, seed: int = 0) -> Finding:
        """The area under the ROC curve of being right."""
        game = play(self, release, evidence, seed)
        return finding(
            self,
            game,
            game.members.correct.astype(np.float64),
            game.others.correct.astype(np.float64),
            attack="membership.gap",
            how="whether the model is right",
            baseline=game.baseline(),
        )
