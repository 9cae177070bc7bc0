"""A look at a module before its first step: the examples are apart, and in dimension 0.

Nor do they reach a buffer: it would be saved with the weights, and no noise is on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from sfumato.errors import InputError


def probe_size(n: int) -> int:
    """A number of examples other than ``n``, and at least two.

    A dimension that only happens to have the length of the batch has another one now.
    """
    return 3 if n != 3 else 2


def probe(module: nn.Module, args: tuple[Any, ...], size: int) -> None:
    """Runs the module on copies of one example, once as they are, once with a spoilt last one.

    Where a value of the last example reaches another's output, or a buffer, NaN reaches it as well.
    Integer inputs cannot be spoilt: for them only the place of the examples is looked at, and the
    rest is for ``apart``. Buffers are left as they were.

    Args:
        module: While it is recorded, such that every layer looks at its input's shape.
        args: Its arguments, at least one example in dimension 0.
        size: How many copies.

    Raises:
        InputError: If the examples are elsewhere, are mixed, or reach a buffer.
    """
    with buffers_kept(module):
        _probe(module, args, size)


@contextmanager
def buffers_kept(module: object) -> Iterator[None]:
    """Gives a module its buffers back as they were; what is no module has none."""
    if not isinstance(module, nn.Module):
        yield
        return
    before = {
        name: (buffer, buffer.clone(), buffer._version)
        for name, buffer in module.named_buffers()
        if not buffer.is_inference()  # nobody writes to these
    }
    try:
        yield
    finally:
        for name, (buffer, value, version) in before.items():
            if buffer._version != version:
                with torch.no_grad():
                    buffer.copy_(value)
            place, _, own = name.rpartition(".")
            setattr(module.get_submodule(place), own, buffer)


def buffer_refused(module: nn.Module, name: str) -> InputError:
    """What is said of a buffer that holds something of the examples."""
    return InputError(
        f"{type(module).__name__} keeps a buffer {name!r} that examples reach",
        "It is saved with the weights, without noise: leave it as it is while it trains",
    )


def _probe(module: nn.Module, args: tuple[Any, ...], size: int) -> None:
    copies = pytree.tree_map_only(Tensor, _copies(size), args)
    devices = {leaf.device for leaf in pytree.tree_leaves(args) if isinstance(leaf, Tensor)}
    cuda = [device.index for device in devices if device.type == "cuda"]
    with torch.no_grad(), torch.random.fork_rng(cuda):
        apart = _finite(module(*copies), size)
        if not any(
            isinstance(leaf, Tensor) and leaf.is_floating_point()
            for leaf in pytree.tree_leaves(copies)
        ):
            return
        clean = _holes(module)
        spoilt = pytree.tree_map_only(Tensor, _spoil, copies)
        try:
            mixed = _finite(module(*spoilt), size)
        except (ValueError, LookupError, ArithmeticError, RuntimeError):
            return  # a module may refuse NaN
    for name, count in _holes(module).items():
        if count > clean.get(name, 0):
            raise buffer_refused(module, name)
    if bool((apart[:-1] & ~mixed[:-1]).any()):
        raise InputError(
            f"{type(module).__name__} mixes examples: one example's input reaches another's output",
            "Compute statistics within each example (GroupNorm, LayerNorm), not over the batch",
        )


def _holes(module: nn.Module) -> dict[str, int]:
    """How many numbers of each buffer are not finite.

    Raises:
        InputError: If one is an example's own, and cannot be read.
    """
    holes = {}
    for name, buffer in module.named_buffers():
        if is_wrapped(buffer):
            raise buffer_refused(module, name)
        if buffer.is_floating_point():
            holes[name] = int(buffer.numel() - buffer.isfinite().sum())
    return holes


def is_wrapped(values: Tensor) -> bool:
    """Whether it belongs to a ``vmap``, which may have ended."""
    return bool(torch._C._functorch.is_functorch_wrapped_tensor(values))


def _copies(size: int) -> Callable[[Tensor], Tensor]:
    def copy(values: Tensor) -> Tensor:
        return values[:1].expand(size, *values.shape[1:]).clone()

    return copy


def _spoil(values: Tensor) -> Tensor:
    if not values.is_floating_point():
        return values
    values = values.clone()
    values[-1] = math.nan
    return values


def _finite(outputs: Any, size: int) -> Tensor:
    """(size,) whether all outputs of an example are finite."""
    finite = torch.ones(size, dtype=torch.bool)
    for leaf in pytree.tree_leaves(outputs):
        if isinstance(leaf, Tensor) and leaf.ndim > 0 and leaf.shape[0] == size:
            finite &= leaf.reshape(size, -1).isfinite().all(1).cpu()
    return finite
