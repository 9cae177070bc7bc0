"""A network that learns what was said of the public records: no private record, no noise, no cost.

A network may overrule its lesson: where it is sure of another label after some epochs, it goes on
with its own. Labels that were spread over a graph are wrong in patches, which a network that sees
every picture shifted and turned does not follow.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from sfumato.errors import InputError


@dataclass(frozen=True)
class Distillation:
    """How a student learns.

    Args:
        epochs: Passes over the public records.
        batch: Records a step.
        learning_rate: Of Adam; falls to 0 along a cosine.
        warped: Whether images are shifted, turned and scaled at random; for images only.
        seed: Of order and warps.
    """

    epochs: int = 10
    batch: int = 128
    learning_rate: float = 2e-3
    warped: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch"):
            if not (isinstance(getattr(self, name), int) and getattr(self, name) >= 1):
                raise InputError(f"{name} is {getattr(self, name)!r}", "Give at least 1.")
        if not 0 < self.learning_rate < math.inf:
            raise InputError(f"learning_rate is {self.learning_rate!r}", "Give a number above 0.")

    def teach(
        self,
        module: nn.Module,
        inputs: Tensor,
        targets: Tensor,
        progress: Callable[[int, int, str], None] | None = None,
    ) -> None:
        """Trains a module in place on soft labels.

        Args:
            module: Gives (n, classes) scores.
            inputs: (n, ...) public.
            targets: (n, classes) probabilities.
            progress: Told after each epoch.
        """
        optimizer = torch.optim.Adam(module.parameters(), self.learning_rate)
        generator = torch.Generator().manual_seed(self.seed)
        steps = self.epochs * math.ceil(len(inputs) / self.batch)
        taken = 0
        module.train()
        for epoch in range(self.epochs):
            for rows in torch.split(torch.randperm(len(inputs), generator=generator), self.batch):
                for group in optimizer.param_groups:
                    group["lr"] = self.learning_rate * (1 + math.cos(math.pi * taken / steps)) / 2
                part = inputs[rows]
                scores = module(warped(part, generator) if self.warped else part)
                loss = functional.cross_entropy(scores, targets[rows])
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
                taken += 1
            if progress is not None:
                progress(epoch + 1, self.epochs, "student")
        module.eval()


def warped(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each (c, h, w) image shifted, turned, scaled and slanted by small random amounts."""

    def up_to(most: float) -> Tensor:
        return (2 * torch.rand(len(images), generator=generator) - 1) * most

    turn, scale, slant = up_to(0.25), 1 + up_to(0.15), up_to(0.2)
    cosine, sine = turn.cos() * scale, turn.sin() * scale
    rows = torch.stack([cosine, slant - sine, up_to(0.15)], dim=1)
    columns = torch.stack([sine, cosine, up_to(0.15)], dim=1)
    grid = functional.affine_grid(
        torch.stack([rows, columns], dim=1), list(images.shape), align_corners=False
    )
    moved: Tensor = functional.grid_sample(images, grid, align_corners=False)
    return moved
