"""What a teacher says of pictures: soft labels, in parts that an interruption does not lose.

Teacher and pictures follow from noisy output and public seeds, so labels may be made as often as
one likes. Keeping them only saves time.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from sfumato.data.pixels import as_float
from sfumato.learn import checkpoint

if TYPE_CHECKING:
    from torch import Tensor

    from sfumato.learn.recipe import ScatterLinearModel
    from sfumato.publish.method import Progress

_CHUNK = 2000
_SAVED_EVERY = 10
"""Chunks between two checkpoints, unless they are slow."""


def labels(
    teacher: ScatterLinearModel,
    images: NDArray[np.uint8],
    temperature: float,
    progress: Progress,
    folder: Path | None = None,
) -> NDArray[np.float32]:
    """(n, K) how likely the teacher thinks each class.

    Args:
        teacher: Publishable.
        images: (n, c, h, w) pictures of nobody.
        temperature: What its logits are divided by.
        progress: Told pictures labelled and in all.
        folder: Where labels are kept; those that are found there of these very pictures are taken.
            None keeps none.

    Raises:
        InputError: If what was kept is damaged.
    """
    found, digest = _kept(folder, images)
    done = len(found[0]) if found else 0
    due = checkpoint.Due(_SAVED_EVERY)
    for at in range(done, len(images), _CHUNK):
        progress(at, len(images), "labelling pictures")
        part = images[at : at + _CHUNK]
        scores = teacher.scores(torch.from_numpy(as_float(part))).double()
        found.append(torch.softmax(scores / temperature, dim=1).float())
        digest.update(part.tobytes())
        if folder is not None and due.after_a_step():
            state = {"taken": at + len(part), "pictures": digest.hexdigest()}
            checkpoint.save(folder, state, {"labels": torch.cat(found)})
    progress(len(images), len(images), "labelling pictures")
    whole: NDArray[np.float32] = torch.cat(found).numpy()
    return whole


def _kept(folder: Path | None, images: NDArray[np.uint8]) -> tuple[list[Tensor], Any]:
    """Labels of the first pictures, in one tensor if any, and the running digest of these."""
    if folder is not None and checkpoint.found(folder):
        state, tensors = checkpoint.load(folder, {"taken": (int,), "pictures": (str,)})
        taken = state["taken"]
        digest = hashlib.sha256(images[:taken].tobytes())
        # Another machine may round a pixel otherwise: what is labelled is what is released.
        if taken <= len(images) and digest.hexdigest() == state["pictures"]:
            return [tensors["labels"]], digest
    return [], hashlib.sha256()
