"""What the attacks that train shadow models share: their settings, and the training itself."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sfumato.attack.evidence import MINIMUM
from sfumato.attack.settings import Settings, whole
from sfumato.attack.shadows import Bank, Job, Recipe, halves
from sfumato.attack.shadows.networks import FAMILIES
from sfumato.errors import InputError
from sfumato.measure import cnn
from sfumato.measure.features import Design
from sfumato.measure.progress import Progress

if TYPE_CHECKING:
    from sfumato.attack.membership.game import Game, Side

AUTO = "auto"
FEWEST = 4
"""Of fewer models there is, for some record, none without it beside the one that is tuned on."""


@dataclass(frozen=True)
class Shadowed(Settings):
    """Settings of the shadow models.

    They mimic the attacked model best where ``family`` and ``epochs`` are its own.

    Args:
        shadows: How many; an even number puts every record in exactly half of those that may
            hold it.
        family: ``"small CNN"``, ``"MLP"`` or ``"logistic regression"``; ``"auto"`` takes the first
            for images, the second for tables.
        epochs: Passes over each model's records; more where they are few.
        max_records: Records of the pool, half of which train each model.
        cache: A private folder that keeps trained models, so that an interruption loses little;
            empty keeps none. They are models of private records without any protection.
        workers: Threads that train; 0 takes one a core. Models are the same whatever their number.
    """

    costly: ClassVar[bool] = True

    shadows: int = 64
    family: str = AUTO
    epochs: int = 3
    max_records: int = 10_000
    cache: str = ""
    workers: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        whole(self.shadows, "shadows", FEWEST)
        whole(self.epochs, "epochs", 1)
        whole(self.max_records, "max_records", 4 * MINIMUM)
        whole(self.workers, "workers", 0)
        if not isinstance(self.cache, str):
            raise InputError(f"cache is {self.cache!r}", "Give a folder's path.")
        if self.family not in (AUTO, *FAMILIES):
            raise InputError(
                f"family is {self.family!r}", f"Known: {', '.join((AUTO, *FAMILIES))}."
            )

    def train(self, game: Game, pool: Side, progress: Progress) -> Bank:
        """Shadow models on random halves of a pool.

        Args:
            game: What is attacked.
            pool: The records; some may be targets.
            progress: Told what it will cost, then how far it is.

        Raises:
            InputError: If the family does not fit the records, or the cache cannot be written.
        """
        family = self.family
        if family == AUTO:
            family = cnn.CONVOLUTIONAL if game.takes == "images" else cnn.DENSE
        job = Job(
            inputs=encoded(game, pool.inputs),
            labels=pool.labels,
            classes=game.classes,
            rows=halves(len(pool), self.shadows, game.seed),
            recipe=self.recipe(family),
            seed=game.seed,
            folder=Path(self.cache).expanduser() if self.cache else None,
            workers=self.workers or os.cpu_count() or 1,
        )
        progress(0, self.shadows, str(job.cost()))
        return job.train(progress)

    def recipe(self, family: str) -> Recipe:
        """How models of a family are trained."""
        return Recipe(family, self.epochs)

    def told(self, bank: Bank, game: Game) -> dict[str, Any]:
        """What a finding says of the shadow models."""
        return {
            "shadows": len(bank),
            "shadow_family": bank.network.family,
            "shadow_records": int(bank.rows.shape[1]),
            "pool": bank.records,
            "auxiliary": len(game.auxiliary),
        }


def encoded(game: Game, inputs: NDArray[Any]) -> NDArray[np.float32]:
    """Records as shadow models take them: images as they are, codes on public scales.

    Args:
        game: What is attacked.
        inputs: As the attacked model takes them.

    Returns:
        (n, c, h, w), or (n, p) one-hot levels and numbers in [0, 1].
    """
    if game.takes == "images":
        return np.ascontiguousarray(inputs, np.float32)
    design = Design(tuple(game.model.schema.features))
    return np.asarray(design.matrix(inputs).toarray(), np.float32)
