"""What C does faster than torch for many small examples; see ``convolution.c``.

Everything here is optional: without a compiler the callers compute the same in torch.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from sfumato.learn.compiled import library

if TYPE_CHECKING:
    from sfumato.learn.engine.convolutions import Geometry
    from sfumato.learn.engine.pool import Pool

_FIELDS = 17  # of the struct in convolution.c


class Examples(NamedTuple):
    """A convolution's gradients by example, in float32.

    Attributes:
        weight: (n, p, kh, kw, c).
        squares: (n,) the squared norms of ``weight``.
        bias: (n, p), or None if it was not asked for.
        bias_squares: (n,), likewise.
    """

    weight: Tensor
    squares: Tensor
    bias: Tensor | None
    bias_squares: Tensor | None


Kernel = Callable[[Tensor, Tensor, "Geometry", bool, "Pool"], Examples]
"""``kernel(inputs, gradients, geometry, bias, pool)``; what :func:`fits` says yes to."""


def fits(inputs: Tensor, gradients: Tensor, geometry: Geometry) -> bool:
    """Whether the kernel can do this convolution; inputs: (n, c, h, w)."""
    return (
        len(geometry.kernel) == 2
        and geometry.groups == 1
        and not geometry.transposed
        and inputs.device.type == "cpu"
        and inputs.dtype == gradients.dtype == torch.float32
        and inputs.numel() > 0
        and gradients.numel() > 0
    )


@lru_cache(maxsize=1)
def convolution_examples() -> Kernel | None:
    """The kernel, or None where there is none."""
    found = library("engine/convolution.c")
    if found is None:
        return None
    size, run = found.scratch_size, found.convolution_examples
    pointer = ctypes.c_void_p
    size.restype, size.argtypes = ctypes.c_ssize_t, [pointer]
    run.restype, run.argtypes = None, [pointer] * 8 + [ctypes.c_int]

    def kernel(
        inputs: Tensor, gradients: Tensor, geometry: Geometry, bias: bool, pool: Pool
    ) -> Examples:
        inputs, inputs_last = _dense(inputs)
        gradients, gradients_last = _dense(gradients)
        n, channels = inputs.shape[:2]
        p = gradients.shape[1]
        fields = (ctypes.c_ssize_t * _FIELDS)(
            *(n, channels, *inputs.shape[2:], *gradients.shape[1:], *geometry.kernel),
            *(*geometry.stride, *geometry.padding, *geometry.dilation),
            *(inputs_last, gradients_last),
        )
        where = ctypes.addressof(fields)
        threads = min(torch.get_num_threads(), n)
        scratch = pool.scratch(size(where) * threads, inputs)
        weight = pool.take((n, p, *geometry.kernel, channels), inputs)
        squares = inputs.new_empty(2, n)
        shifts = inputs.new_empty(n, p) if bias else None
        run(
            where,
            inputs.data_ptr(),
            gradients.data_ptr(),
            scratch.data_ptr(),
            weight.data_ptr(),
            None if shifts is None else shifts.data_ptr(),
            squares[0].data_ptr(),
            squares[1].data_ptr(),
            threads,
        )
        return Examples(weight, squares[0], shifts, squares[1] if bias else None)

    return kernel


def _dense(values: Tensor) -> tuple[Tensor, bool]:
    """The values without gaps, and whether channels are last in memory."""
    if values.is_contiguous():
        return values, values.shape[1] == 1
    if values.is_contiguous(memory_format=torch.channels_last):
        return values, True
    return values.contiguous(), False
