"""A denoiser's lessons: training on pictures that are nobody's, without noise on its gradients."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from sfumato.learn import checkpoint
from sfumato.learn.averaging import Averaging
from sfumato.publish.generators.denoiser import LEVELS, Denoiser
from sfumato.publish.generators.keeping import Kept

if TYPE_CHECKING:
    from collections.abc import Mapping

_EVERY = 100  # steps between two checkpoints


@dataclass(frozen=True)
class Lesson:
    """Pictures to learn from, and how.

    Args:
        pictures: (n, c, h, w) in [0, 1]; public, or made of noisy output alone.
        labels: (n,) class numbers.
        steps: Of Adam.
        batch: Pictures a step.
        rate: Learning rate; falls to 0 as a cosine.
        dropout: Share of the pictures whose class is kept from the model.
        averaging: Decay of the average of the weights.
        seed: Of the order, the noise levels and the noise.
    """

    pictures: Tensor
    labels: Tensor
    steps: int
    batch: int
    rate: float
    dropout: float
    averaging: float
    seed: int


def learn(
    module: nn.Module,
    denoiser: Denoiser,
    lesson: Lesson,
    progress: Callable[[int, int], None],
    folder: Path | None = None,
) -> None:
    """Trains a module in place, and leaves the average of its weights in it.

    Args:
        module: As ``denoiser`` builds it, on any device.
        denoiser: Says what the module is given and asked.
        lesson: See :class:`Lesson`.
        progress: Told steps done and steps in all.
        folder: Where checkpoints lie; a lesson that is found there goes on. None keeps none.
    """
    draws = torch.Generator().manual_seed(lesson.seed)
    adam = torch.optim.Adam(module.parameters(), lesson.rate, betas=(0.9, 0.99))
    average = Averaging(module, lesson.averaging)
    whole = Kept(module, adam, average, draws)
    classes = functional.one_hot(lesson.labels, denoiser.classes).float()
    device = next(module.parameters()).device
    done = 0
    if folder is not None and checkpoint.found(folder):
        state, flat = checkpoint.load(folder)
        whole.unpack(state["adam"], flat)
        done = int(state["taken"])
    for step in range(done, lesson.steps):
        rows = torch.randint(len(lesson.pictures), (lesson.batch,), generator=draws)
        level = torch.exp(LEVELS[0] + LEVELS[1] * torch.randn(len(rows), generator=draws))
        noise = torch.randn(len(rows), *denoiser.shape, generator=draws)
        told = torch.rand(len(rows), 1, generator=draws) >= lesson.dropout
        noisy, at, target = denoiser.noised(lesson.pictures[rows], level, noise)
        found = module(*(part.to(device) for part in (noisy, at, classes[rows] * told)))
        loss = (found - target.to(device)).square().mean()
        for group in adam.param_groups:
            group["lr"] = lesson.rate * 0.5 * (1 + math.cos(math.pi * step / lesson.steps))
        adam.zero_grad()
        loss.backward()
        adam.step()
        average.update(module, step + 1)
        if folder is not None and ((step + 1) % _EVERY == 0 or step + 1 == lesson.steps):
            settings, flat = whole.packed()
            checkpoint.save(folder, {"taken": step + 1, "adam": settings}, flat)
        progress(step + 1, lesson.steps)
    average.copy_to(module)


def kept(folder: Path | None, make: Callable[[], Mapping[str, Tensor]]) -> Mapping[str, Tensor]:
    """The tensors that ``make`` gave the first time, which lie in ``folder``."""
    if folder is None:
        return make()
    if not checkpoint.found(folder):
        checkpoint.save(folder, {"taken": 0}, make())
    return checkpoint.load(folder)[1]
