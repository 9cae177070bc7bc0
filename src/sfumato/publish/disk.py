"""What a run will write, and whether there is room for it: asked before anything is spent.

Sizes follow from public facts and settings alone. Released images are counted as they are before
they are compressed, weights as they are; a checkpoint by an allowance beside its weights. So a disk
that would have held a release that compresses well may be refused: nothing is lost by that, whereas
a disk that turns out too full after the debit loses what was paid for.

Quotas that a file system does not tell of are not seen here; see :mod:`sfumato.publish.shortage`.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sfumato.errors import InputError
from sfumato.publish import memory, room

if TYPE_CHECKING:
    from torch import nn

    from sfumato.data import ImageSchema
    from sfumato.publish.method import Calibrated

PAGES = 2 << 20
"""Bytes of card, reports and evaluation, and of a checkpoint's notes."""
_LABEL = 8
_IN_TRAINING = 16
"""Of the weights that are released: weights, average and two moments, as much again of a critic or
an encoder, and the whole of it twice while one checkpoint takes the other's place."""
_WRITTEN_NUMBER = 24
"""Bytes of a number in a checkpoint's JSON files, and what parts it from the next."""


@dataclass(frozen=True)
class Stored:
    """Bytes that a run writes.

    Args:
        released: Of the release.
        kept: Of the checkpoint, at its largest.
    """

    released: int
    kept: int = 0


def weights(build: Callable[[], nn.Module]) -> int:
    """Bytes of a network's weights, without any being made."""
    return room.network("", (), build).bytes


def stored(
    samples: int,
    facts: ImageSchema,
    *,
    weights: int = 0,
    shares: int = 0,
    kept: int = 0,
    noted: int = 0,
) -> Stored:
    """What a release of images takes, and the checkpoint of its training.

    Args:
        samples: Released images.
        facts: Of them.
        weights: Bytes of the weights that are trained and released with them.
        shares: Numbers of an image's soft label.
        kept: Bytes of a checkpoint beside the training's own state.
        noted: Numbers in a checkpoint's notes.
    """
    each = math.prod(facts.shape) + _LABEL + memory.FLOAT * shares
    state = _IN_TRAINING * weights + kept + _WRITTEN_NUMBER * noted
    return Stored(samples * each + weights, state)


def needed(calibrated: Calibrated, records: int) -> Stored:
    """What a run writes: what it says itself, or as many images as it is given.

    Tables, and models of which a run does not say it, count as nothing.
    """
    from sfumato.data import ImageSchema

    found: Stored | None = getattr(calibrated.run, "stores", None)
    if found is not None:
        return found
    if isinstance(calibrated.facts, ImageSchema) and calibrated.method.gives == "images":
        return stored(records, calibrated.facts)
    return Stored(0)


def check(calibrated: Calibrated, records: int, out: Path | None, checkpoint: Path | None) -> None:
    """Refuses folders on file systems that are too full.

    Args:
        calibrated: The run.
        records: Private ones that it is given.
        out: The release's folder, not there yet; None writes none.
        checkpoint: Where the run keeps what it has drawn; None keeps nothing.

    Raises:
        InputError: If a file system has less room than the folders in it may take. It names sizes
            and folders.
    """
    found = needed(calibrated, records)
    asked: dict[int, list[tuple[str, Path, int]]] = {}
    for what, folder, count in (
        ("the release", out, found.released),
        ("its checkpoint", checkpoint, found.kept),
    ):
        if folder is not None:
            there = _there(folder)
            asked.setdefault(_device(there), []).append((what, there, count + PAGES))
    for parts in asked.values():
        free = shutil.disk_usage(parts[0][1]).free
        if sum(count for *_, count in parts) <= free:
            continue
        said = " and ".join(f"{what} up to {memory.size(count)}" for what, _, count in parts)
        raise InputError(
            f"on the disk of {parts[0][1]} {memory.size(free)} are free, and {said} may be written",
            "Nothing was spent: make room, give folders where there is more, or publish less.",
        )


def _there(folder: Path) -> Path:
    """The folder, or the first above it that exists."""
    path = folder.expanduser().absolute()
    return next(at for at in (path, *path.parents) if at.exists())


def _device(folder: Path) -> int:
    return os.stat(folder).st_dev
