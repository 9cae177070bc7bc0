"""A device that is not there: tensors that say they are on CUDA, and whose numbers are here.

Every mistake of place that a GPU would answer with an error is answered with one here: an operation
on tensors of two places, ``numpy()``, and a C function given the address of a tensor that is not on
the CPU. It is no GPU: what CUDA's own kernels compute, and in which order, is not seen.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

CUDA = torch.device("cuda", 0)
_NEVER = (Tensor.numpy, Tensor.data_ptr)


class Far(Tensor):
    """A tensor on a device of which there is none."""

    near: Tensor
    device = property(lambda self: CUDA)

    @staticmethod
    def __new__(cls, near: Tensor) -> Far:
        made: Far = torch.Tensor._make_wrapper_subclass(
            cls,
            near.size(),
            strides=near.stride(),
            storage_offset=near.storage_offset(),
            dtype=near.dtype,
            device="meta",
        )
        made.near = near
        return made

    def __repr__(self, **_: Any) -> str:
        return f"Far({self.near!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        here = False
        if kwargs.get("device") is not None:
            here = torch.device(kwargs["device"]).type == "cpu"
            kwargs["device"] = "cpu"
        leaves = pytree.tree_leaves((args, kwargs))
        if func is not torch.ops.aten.copy_.default:
            for leaf in leaves:
                if isinstance(leaf, Tensor) and not isinstance(leaf, Far) and leaf.ndim:
                    raise RuntimeError(f"{func} on tensors on cuda and on the CPU")
        elif not isinstance(args[0], Far):
            args[0].copy_(args[1].near)
            return args[0]
        near_args, near_kwargs = pytree.tree_map_only(Far, lambda t: t.near, (args, kwargs))
        result = func(*near_args, **near_kwargs)
        if here:
            return result
        result = pytree.tree_map_only(Tensor, Far, result)
        return return_and_correct_aliasing(func, args, kwargs, result)


class _Placing(TorchFunctionMode):
    """Moves tensors to where they are asked to be."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in _NEVER and isinstance(args[0], Far):
            raise TypeError(f"{func.__name__} of a tensor on cuda")
        if func is Tensor.__setitem__ and isinstance(args[0], Far):
            place, value = args[0][args[1]], args[2]
            place.copy_(value) if isinstance(value, Tensor) else place.fill_(value)
            return None
        if func is Tensor.cuda:
            func, args = Tensor.to, (args[0], CUDA)
        if func is Tensor.cpu:
            func, args = Tensor.to, (args[0], torch.device("cpu"))
        if func is Tensor.to:
            return _moved(*args, **kwargs)
        return func(*args, **kwargs)


class _Making(TorchDispatchMode):
    """Makes tensors where they are asked for; unlike the other, also in a backward pass."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        leaves = pytree.tree_leaves((args, kwargs))
        if _is_cuda(kwargs.get("device")) and not any(isinstance(x, Tensor) for x in leaves):
            return Far(func(*args, **(kwargs | {"device": "cpu", "pin_memory": None})))
        return func(*args, **kwargs)


def _is_cuda(device: Any) -> bool:
    return device is not None and torch.device(device).type == "cuda"


def _moved(values: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """``values.to(...)``, also from one place to the other."""
    more = list(args)
    device = kwargs.pop("device", None)
    for at, value in enumerate(more):
        if isinstance(value, Tensor):  # as another tensor is
            device, more[at] = value.device, value.dtype
        elif isinstance(value, str | torch.device):
            device = more.pop(at)
            break
    if device is not None and _is_cuda(device) != isinstance(values, Far):
        values = _Cross.apply(values)
    return values.to(*more, **kwargs) if more or kwargs else values


class _Cross(torch.autograd.Function):
    """From one place to the other."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return values.near.clone() if isinstance(values, Far) else Far(values.clone())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient.near.clone() if isinstance(gradient, Far) else Far(gradient.clone())


@contextlib.contextmanager
def far_device() -> Iterator[None]:
    """While it lasts, CUDA can be asked for."""

    def state(device: Any = None) -> Tensor:
        return torch.get_rng_state()

    with (
        mock.patch.object(torch.cuda, "_lazy_init", return_value=None),
        mock.patch.object(torch.cuda, "get_rng_state", state),
        mock.patch.object(torch.cuda, "set_rng_state", return_value=None),
        _Placing(),
        _Making(),
    ):
        yield


def moved(module: nn.Module) -> nn.Module:
    """The module with its parameters and buffers on the device; ties are kept."""
    known: dict[int, Any] = {}
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                if id(parameter) not in known:
                    known[id(parameter)] = nn.Parameter(
                        Far(parameter.detach().clone()), parameter.requires_grad
                    )
                part._parameters[name] = known[id(parameter)]
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = Far(buffer.clone())
        if isinstance(part, nn.RNNBase):
            part._flat_weights = [getattr(part, name) for name in part._flat_weights_names]
    return module
