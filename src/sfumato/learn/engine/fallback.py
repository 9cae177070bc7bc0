"""Any module without a function of its own: ``torch.func`` on that module only.

Forward and backward run under ``vmap``, one example at a time in meaning; the forward is run
again for the backward with the same random numbers. Where ``vmap`` has no rule for an operation,
a loop over the examples takes its place: slow, and exact.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import _pytree as pytree

from sfumato.errors import InputError
from sfumato.functional import slots
from sfumato.learn.engine.contributions import Direct, wide
from sfumato.learn.engine.tape import Tape, unviewed

_A_TENSOR = object()
"""Stands for one among the outputs; a module may return None besides."""

RandomState = tuple[Tensor, Tensor | None]
"""Of the CPU's generator, and of the device's."""


def fallback(
    module: nn.Module, forward: Callable[..., Any], tape: Tape, *args: Any, **kwargs: Any
) -> Any:
    """Stands for ``forward`` of a module and all that is below it.

    Tensors whose dimension 0 counts the examples are taken apart; others are shared.
    """
    leaves, spec = pytree.tree_flatten((args, kwargs))
    mapped = tape.examples(module, leaves)
    place = tape.place(module)
    for i, leaf in enumerate(leaves):
        if isinstance(leaf, Tensor) and leaf.requires_grad and i not in mapped:
            tape.check(leaf, place)
    if not mapped:
        # Nothing of an example goes in: what comes out is found as used outside its layer.
        return forward(*args, **kwargs)
    call = _Call(module, forward, tape, leaves, spec, mapped, place)
    outputs: tuple[Tensor, ...] = _PerExample.apply(  # type: ignore[no-untyped-call]
        call, tape.anchor, *(leaves[i] for i in mapped)
    )
    return call.rebuild(outputs)


class _Holder(nn.Module):
    """Makes ``functional_call`` run the module's own forward, without its hooks once more."""

    def __init__(self, inner: nn.Module, forward: Callable[..., Any]) -> None:
        super().__init__()
        self.inner = inner
        self._forward = forward
        self.training = inner.training

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._forward(*args, **kwargs)


