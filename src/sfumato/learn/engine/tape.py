"""What one pass over a chunk of examples leaves behind: contributions by parameter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.errors import InputError
from sfumato.learn.engine.contributions import (
    Contribution,
    Direct,
    Outer,
    bytes_of,
    merge,
    prefer_outer_product,
    wide,
)
from sfumato.learn.engine.lengths import Lengths, Note
from sfumato.learn.engine.pool import Pool


class _Root(torch.autograd.Function):
    """Starts the graph at an output whose input needs no gradient."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, output: Tensor, record: Callable[[Tensor], None]) -> Any:
        ctx.record = record
        # Dirty, not a view: the user's module may go on with an in-place activation.
        ctx.mark_dirty(output)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        ctx.record(gradients[0])
        return None, None, None


class TwiceError(Exception):
    """A gradient was taken, to be differentiated, through layers that stand as one each."""


class Tape:
    """Collects, in one backward pass over n examples, what each parameter's gradient is made of.

    Layers read parameters through :meth:`value`, which cuts them from the graph; so the
    ordinary parameter gradient is never computed, and a parameter used behind a layer's back
    still receives one and is found.

    Args:
        n: The number of examples; dimension 0 of every layer's input.
        trainable: Name of each trainable parameter, by identity.
        places: How each module is called in messages, by identity.
        device: Where the parameters are.
        pool: Memory for what is formed; the tape's own if None.
        lengths: Which arguments are the examples', where only their length would tell.

    Attributes:
        set_aside: Parameters of layers that no example went into.
        note: Told of every call, in a pass that records nothing.
        pulling: Whether the engine's own backward pass is under way.
    """

    def __init__(
        self,
        n: int,
        trainable: Mapping[int, str],
        places: Mapping[int, str],
        device: torch.device,
        pool: Pool | None = None,
        lengths: Lengths | None = None,
    ) -> None:
        self.n = n
        self.trainable = trainable
        self._places = places
        self.pool = pool or Pool()
        self.anchor = torch.zeros((), device=device, requires_grad=True)
        self._parts: dict[str, list[Contribution]] = {}
        self.set_aside: list[Tensor] = []
        self.note: Note | None = None
        self.pulling = False
        self._lengths = lengths or Lengths()
        self._calls: Counter[int] = Counter()

    def examples(self, module: nn.Module, leaves: Sequence[Any]) -> list[int]:
        """Which of the arguments of a module that is taken as one hold one row an example."""
        self._calls[id(module)] += 1
        return self._lengths.examples(module, self._calls[id(module)] - 1, leaves, self.n)

    def value(self, parameter: Tensor) -> Tensor:
        """The parameter's value, cut from the graph."""
        return parameter.detach()

    def wants(self, parameter: Tensor | None) -> bool:
        """Whether the parameter is there and trainable."""
        return parameter is not None and id(parameter) in self.trainable

    def add(self, parameter: Tensor, part: Contribution) -> None:
        """Notes one use of a trainable parameter."""
        self._parts.setdefault(self.trainable[id(parameter)], []).append(part)

    @property
    def records(self) -> bool:
        """Whether the backward pass that is under way is the engine's, and counts.

        One that the module or the loss runs for itself (adversarial examples) does not.

        Raises:
            TwiceError: If that one is to be differentiated again: weights are cut from the graph.
        """
        if not self.pulling and torch.is_grad_enabled():
            raise TwiceError
        return self.pulling

    def aside(self, parameter: Tensor, output: Tensor) -> Tensor:
        """The output of a layer that was given nothing of any example, such as positions.

        What it gives is shared, and so would its gradient be: the module around it has to be taken
        as one layer.
        """
        self.set_aside.append(parameter)
        return output

    def place(self, module: nn.Module) -> str:
        """A module's kind and place in the model, for messages."""
        return f"{type(module).__name__} {self._places.get(id(module), '?')!r}"

    def check_rank(self, values: Tensor, rank: int, layer: str) -> None:
        """Refuses an input that the layer would read as one example without a batch.

        Raises:
            InputError: Naming the layer.
        """
        self.check(values, layer)
        if values.ndim != rank:
            raise InputError(
                f"{layer} got an input of shape {tuple(values.shape)}, not of {rank} dimensions",
                "Give it the examples in dimension 0",
            )

    def check(self, values: Tensor, layer: str) -> None:
        """Refuses an input whose dimension 0 is not the examples.

        Raises:
            InputError: Naming the layer.
        """
        if values.ndim == 0 or values.shape[0] != self.n:
            raise InputError(
                f"{layer} got an input of shape {tuple(values.shape)} for {self.n} examples",
                "Per-example gradients need the examples in dimension 0 of every layer "
                "(batch_first=True)",
            )

    def watch(self, output: Tensor, record: Callable[[Tensor], None]) -> Tensor:
        """The output, such that ``record`` receives its gradient during the backward pass."""

        def noted(gradient: Tensor) -> None:
            if self.records:
                record(gradient)

        if output.requires_grad:
            # Of a view (a linear layer's, of sequences) that is then written to in place, torch
            # makes the history anew, and would never call the hook.
            output = unviewed(output)
            output.register_hook(noted)  # type: ignore[no-untyped-call]
            return output
        # Not as a view: marking a view dirty would rebase its history, and lose the anchor.
        root: Tensor = _Root.apply(  # type: ignore[no-untyped-call]
            self.anchor, output.data, noted
        )
        return root

    def linear(self, inputs: Tensor, weight: Tensor, bias: Tensor | None, layer: str) -> Tensor:
        """``inputs @ weight.T + bias``, recorded. inputs: (n, ..., d); weight: (p, d)."""
        self.check(inputs, layer)
        shift = None if bias is None else self.value(bias)
        output = F.linear(inputs, self.value(weight), shift)
        wants_weight, wants_bias = self.wants(weight), self.wants(bias)
        if not wants_weight and not wants_bias:
            return output
        version = inputs._version

        def record(gradient: Tensor) -> None:
            gradient = wide(gradient).reshape(self.n, -1, gradient.shape[-1])
            if wants_bias:
                assert bias is not None
                self.add(
                    bias, Direct(gradient.sum(1) if gradient.shape[1] != 1 else gradient[:, 0])
                )
            if wants_weight:
                unmodified(inputs, version, layer)
                kept = wide(inputs.detach()).reshape(self.n, gradient.shape[1], inputs.shape[-1])
                self.add(weight, outer(kept, gradient, self.pool))

        return self.watch(output, record)

    def stacked(
        self, inputs: Sequence[Tensor], weight: Tensor, bias: Tensor | None, layer: str
    ) -> tuple[Tensor, ...]:
        """Several linear maps whose weights are equal shares of the rows of one parameter.

        Each input is a use of the whole weight with zero gradient for the others' rows; so the
        shares' norms add up and a shared row would be counted once.
        """
        count = len(inputs)
        rows = weight.shape[0] // count
        outputs = []
        for share, values in enumerate(inputs):
            own = slice(share * rows, (share + 1) * rows)
            outputs.append(self._share(values, weight, bias, own, layer))
        return tuple(outputs)

    def _share(
        self, inputs: Tensor, weight: Tensor, bias: Tensor | None, own: slice, layer: str
    ) -> Tensor:
        self.check(inputs, layer)
        shift = None if bias is None else self.value(bias)[own]
        output = F.linear(inputs, self.value(weight)[own], shift)
        wants_weight, wants_bias = self.wants(weight), self.wants(bias)
        if not wants_weight and not wants_bias:
            return output
        version = inputs._version
        sides = (own.start, weight.shape[0] - own.stop)

        def record(gradient: Tensor) -> None:
            gradient = F.pad(wide(gradient).reshape(self.n, -1, gradient.shape[-1]), sides)
            if wants_bias:
                assert bias is not None
                self.add(bias, Direct(gradient.sum(1)))
            if wants_weight:
                unmodified(inputs, version, layer)
                kept = wide(inputs.detach()).reshape(self.n, gradient.shape[1], inputs.shape[-1])
                self.add(weight, outer(kept, gradient, self.pool))

        return self.watch(output, record)

    def expand(self, parameter: Tensor) -> Tensor:
        """A copy of a parameter for each example, (n, *shape), whose gradients are recorded."""
        copies = self.value(parameter).unsqueeze(0).expand(self.n, *parameter.shape)
        if not self.wants(parameter):
            return copies

        def record(gradient: Tensor) -> None:
            self.add(parameter, Direct(wide(gradient)))

        return self.watch(copies.clone(), record)

    def contributions(self) -> dict[str, Contribution]:
        """All uses of each parameter as one, by name."""
        return {name: merge(parts) for name, parts in self._parts.items()}

    @property
    def bytes(self) -> int:
        """Memory held."""
        return sum(bytes_of(part) for parts in self._parts.values() for part in parts)


def outer(inputs: Tensor, gradients: Tensor, pool: Pool) -> Contribution:
    """The product formed at once where that is cheaper: its factors need not be kept."""
    if prefer_outer_product(inputs.shape, gradients.shape):
        formed = pool.take((len(inputs), gradients.shape[2], inputs.shape[2]), inputs)
        left = gradients.transpose(1, 2).to(formed.dtype)
        return Direct(torch.bmm(left, inputs, out=formed))
    return Outer(inputs, gradients)


def unviewed(values: Tensor) -> Tensor:
    """The same numbers in the same memory, as a tensor that is nobody's view.

    Only for what the operation that made it does not keep for its backward pass: who writes to one
    is not seen to write to the other.
    """
    if not values._is_view():
        return values
    own: Tensor = torch.ops.aten._unsafe_view(values, values.shape)
    return own


def unmodified(values: Tensor, version: int, layer: str) -> None:
    """Refuses an input that was overwritten after the layer read it.

    Raises:
        InputError: Naming the layer.
    """
    if values._version != version:
        raise InputError(
            f"the input of {layer} was modified in place after the layer read it",
            "Use the operation that returns a new tensor",
        )
