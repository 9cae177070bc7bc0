"""What C does faster than torch for many small examples; see ``convolution.c`` and ``rows.c``.

Everything here is optional: without a compiler the callers compute the same in torch.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from sfumato.compiled import library

if TYPE_CHECKING:
    from sfumato.learn.engine.convolutions import Geometry
    from sfumato.learn.engine.pool import Pool

_FOLDER = Path(__file__).parent
_FIELDS = 17  # of the struct in convolution.c
_NUMBERS_PER_THREAD = 1 << 15  # with fewer, starting threads costs more than they save


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
    found = library(_FOLDER / "convolution.c")
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


class Rows:
    """Squared norms and weighted sums of many tensors' rows, each in one call.

    Tensors are (n, ...) float32 on the CPU without gaps in memory; :meth:`takes` says so.
    """

    def __init__(self, found: ctypes.CDLL) -> None:
        self._norms, self._add = found.squared_norms, found.add_weighted
        for function in (self._norms, self._add):
            function.restype = None
            function.argtypes = [
                *(ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_ssize_t),
                ctypes.c_int,
            ]

    @staticmethod
    def takes(values: Tensor) -> bool:
        """Whether the tensor is of the kind that can be read."""
        return (
            values.dtype == torch.float32
            and values.device.type == "cpu"
            and values.is_contiguous()
            and values.numel() > 0
        )

    def squared_norms(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """(n,) of each; a tensor given twice is read once."""
        n = tensors[0].shape[0]
        places: dict[tuple[int, int], int] = {}
        keys = [(tensor.data_ptr(), tensor.numel()) for tensor in tensors]
        for key in keys:
            places.setdefault(key, len(places))
        results = tensors[0].new_empty(len(places), n)
        start, step = results.data_ptr(), n * results.element_size()
        fields: list[int | None] = []
        for (where, numbers), place in places.items():
            fields += (where, numbers // n, None, start + place * step)
        self._call(self._norms, fields, n)
        rows = results.unbind()
        return [rows[places[key]] for key in keys]

    def add_weighted(self, tensors: Sequence[tuple[Tensor, Tensor, Tensor]]) -> None:
        """``total += factors @ values`` for each (values, factors, total); totals without gaps."""
        n = tensors[0][0].shape[0]
        fields: list[int | None] = []
        for values, factors, total in tensors:
            fields += (values.data_ptr(), values.numel() // n)
            fields += (factors.data_ptr(), total.data_ptr())
        self._call(self._add, fields, n)

    def _call(self, function: Callable[..., None], fields: list[int | None], n: int) -> None:
        array = (ctypes.c_void_p * len(fields))(*fields)
        numbers = n * sum(width or 0 for width in fields[1::4])
        threads = torch.get_num_threads() if numbers > _NUMBERS_PER_THREAD else 1
        function(ctypes.addressof(array), len(fields) // 4, n, threads)


@lru_cache(maxsize=1)
def rows() -> Rows | None:
    """The kernels of ``rows.c``, or None where there are none."""
    found = library(_FOLDER / "rows.c")
    return None if found is None else Rows(found)


Affine = Callable[[Tensor, Tensor, Tensor, Tensor], "tuple[Tensor, Tensor] | None"]
"""``kernel(inputs, gradients, mean, inverse)``: each example's gradients of a group norm's scale
and shift, (n, c) each; inputs and gradients (n, c, ...), mean and inverse deviation (n, groups).
None if it cannot."""


@lru_cache(maxsize=1)
def affine_examples() -> Affine | None:
    """The kernel of ``affine.c``, or None where there is none."""
    found = library(_FOLDER / "affine.c")
    if found is None:
        return None
    run = found.affine_examples
    run.restype, run.argtypes = ctypes.c_int, [ctypes.c_void_p, ctypes.c_int]

    def kernel(
        inputs: Tensor, gradients: Tensor, mean: Tensor, inverse: Tensor
    ) -> tuple[Tensor, Tensor] | None:
        tensors = (inputs, gradients, mean, inverse)
        if inputs.numel() == 0 or any(
            t.dtype != torch.float32 or t.device.type != "cpu" for t in tensors
        ):
            return None
        inputs, last = _dense(inputs) if inputs.ndim == 4 else (inputs.contiguous(), False)
        order = torch.channels_last if last else torch.contiguous_format
        gradients = gradients.contiguous(memory_format=order)
        mean, inverse = mean.contiguous(), inverse.contiguous()
        n, channels = inputs.shape[:2]
        scale, shift = inputs.new_empty(n, channels), inputs.new_empty(n, channels)
        read = (inputs, gradients, mean, inverse, scale, shift)
        fields = (ctypes.c_ssize_t * 11)(
            *(tensor.data_ptr() for tensor in read),
            *(n, channels, inputs.numel() // (n * channels), mean.shape[1], last),
        )
        code = run(ctypes.addressof(fields), min(torch.get_num_threads(), n))
        return (scale, shift) if code == 0 else None

    return kernel
