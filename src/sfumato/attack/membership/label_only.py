"""Membership from predicted classes alone: what was trained on stays right when it is varied."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sfumato.attack.membership import queries
from sfumato.attack.membership.game import Game, Side, finding, play
from sfumato.attack.settings import Settings, number, several, whole
from sfumato.errors import InputError
from sfumato.registry import attack

if TYPE_CHECKING:
    from sfumato.attack.evidence import Evidence
    from sfumato.attack.finding import Finding
    from sfumato.release.release import Release


@attack("membership.label_only")
@dataclass(frozen=True)
class LabelOnly(Settings):
    """Counts how many variations of a record the model still gives its class.

    Pictures are shifted by a pixel and noised ever more; rows get one, two and more columns set at
    random. The share that stays right stands for the distance to the decision boundary. The
    attacker sees predicted classes only, one a query: rounding or hiding probabilities is no
    defence.

    Args:
        repeats: Draws of each strength of noise.
        noise: Standard deviations of the noise on pixels in [0, 1].
        columns: Numbers of columns of a row that are set at random.

    Source: Choquette-Choo, Tramèr, Carlini, Papernot, ICML 2021, sections 4.2 and 4.3.
    """

    kinds: ClassVar[tuple[str, ...]] = ("model",)
    source: ClassVar[str] = "Choquette-Choo, Tramèr, Carlini, Papernot. ICML 2021. arXiv:2007.14321"

    repeats: int = 4
    noise: tuple[float, ...] = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
    columns: tuple[int, ...] = (1, 2, 3, 4)

    def __post_init__(self) -> None:
        super().__post_init__()
        whole(self.repeats, "repeats", 1)
        levels = several(self.noise, "noise", "standard deviations")
        counts = several(self.columns, "columns", "whole numbers")
        for level in levels:
            number(level, "noise", 0)
        for count in counts:
            whole(count, "columns", 1)
        if not levels or not counts:
            raise InputError("a list of variations is empty", "Give noise and columns each one.")
        object.__setattr__(self, "noise", tuple(float(level) for level in levels))
        object.__setattr__(self, "columns", counts)

    def __call__(self, release: Release, evidence: Evidence, *, seed: int = 0) -> Finding:
        """The area under the ROC curve of the share of variations that stay right."""
        game = play(self, release, evidence, seed)
        baseline = game.baseline()
        sides, asked = [], 0
        for side in (game.members, game.others):
            right = [
                game.model.probabilities_from(inputs).argmax(axis=1) == side.labels
                for inputs in self._variations(game, side)
            ]
            asked = len(right)
            sides.append(np.mean(right, axis=0))
        return finding(
            self,
            game,
            sides[0],
            sides[1],
            attack="membership.label_only",
            how="how often varied copies of a record keep their class",
            baseline=baseline,
            details={"queries": asked},
        )

    def _variations(self, game: Game, side: Side) -> Iterator[NDArray[Any]]:
        if game.takes == "images":
            for down, right in queries.SHIFTS:
                yield queries.shifted(side.inputs, down, right)
            for _ in range(self.repeats):
                yield from queries.noisy(side.inputs, self.noise, game.rng)
            return
        sizes = np.array([column.size for column in game.model.schema.features])
        yield side.inputs
        for _ in range(self.repeats):
            for count in self.columns:
                yield queries.altered(side.inputs, sizes, count, game.rng)