class _Call:
    """One call of the module: how to run it for one example, and how to pull gradients back."""

    def __init__(
        self,
        module: nn.Module,
        forward: Callable[..., Any],
        tape: Tape,
        leaves: Sequence[Any],
        spec: pytree.TreeSpec,
        mapped: Sequence[int],
        place: str,
    ) -> None:
        self.tape, self.place = tape, place
        self._holder = _Holder(module, forward)
        self._spec, self._mapped = spec, list(mapped)
        self._shared = [None if i in mapped else leaf for i, leaf in enumerate(leaves)]
        self._trainable = {
            name: parameter
            for name, parameter in module.named_parameters()
            if tape.wants(parameter)
        }
        self._buffers = dict(module.named_buffers())
        self._slots = slots(module)
        self._values = {name: value.detach() for name, value in self._trainable.items()}
        self._kind = tape.anchor.device.type
        self._autocast = (
            torch.is_autocast_enabled(self._kind),
            torch.get_autocast_dtype(self._kind),
        )
        self._random = random_state(self._kind)
        self._looped = self._drew = False
        self._out_spec: pytree.TreeSpec | None = None
        self._constants: list[Any] = []

    def _one(self, values: dict[str, Tensor], inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The tensors that the module returns for one example."""
        leaves = list(self._shared)
        for i, value in zip(self._mapped, inputs, strict=True):
            leaves[i] = value.unsqueeze(0)
        args, kwargs = pytree.tree_unflatten(leaves, self._spec)
        # Not left to torch: of a part with two names it would put back what stood in for a weight.
        own = {f"inner.{slot}": value for n, value in values.items() for slot in self._slots[n]}
        output = functional_call(self._holder, own, args, kwargs, tie_weights=False)
        flat, self._out_spec = pytree.tree_flatten(output)
        self._constants = [_A_TENSOR if isinstance(leaf, Tensor) else leaf for leaf in flat]
        results = []
        for leaf in flat:
            if isinstance(leaf, Tensor):
                if leaf.ndim == 0 or leaf.shape[0] != 1:
                    raise InputError(
                        f"{self.place} returns shape {tuple(leaf.shape)} for one example",
                        "Return tensors with the examples in dimension 0",
                    )
                results.append(leaf.squeeze(0))
        return tuple(results)

    def run(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The outputs for all examples."""

        def one(*values: Tensor) -> tuple[Tensor, ...]:
            return self._one(self._values, values)

        # vmap has no rule for the fused attention kernels.
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            try:
                outputs = tuple(vmap(one, randomness="different")(*inputs))
                self._drew = not same_random(self._random, random_state(self._kind))
                return outputs
            except InputError:
                raise
            except (RuntimeError, ValueError, NotImplementedError):
                # vmap refuses in each of these; a fault of the module itself shows again below.
                self._looped = True
            restore_random(self._kind, self._random)
            rows = [one(*(value[i] for value in inputs)) for i in range(self.tape.n)]
            return tuple(torch.stack(column) for column in zip(*rows, strict=True))

    def pull(self, inputs: Sequence[Tensor], gradients: Sequence[Tensor]) -> list[Tensor | None]:
        """Records the parameters' gradients; returns the inputs'."""
        records = self.tape.records
        floating = [i for i, value in enumerate(inputs) if value.is_floating_point()]

        def back(*tensors: Tensor) -> tuple[dict[str, Tensor], tuple[Tensor, ...]]:
            values, pulled = tensors[: len(inputs)], tensors[len(inputs) :]

            def outputs(
                parameters: dict[str, Tensor], moved: tuple[Tensor, ...]
            ) -> tuple[Tensor, ...]:
                whole = list(values)
                for i, value in zip(floating, moved, strict=True):
                    whole[i] = value
                # The forward was run before: what it writes to its buffers is written.
                again = {name: value.clone() for name, value in self._buffers.items()}
                results = self._one(parameters | again, whole)
                return tuple(result for result in results if result.is_floating_point())

            moving = tuple(values[i] for i in floating)
            if self._looped:
                return self._plain(outputs, moving, pulled)
            results, pull, *_ = vjp(outputs, self._values, moving)
            parameters, moved = pull(self._typed(pulled, results))
            return parameters, moved

        enabled, dtype = self._autocast
        with (
            _drawn_again(self._kind, self._random),
            torch.autocast(self._kind, dtype=dtype, enabled=enabled),
            sdpa_kernel(SDPBackend.MATH),
        ):
            parameters, moved = self._pulled(back, (*inputs, *gradients))
        for name, gradient in parameters.items() if records else ():
            self.tape.add(self._trainable[name], Direct(wide(gradient)))
        result: list[Tensor | None] = [None] * len(inputs)
        for i, gradient in zip(floating, moved, strict=True):
            result[i] = gradient
        return result

    def _pulled(
        self, back: Callable[..., Any], tensors: Sequence[Tensor]
    ) -> tuple[dict[str, Tensor], tuple[Tensor, ...]]:
        """``back`` of every example, as one call or one after the other."""
        if not self._looped:
            try:
                found: tuple[dict[str, Tensor], tuple[Tensor, ...]]
                found = vmap(back, randomness="different")(*tensors)
                return found
            except (RuntimeError, ValueError, NotImplementedError):  # as in ``run``
                if self._drew:  # one after the other they would draw other numbers
                    raise
                self._looped = True
        rows = [back(*(tensor[i] for tensor in tensors)) for i in range(self.tape.n)]
        parameters = {name: torch.stack([row[0][name] for row in rows]) for name in self._values}
        columns = zip(*(row[1] for row in rows), strict=True)
        return parameters, tuple(torch.stack(column) for column in columns)

    def _typed(self, pulled: Sequence[Tensor], results: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The outputs' gradients, in the outputs' types."""
        if not self._autocast[0]:
            return tuple(pulled)
        return tuple(p.to(r.dtype) for p, r in zip(pulled, results, strict=True))

    def _plain(
        self,
        outputs: Callable[[dict[str, Tensor], tuple[Tensor, ...]], tuple[Tensor, ...]],
        moving: Sequence[Tensor],
        pulled: Sequence[Tensor],
    ) -> tuple[dict[str, Tensor], tuple[Tensor, ...]]:
        """One example by plain autograd, which takes what ``torch.func`` refuses.

        Such as an ``autograd.Function`` of the older kind, without ``setup_context``.
        """
        values = {name: value.detach().requires_grad_() for name, value in self._values.items()}
        moved = tuple(value.detach().requires_grad_() for value in moving)
        sources = (*values.values(), *moved)
        with torch.enable_grad():
            results = outputs(values, moved)
        reached = [r.requires_grad for r in results]
        gradients = torch.autograd.grad(
            [r for r, there in zip(results, reached, strict=True) if there],
            sources,
            [p for p, there in zip(self._typed(pulled, results), reached, strict=True) if there],
            allow_unused=True,
        )
        found = [
            torch.zeros_like(source) if gradient is None else _dense(gradient)
            for source, gradient in zip(sources, gradients, strict=True)
        ]
        return dict(zip(values, found, strict=False)), tuple(found[len(values) :])

    def rebuild(self, outputs: Sequence[Tensor]) -> Any:
        """What the module returns, from its tensors."""
        assert self._out_spec is not None
        left = iter(outputs)
        flat = [next(left) if own is _A_TENSOR else own for own in self._constants]
        return pytree.tree_unflatten(flat, self._out_spec)


class _PerExample(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, call: _Call, anchor: Tensor, *inputs: Tensor) -> Any:
        ctx.call = call
        ctx.save_for_backward(*inputs)
        # Not as views, which whoever goes on with them could not write to in place; but what lies
        # in an input's memory stays one, so that torch refuses that: the backward pass reads it.
        kept = {value.untyped_storage().data_ptr() for value in inputs}
        outputs = tuple(
            output if output.untyped_storage().data_ptr() in kept else unviewed(output)
            for output in call.run(inputs)
        )
        ctx.mark_non_differentiable(*(o for o in outputs if not o.is_floating_point()))
        ctx.floating = [o.is_floating_point() for o in outputs]
        return outputs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        kept = [g for g, floating in zip(gradients, ctx.floating, strict=True) if floating]
        return None, None, *ctx.call.pull(ctx.saved_tensors, kept)


def _dense(gradient: Tensor) -> Tensor:
    """Whole, where a layer with ``sparse=True`` names the rows that it touched."""
    return gradient.to_dense() if gradient.is_sparse else gradient


def random_state(kind: str) -> RandomState:
    """The states of the generators of the CPU and of the device of this type."""
    return torch.get_rng_state(), torch.cuda.get_rng_state() if kind == "cuda" else None


def restore_random(kind: str, state: RandomState) -> None:
    """Sets what :func:`random_state` gave."""
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1])


def same_random(before: RandomState, after: RandomState) -> bool:
    """Whether nothing was drawn in between."""
    pairs = zip(before, after, strict=True)
    return all(x is None or y is None or torch.equal(x, y) for x, y in pairs)


@contextlib.contextmanager
def _drawn_again(kind: str, state: RandomState) -> Iterator[None]:
    """Dropout must draw the forward's numbers again, and disturb nobody else's."""
    after = random_state(kind)
    restore_random(kind, state)
    try:
        yield
    finally:
        restore_random(kind, after)
