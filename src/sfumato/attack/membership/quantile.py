"""Membership by quantile regression: surer of a record than of others like it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from sfumato.attack.evidence import MINIMUM
from sfumato.attack.membership.game import Game, Side, finding, play
from sfumato.attack.settings import Settings, whole
from sfumato.errors import InputError
from sfumato.measure.threads import one_thread
from sfumato.registry import attack

if TYPE_CHECKING:
    from sfumato.attack.evidence import Evidence
    from sfumato.attack.finding import Finding
    from sfumato.release.release import Release


@attack("membership.quantile")
@dataclass(frozen=True)
class Quantile(Settings):
    """Asks how sure a model is of non-members like this one, and how much surer it is here.

    Two quantiles of the log-odds given the record, the median and an upper one, are learnt on
    auxiliary non-members with the pinball loss (gradient boosting on the label and on the codes or
    the first principal components of the pixels). The score is how many gaps between the two the
    target's log-odds lie above the median; at 1 the false-positive rate is ``1 - level`` by
    construction. The attacker has the model's probabilities and records that were not trained on,
    and trains no model like it.

    Args:
        level: Of the upper quantile.
        components: Principal components of images.
        max_auxiliary: Auxiliary records that are learnt from.

    Source: Bertran, Tang, Roth, Kearns, Morgenstern, Wu, NeurIPS 2023.
    """

    kinds: ClassVar[tuple[str, ...]] = ("model",)
    calibrates: ClassVar[int] = 2 * MINIMUM  # non-members; half of them, or auxiliary records
    source: ClassVar[str] = "Bertran et al. NeurIPS 2023. arXiv:2307.03694"

    level: float = 0.9
    components: int = 20
    max_auxiliary: int = 10_000

    def __post_init__(self) -> None:
        super().__post_init__()
        whole(self.components, "components", 1)
        whole(self.max_auxiliary, "max_auxiliary", 2 * MINIMUM)
        number = isinstance(self.level, int | float) and not isinstance(self.level, bool)
        if not (number and 0.5 < self.level < 1):
            raise InputError(f"level is {self.level!r}", "Give a number between 0.5 and 1.")

    def __call__(self, release: Release, evidence: Evidence, *, seed: int = 0) -> Finding:
        """The area under the ROC curve of the calibrated log-odds."""
        game = play(self, release, evidence, seed, auxiliary=self.max_auxiliary)
        inside, outside = self._scores(game)
        return finding(
            self,
            game,
            inside,
            outside,
            attack="membership.quantile",
            how="the model's loss against its loss on similar records",
            baseline=game.baseline(),
            details={
                "auxiliary": len(game.auxiliary),
                "level": self.level,
                "fpr_at_level": float(np.mean(outside > 1)),
                "tpr_at_level": float(np.mean(inside > 1)),
            },
        )

    def _scores(self, game: Game) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        from sklearn.ensemble import HistGradientBoostingRegressor

        view = _View(game, self.components)
        known = game.auxiliary
        sides = [view(side) for side in (game.members, game.others)]
        quantiles = []
        with one_thread():
            for level in (0.5, self.level):
                model = HistGradientBoostingRegressor(
                    loss="quantile",
                    quantile=level,
                    max_iter=60,
                    max_leaf_nodes=15,
                    early_stopping=False,
                    random_state=game.seed % (1 << 32),
                ).fit(view(known), known.log_odds)
                quantiles.append([model.predict(side) for side in sides])
        overall = np.quantile(known.log_odds, self.level) - np.median(known.log_odds)
        least = max(1e-6, 0.1 * float(overall))  # two models' quantiles may cross
        scored = [
            (side.log_odds - middle) / np.maximum(upper - middle, least)
            for side, middle, upper in zip(
                (game.members, game.others), quantiles[0], quantiles[1], strict=True
            )
        ]
        return scored[0], scored[1]


class _View:
    """Records as few numbers: the label, and codes or principal components of auxiliary pixels."""

    def __init__(self, game: Game, components: int) -> None:
        from sklearn.decomposition import PCA

        self.classes, self.pca = game.classes, None
        if game.takes == "images":
            pixels = game.auxiliary.inputs.reshape(len(game.auxiliary), -1)
            few = min(components, *pixels.shape)
            with one_thread():
                self.pca = PCA(few, random_state=0).fit(pixels)

    def __call__(self, side: Side) -> NDArray[np.float64]:
        values = side.inputs.reshape(len(side), -1)
        if self.pca is not None:
            with one_thread():
                values = self.pca.transform(values)
        return np.column_stack([values, np.eye(self.classes)[side.labels]])
