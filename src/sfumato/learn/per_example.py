"""Each example's own gradient, a bounded number of them at a time.

Clipped sums do without: see :mod:`sfumato.learn.engine`. What needs every gradient by itself, such
as noise that is drawn around each, takes them from here in blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from sfumato.errors import InputError
from sfumato.learn.engine.probe import probe, probe_size
from sfumato.learn.engine.refusals import refuse_mixing

BLOCK_BYTES = 64 << 20
"""Of gradients held at a time; what autograd keeps on the way comes on top."""

_LONGEST = 256


class PerExample:
    """The gradients of single examples, of a module that stays as it is.

    Args:
        module: No layer may mix examples; dimension 0 of its inputs counts them.
        loss: ``loss(outputs, targets)``, the (n,) losses of n examples.
        block: Examples at a time; chosen from the number of parameters if None.

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
        refuse_mixing(module)
        self.shapes = {n: p.shape for n, p in module.named_parameters() if p.requires_grad}
        if not self.shapes:
            raise InputError("the module has no trainable parameter", "Unfreeze one.")
        if block is not None and block < 1:
            raise InputError(f"block is {block}", "Give a positive number of examples, or None.")
        self.size = sum(shape.numel() for shape in self.shapes.values())
        self._block = block or max(1, min(_LONGEST, BLOCK_BYTES // (4 * self.size)))
        self._module, self._loss = module, loss
        self._probed = False

    def blocks(self, inputs: Tensor | tuple[Tensor, ...], targets: Tensor) -> Iterator[Tensor]:
        """Gradients, (block, size) in the parameters' type, until every example has had its turn.

        Args:
            inputs: The module's argument or arguments, n examples in dimension 0; n may be 0.
            targets: (n, ...).

        Raises:
            InputError: If a layer mixes examples, or the loss is not one number an example.
        """
        refuse_mixing(self._module)
        args = inputs if isinstance(inputs, tuple) else (inputs,)
        if len(targets) and not self._probed:
            probe(self._module, args, probe_size(1))
            self._probed = True
        for start in range(0, len(targets), self._block):
            part = slice(start, start + self._block)
            yield self._gradients(tuple(value[part] for value in args), targets[part])

    def named(self, gradient: Tensor) -> dict[str, Tensor]:
        """A vector of ``size`` coordinates as one tensor a parameter."""
        parts = torch.split(gradient, [shape.numel() for shape in self.shapes.values()])
        return {
            name: part.view(shape)
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }

    def _gradients(self, args: tuple[Tensor, ...], targets: Tensor) -> Tensor:
        everything = {name: p.detach() for name, p in self._module.named_parameters()}
        trainable = {name: everything[name] for name in self.shapes}
        buffers = dict(self._module.named_buffers())

        def one(parameters: dict[str, Tensor], target: Tensor, *values: Tensor) -> Tensor:
            outputs = functional_call(
                self._module,
                {**everything, **parameters, **buffers},
                tuple(value.unsqueeze(0) for value in values),
            )
            losses = self._loss(outputs, target.unsqueeze(0))
            if losses.shape != (1,):
                raise InputError(
                    f"the loss returned shape {tuple(losses.shape)} for 1 example",
                    "Return one loss an example (reduction='none').",
                )
            return losses[0]

        # vmap has no rule for the fused attention kernels.
        with sdpa_kernel(SDPBackend.MATH):
            found = vmap(grad(one), (None, 0, *([0] * len(args))), randomness="different")(
                trainable, targets, *args
            )
        return torch.cat([found[name].flatten(1) for name in self.shapes], dim=1)
