"""The slow oracle: clipped sums by a loop over the examples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from sfumato.learn.clipping import Clipping


class LoopSum(NamedTuple):
    gradients: dict[str, Tensor]
    norms: Tensor
    losses: Tensor


class LoopEngine:
    """One forward and one backward pass for each example; an example with NaN adds nothing."""

    def __init__(
        self, module: nn.Module, loss: Callable[[Any, Tensor], Tensor], clipping: Clipping
    ) -> None:
        self.module, self.loss, self.clipping = module, loss, clipping

    def clipped_sum(self, inputs: Any, targets: Tensor) -> LoopSum:
        parameters = {n: p for n, p in self.module.named_parameters() if p.requires_grad}
        groups = self.clipping.groups(list(parameters))
        total = {n: torch.zeros_like(p) for n, p in parameters.items()}
        norms, losses = [], []
        for at in range(len(targets)):
            one = inputs[at : at + 1] if isinstance(inputs, Tensor) else None
            outputs = (
                self.module(one)
                if one is not None
                else self.module(*(part[at : at + 1] for part in inputs))
            )
            value = self.loss(outputs, targets[at : at + 1])
            gradients = torch.autograd.grad(value.sum(), list(parameters.values()))
            squares = torch.zeros(max(groups) + 1)
            for group, gradient in zip(groups, gradients, strict=True):
                squares[group] += gradient.square().sum()
            norms.append(squares.sqrt())
            losses.append(value.detach().reshape(()))
            factors = self.clipping.factors(norms[-1][:, None])[:, 0]
            if (factors == 0).all():
                continue
            for name, group, gradient in zip(parameters, groups, gradients, strict=True):
                total[name] += factors[group] * gradient
        width = max(groups) + 1
        return LoopSum(
            total,
            torch.stack(norms, dim=1) if norms else torch.zeros(width, 0),
            torch.stack(losses) if losses else torch.zeros(0),
        )


@pytest.fixture(scope="session")
def loop_engine() -> type[LoopEngine]:
    return LoopEngine
