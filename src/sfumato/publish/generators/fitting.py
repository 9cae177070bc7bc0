"""Private steps that can be interrupted, and gone on with from a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sfumato.learn import checkpoint
from sfumato.publish.workspace import TRAINING

if TYPE_CHECKING:
    from collections.abc import Callable

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


class Job(Protocol):
    """One training: how far it is to go, and where it is kept."""

    @property
    def workspace(self) -> Path | None:
        """Where checkpoints lie; None keeps none."""
        ...

    @property
    def most(self) -> int | None:
        """So many steps are taken; None: all that are planned."""
        ...

    @property
    def planned(self) -> int:
        """Steps that were paid for."""
        ...

    @property
    def progress(self) -> Callable[[int, int], None]:
        """Told steps done and steps in all."""
        ...


def fit(trainer: Trainer, work: Job) -> None:
    """Takes all steps that are left, or as many of them as ``work.most`` says.

    Args:
        trainer: With the mechanism of ``work``.
        work: Its workspace keeps checkpoints, and a training that is found there goes on.
    """
    folder = None if work.workspace is None else work.workspace / TRAINING
    total = work.most or work.planned
    try:
        if folder is not None:
            if checkpoint.found(folder):
                trainer.resume(folder)
            trainer.save(folder)
        while trainer.steps_taken < total:
            trainer.step()
            if folder is not None and trainer.steps_taken % _EVERY == 0:
                trainer.save(folder)
            work.progress(trainer.steps_taken, total)
        if folder is not None:
            trainer.save(folder)
    finally:
        trainer.close()
    work.progress(total, total)
