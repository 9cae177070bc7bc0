"""What a private loop asks of a loss, of an augmentation, and of what sums clipped gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor, nn

from sfumato.learn.clipping import Clipping
from sfumato.learn.mechanism import Summed
from sfumato.learn.records import Inputs

Loss = Callable[[Any, Tensor], Tensor]
"""``loss(outputs, targets) -> (n,)``: one loss for each example, not their mean."""

Augment = Callable[[Inputs, Tensor], tuple[Inputs, Tensor]]
"""Random changes to a part of a batch, example by example; it must not mix examples."""


class GradientEngine(Protocol):
    """What gives clipped sums; :class:`sfumato.learn.engine.Engine` does.

    One whose answer is no sum over records, so that answers to parts of a sample may not be added
    up, says so by an attribute ``whole = True``: it is given every sample in one piece.
    """

    def clipped_sum(self, inputs: Inputs, targets: Tensor) -> Summed:
        """The sum of the examples' clipped gradients."""
        ...


class EngineMaker(Protocol):
    """Makes an engine for a module, a loss and a clipping."""

    def __call__(self, module: nn.Module, loss: Loss, clipping: Clipping, /) -> GradientEngine:
        """The engine."""
        ...


def default_engine() -> EngineMaker:
    """That of book-keeping, which is slow to import."""
    from sfumato.learn.engine import Engine

    return Engine
