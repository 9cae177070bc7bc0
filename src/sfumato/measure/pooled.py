"""A 3x3 convolution, 2x2 max-pooling and ReLU as one operation; see ``pooled.c``."""

from __future__ import annotations

import ctypes
from collections import OrderedDict
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from sfumato.compiled import library

_LANES = 16  # as in pooled.c
_FLAGS = {
    "AVX2": ("-mavx2", "-mfma"),
    "AVX512": (
        *("-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx512bw", "-mfma"),
        "-mprefer-vector-width=512",
    ),
}
_MOST = 1 << 30  # numbers of the inputs; places in a picture are of 32 bits
_LAST = torch.channels_last
_POINTER = ctypes.c_void_p


def convolve(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """ReLU of the largest in each 2x2 window of a 3x3 convolution with a border of one zero.

    As torch computes it, up to rounding; several times faster, gradients included, where the
    kernel can be compiled and takes the tensors (float32, on the CPU, p a multiple of 16).

    Args:
        inputs: (n, c, h, w).
        weight: (p, c, 3, 3).
        bias: (p,).

    Returns:
        (n, p, h/2, w/2), rounded up.

    >>> import torch
    >>> convolve(torch.ones(1, 1, 3, 3), torch.ones(16, 1, 3, 3), torch.zeros(16))[0, 0]
    tensor([[9., 6.],
            [6., 4.]])
    """
    if _kernels() is not None and _fits(inputs, weight, bias):
        found: Tensor = _Convolution.apply(inputs, weight, bias)  # type: ignore[no-untyped-call]
        return found
    made = functional.conv2d(
        inputs.contiguous(memory_format=_LAST), weight.clone(memory_format=_LAST), bias, padding=1
    )
    return functional.relu(functional.max_pool2d(made, 2, ceil_mode=True))


class Pooled(nn.Conv2d):
    """A convolution layer that :func:`convolve` computes, pooling and ReLU with it."""

    def forward(self, inputs: Tensor) -> Tensor:
        """(n, p, h/2, w/2), rounded up, of (n, c, h, w)."""
        assert self.bias is not None
        return convolve(inputs, self.weight, self.bias)


def fused(model: nn.Sequential) -> nn.Sequential:
    """The same network, of the same parameters by the same names, by :func:`convolve` where it can.

    >>> made = nn.Sequential(
    ...     nn.Conv2d(1, 16, 3, padding=1), nn.MaxPool2d(2, ceil_mode=True), nn.ReLU(), nn.Flatten()
    ... )
    >>> [(name, type(layer).__name__) for name, layer in fused(made).named_children()]
    [('0', 'Pooled'), ('3', 'Flatten')]
    """
    layers = list(model.named_children())
    made: dict[str, nn.Module] = {}
    while layers:
        name, layer = layers.pop(0)
        if isinstance(layer, nn.Conv2d) and _is_pooled(layer, [part for _, part in layers[:2]]):
            del layers[:2]
            pooled = Pooled(layer.in_channels, layer.out_channels, 3, padding=1, device="meta")
            pooled.weight, pooled.bias = layer.weight, layer.bias
            made[name] = pooled
        else:
            made[name] = layer
    return nn.Sequential(OrderedDict(made))


def _is_pooled(layer: nn.Conv2d, behind: list[nn.Module]) -> bool:
    """Whether a convolution and the two layers behind it are what :func:`convolve` computes."""
    if [type(part) for part in (layer, *behind)] != [nn.Conv2d, nn.MaxPool2d, nn.ReLU]:
        return False
    plain = nn.Conv2d(layer.in_channels, layer.out_channels, 3, padding=1, device="meta")
    pool = nn.MaxPool2d(2, ceil_mode=True)
    return str(layer) == str(plain) and str(behind[0]) == str(pool)


def _fits(inputs: Tensor, weight: Tensor, bias: Tensor) -> bool:
    p, channels = weight.shape[:2]
    return (
        all(t.device.type == "cpu" and t.dtype == torch.float32 for t in (inputs, weight, bias))
        and 0 < inputs.numel() < _MOST
        and p % _LANES == 0
        and not (inputs.requires_grad and channels % _LANES)
    )


@lru_cache(maxsize=1)
def _kernels() -> ctypes.CDLL | None:
    flags = _FLAGS.get(torch.backends.cpu.get_cpu_capability(), ())
    found = library(Path(__file__).parent / "pooled.c", *flags)
    if found is not None:
        found.pooled_scratch.restype = ctypes.c_ssize_t
        found.pooled_scratch.argtypes = [_POINTER]
        found.pooled_forward.restype = found.pooled_backward.restype = None
        found.pooled_forward.argtypes = [_POINTER] * 7
        found.pooled_backward.argtypes = [_POINTER] * 9
    return found


class _Convolution(torch.autograd.Function):
    """What :func:`convolve` does, by the kernel."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        kernels = _kernels()
        assert kernels is not None
        n, c, h, w = inputs.shape
        p = len(weight)
        sizes = (ctypes.c_ssize_t * 5)(n, c, h, w, p)
        where = ctypes.addressof(sizes)
        pictures = inputs.permute(0, 2, 3, 1).contiguous()
        scratch = pictures.new_empty(kernels.pooled_scratch(where))
        out = pictures.new_empty(n, -(-h // 2), -(-w // 2), p)
        which = torch.empty_like(out, dtype=torch.uint8)
        turned = weight.permute(2, 3, 1, 0).contiguous()
        kernels.pooled_forward(
            where,
            *(t.data_ptr() for t in (pictures, turned, bias.contiguous(), scratch, out, which)),
        )
        ctx.sizes, ctx.scratch = sizes, scratch
        ctx.save_for_backward(pictures, weight, which)
        return out.permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        kernels = _kernels()
        assert kernels is not None
        pictures, weight, which = ctx.saved_tensors
        p, c = weight.shape[:2]
        gradients = gradient.permute(0, 2, 3, 1).contiguous()
        turned = weight.permute(0, 2, 3, 1).contiguous()
        back = torch.empty_like(pictures) if ctx.needs_input_grad[0] else None
        sums = pictures.new_zeros((3, 3, c, p) if c % _LANES else (p, 3, 3, c))
        shifts = pictures.new_zeros(p)
        kernels.pooled_backward(
            ctypes.addressof(ctx.sizes),
            *(t.data_ptr() for t in (pictures, gradients, which, turned, ctx.scratch)),
            *(sums.data_ptr(), shifts.data_ptr()),
            None if back is None else back.data_ptr(),
        )
        formed = sums.permute(3, 2, 0, 1) if c % _LANES else sums.permute(0, 3, 1, 2)
        return None if back is None else back.permute(0, 3, 1, 2), formed, shifts
