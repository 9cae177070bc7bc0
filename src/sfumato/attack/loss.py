"""Membership by loss: a model is surer of the records that it was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sfumato.attack.membership import scores
from sfumato.attack.membership.game import finding, play
from sfumato.attack.settings import Settings
from sfumato.registry import attack

if TYPE_CHECKING:
    from sfumato.attack.evidence import Evidence
    from sfumato.attack.finding import Finding
    from sfumato.release.model import Model
    from sfumato.release.release import Release


@attack("membership.loss")
@dataclass(frozen=True)
class Loss(Settings):
    """Tells members from others by the model's loss on them.

    The score is the log-odds of the true class, which orders records as the cross-entropy does
    and keeps apart the many that a good model is nearly certain of. The attacker has the model's
    probabilities, nothing else.

    Source: Yeom, Giacomelli, Fredrikson, Jha, CSF 2018; the log-odds of Carlini et al., S&P 2022.
    """

    kinds: ClassVar[tuple[str, ...]] = ("model",)
    source: ClassVar[str] = "Yeom, Giacomelli, Fredrikson, Jha. CSF 2018. arXiv:1709.01604"

    def __call__(self, release: Release, evidence: Evidence, *, seed: int = 0) -> Finding:
        """The area under the attack's ROC curve, against the area the guarantee allows."""
        game = play(self, release, evidence, seed)
        return finding(
            self,
            game,
            game.members.log_odds,
            game.others.log_odds,
            attack="membership.loss",
            how="the model's loss",
            baseline=game.baseline(),
        )


def log_odds(
    model: Model, inputs: NDArray[Any], labels: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """How sure the model is of the true classes.

    Args:
        model: A released model.
        inputs: (n, ...) as the module takes them.
        labels: (n,) class numbers.

    Returns:
        (n,) log-odds of the true class, and whether it is the likeliest.
    """
    found = model.probabilities_from(inputs)
    return scores.log_odds(found, labels), scores.correct(found, labels)
