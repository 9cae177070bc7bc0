"""Private steps that can be interrupted: by a checkpoint, or by the clock."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sfumato.learn import checkpoint

if TYPE_CHECKING:
    from sfumato.publish.generators.gradient_trained import Work

TRAINING = "training"
"""The folder of a training's checkpoints within a workspace."""
_EVERY = 100  # steps between two checkpoints


class Trainer(Protocol):
    """What takes private steps and can be kept on disk."""

    @property
    def steps_taken(self) -> int:
        """Steps begun, those before a resumption included."""
        ...

    def step(self) -> None:
        """Takes one step."""
        ...

    def save(self, folder: Path | str) -> None:
        """Writes a checkpoint."""
        ...

    def resume(self, folder: Path | str) -> None:
        """Continues from a checkpoint."""
        ...

    def close(self) -> None:
        """Lets go of the checkpoint's folder."""
        ...


def fit(trainer: Trainer, work: Work, minutes: float | None) -> None:
    """Takes all steps that are left, or as many as there is time for.

    Args:
        trainer: With the mechanism of ``work``.
        work: Its workspace keeps checkpoints, and a training that is found there goes on.
        minutes: No step begins after so long; None: never early. The budget is spent whole: a
            training that ends early has drawn less than it paid for.
    """
    folder = None if work.workspace is None else work.workspace / TRAINING
    total = work.steps.mechanism.steps
    began = time.monotonic()
    try:
        if folder is not None:
            if checkpoint.is_whole(folder):
                trainer.resume(folder)
            elif folder.exists():  # the first checkpoint, before any step, was not finished
                shutil.rmtree(folder)
            trainer.save(folder)
        while trainer.steps_taken < total:
            if minutes is not None and time.monotonic() - began > 60 * minutes:
                break
            trainer.step()
            if folder is not None and trainer.steps_taken % _EVERY == 0:
                trainer.save(folder)
            work.progress(trainer.steps_taken, total)
        if folder is not None:
            trainer.save(folder)
    finally:
        trainer.close()
    work.progress(total, total)
