"""Gaussian noise by kernels in C; see ``gaussian.c``. Without them it is made in torch."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from sfumato.compiled import library

Kernel = Callable[[bytes, Tensor, float, float, float], None]
"""``kernel(words, values, stddev, inverse, scale)``; see gaussian.c."""

FreshKernel = Callable[[Tensor, float, float, float], bool]
"""``kernel(values, stddev, inverse, scale)``: whether it was done."""

_SOURCE = Path(__file__).with_suffix(".c")
_POINTER, _SIZE, _DOUBLE = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_double


@lru_cache(maxsize=1)
def kernel() -> Kernel | None:
    """Noise from given words on contiguous float32 tensors on the CPU; None where there is none."""
    found = library(_SOURCE)
    if found is None:
        return None
    function = found.add_gaussian
    function.restype = None
    function.argtypes = [ctypes.c_char_p, _POINTER, _SIZE, _DOUBLE, _DOUBLE, _DOUBLE]

    def call(words: bytes, values: Tensor, stddev: float, inverse: float, scale: float) -> None:
        function(words, values.data_ptr(), values.numel(), stddev, inverse, scale)

    return call


@lru_cache(maxsize=1)
def fresh_kernel() -> FreshKernel | None:
    """Noise from a cipher stream of its own, likewise; None where there is none."""
    found = library(_SOURCE)
    if found is None:
        return None
    function = found.add_fresh_gaussian
    function.restype = ctypes.c_int
    function.argtypes = [
        ctypes.c_char_p,
        *(_POINTER, _SIZE, _DOUBLE, _DOUBLE, _DOUBLE),
        ctypes.c_int,
    ]

    def call(values: Tensor, stddev: float, inverse: float, scale: float) -> bool:
        threads = torch.get_num_threads()
        where, n = values.data_ptr(), values.numel()
        return bool(function(None, where, n, stddev, inverse, scale, threads) == 0)

    return call
