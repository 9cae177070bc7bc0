"""Each example's own gradient as one row of numbers, a bounded number of rows at a time.

Clipped sums do without: see :mod:`sfumato.learn.engine`. What needs every gradient by itself, such
as noise that is drawn around each, takes them from here in blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from sfumato.errors import InputError
from sfumato.learn.clipping import Flat
from sfumato.learn.engine import Engine
from sfumato.learn.engine.contributions import rows

BLOCK_BYTES = 64 << 20
"""Of gradients held at a time; what the engine keeps on the way comes on top."""

_LONGEST = 256


class PerExample:
    """The gradients of single examples, of a module that stays as it is.

    Args:
        module: No layer may mix examples; dimension 0 of its inputs counts them.
        loss: ``loss(outputs, targets)``, the (n,) losses of n examples.
        block: Examples at a time, at most; chosen from the number of parameters if None.

    Attributes:
        shapes: Of the trainable parameters, by name, in the order of a gradient's coordinates.
        size: Coordinates of a gradient.

    Raises:
        InputError: If a layer mixes examples, or nothing is trainable.
    """

    def __init__(
        self,
        module: nn.Module,
        loss: Callable[[Any, Tensor], Tensor],
        *,
        block: int | None = None,
    ) -> None:
        self.shapes = {n: p.shape for n, p in module.named_parameters() if p.requires_grad}
        if not self.shapes:
            raise InputError("the module has no trainable parameter", "Unfreeze one.")
        if block is not None and block < 1:
            raise InputError(f"block is {block}", "Give a positive number of examples, or None.")
        self.size = sum(shape.numel() for shape in self.shapes.values())
        chunk = block or max(1, min(_LONGEST, BLOCK_BYTES // (4 * self.size)))
        # Nothing is clipped: the engine wants to know groups for sums only.
        self._engine = Engine(module, loss, Flat(1.0), chunk=chunk)

    def blocks(self, inputs: Tensor | tuple[Tensor, ...], targets: Tensor) -> Iterator[Tensor]:
        """Gradients, (block, size) float32, until every example has had its turn.

        Args:
            inputs: The module's argument or arguments, n examples in dimension 0; n may be 0.
            targets: (n, ...).

        Raises:
            InputError: If a layer mixes examples, or the loss is not one number an example.
        """
        for found in self._engine.per_example(inputs, targets):
            yield torch.cat([rows(found[name]) for name in self.shapes], dim=1)

    def named(self, gradient: Tensor) -> dict[str, Tensor]:
        """A vector of ``size`` coordinates as one tensor a parameter."""
        parts = torch.split(gradient, [shape.numel() for shape in self.shapes.values()])
        return {
            name: part.view(shape)
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }
