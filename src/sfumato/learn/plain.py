"""Training without noise, of what is public or was protected before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Plain:
    """How: Adam on shuffled batches.

    Args:
        epochs: Passes over the records.
        batch_size: Records a step.
        learning_rate: Falls to nothing along a cosine.
        weight_decay: Decoupled.
    """

    epochs: int = 10
    batch_size: int = 100
    learning_rate: float = 1e-3
    weight_decay: float = 0.0

    @classmethod
    def of_settings(cls, method: Any) -> Plain:
        """The choices of these names among a method's settings."""
        return cls(**{field.name: getattr(method, field.name) for field in fields(cls)})


def train(
    module: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    how: Plain,
    *,
    seed: int,
    device: str = "cpu",
    progress: Callable[[int, int, str], None] | None = None,
) -> None:
    """Trains a module in place; it ends on the CPU, in evaluation mode.

    Args:
        module: Gives class scores.
        inputs: (n, ...); n may be 0.
        labels: (n,) int64.
        how: See :class:`Plain`.
        seed: Of the order of records.
        device: As torch names it.
        progress: Told after each pass.
    """
    generator = torch.Generator().manual_seed(seed)
    module.to(device).train()
    optimizer = torch.optim.AdamW(
        module.parameters(), how.learning_rate, weight_decay=how.weight_decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, how.epochs)
    for epoch in range(how.epochs):
        order = torch.randperm(len(inputs), generator=generator)
        for batch in torch.split(order, how.batch_size) if len(inputs) else ():
            optimizer.zero_grad()
            scores = module(inputs[batch].to(device))
            loss: Tensor = functional.cross_entropy(scores, labels[batch].to(device))
            torch.autograd.backward(loss)
            optimizer.step()
        schedule.step()
        if progress is not None:
            progress(epoch + 1, how.epochs, "training")
    module.to("cpu").eval()
