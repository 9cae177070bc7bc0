"""Gaussian noise on tensors, from a cryptographic stream.

:data:`STREAM` is AES in counter mode. Where there is a compiler, ``gaussian.c`` makes it for
tensors on the CPU with the processor's instructions, in all threads, under a key that it asks the
operating system for at every call and wipes; elsewhere it is OpenSSL's generator, reached through
Python's ``ssl``: keyed and re-keyed from the operating system, apart in every thread and every
forked child. No key is ever seen here, so there is nothing to store and nothing to resume: after a
restart the noise is fresh. A :class:`~sfumato.privacy.noise.SeededSource` may take its place in
tests only; whoever knows the seed can remove the noise.

**Against floating-point attacks** (Mironov 2012) nothing is released as a float sum. Value and
noise are added in float64, and the sum is rounded to a public grid of between ``stddev / 2**21``
and ``stddev / 2**20``: every output is possible for every input, and rounding a noisy sum is
post-processing, so it costs no sensitivity. What is left: a draw is off by less than ``2**-46``
standard deviations (float64 arithmetic), which moves the border of a cell by less than ``2**-25``
of its width, and nothing lies beyond 9.4 standard deviations (probability below ``2**-63``). That
is not accounted; :func:`sfumato.privacy.noise.gaussian` is exact and forty times slower.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from sfumato.errors import InputError
from sfumato.learn import gaussian
from sfumato.privacy.noise import NoiseSource, SecureSource
from sfumato.privacy.transcript import seen

try:
    from ssl import RAND_bytes
except ImportError:  # a Python without OpenSSL: the operating system, thirteen times slower
    from os import urandom as RAND_bytes

GRID_BITS = 20
_BLOCK = {"cpu": 1 << 16}  # numbers at a time: on a CPU everything stays in the cache
_LARGE_BLOCK = 1 << 22
_WORD = 8


class CipherStream(SecureSource):
    """A cryptographic generator in this process, for noise by the million.

    Safe to share between threads; a forked child draws other numbers than its parent.
    """

    name = "cipher stream keyed from os-entropy"
    secure = True

    def __reduce__(self) -> tuple[type[CipherStream], tuple[()]]:
        return CipherStream, ()

    def bytes(self, n: int) -> builtins.bytes:
        """``n`` fresh bytes."""
        return RAND_bytes(n)


STREAM: NoiseSource = CipherStream()


class Noise(Protocol):
    """What the sums of one training are noised with, step by step."""

    def add(
        self,
        step: int,
        tensors: Sequence[Tensor],
        stddevs: Sequence[float],
        source: NoiseSource,
        *,
        divisor: float,
    ) -> list[Tensor]:
        """``(tensor + noise) / divisor``, as :func:`add_gaussian`; the tensors may be overwritten.

        Args:
            step: Steps begun before this one.
            tensors: The sums of one step.
            stddevs: Of each tensor, before the division.
            source: Where the bits come from.
            divisor: The public, expected batch size.
        """
        ...


class Independent:
    """Every step's noise by itself."""

    def add(
        self,
        step: int,
        tensors: Sequence[Tensor],
        stddevs: Sequence[float],
        source: NoiseSource,
        *,
        divisor: float,
    ) -> list[Tensor]:
        """See :class:`Noise`."""
        return add_gaussian(tensors, stddevs, source, divisor=divisor, reuse=True)


def standard_gaussian(
    n: int, source: NoiseSource = STREAM, device: torch.device | str = "cpu"
) -> Tensor:
    """``n`` independent standard Gaussian numbers, (n,) float64, by Box and Muller's method.

    64 bits make a radius, whose tail therefore reaches 9.4, and 64 bits an angle.
    """
    pairs = (n + 1) // 2
    words = torch.frombuffer(bytearray(_words(n, source) or _WORD), dtype=torch.int64)
    words = words[: 2 * pairs].to(device)
    # Small magnitudes, which make the tail, are exact in float64; 2**63 itself becomes 1.
    radius = words[:pairs].double().abs_().add_(0.5).mul_(2.0**-63).log_().mul_(-2.0).sqrt_()
    angle = words[pairs:].double().mul_(math.pi * 2.0**-63)
    drawn = torch.empty(2 * pairs, dtype=torch.float64, device=device)
    torch.mul(radius, torch.cos(angle), out=drawn[:pairs])
    torch.mul(radius, angle.sin_(), out=drawn[pairs:])
    return drawn[:n]


def add_gaussian(
    tensors: Sequence[Tensor],
    stddevs: Sequence[float],
    source: NoiseSource = STREAM,
    *,
    divisor: float = 1.0,
    reuse: bool = False,
) -> list[Tensor]:
    """``(tensor + noise) / divisor`` for each tensor; every coordinate has a draw of its own.

    Args:
        tensors: Of any shapes, on one device.
        stddevs: The noise of each tensor, before the division.
        source: Where the bits come from.
        divisor: A public number, such as the expected batch size.
        reuse: The tensors may be overwritten: results lie in their memory where that is possible.

    Returns:
        Float32 tensors, shaped like ``tensors``. Before the division each is on the grid of its
        ``stddev``.

    Raises:
        InputError: If a standard deviation is not a positive, finite number.
    """
    check_stddevs(stddevs)
    tensors = [tensor.detach() for tensor in tensors]
    if not tensors or tensors[0].device.type != "cuda":  # not every other device knows float64
        noisy = [_own(tensor.cpu(), reuse) for tensor in tensors]
        for tensor, stddev in zip(noisy, stddevs, strict=True):
            _add(tensor.view(-1), stddev, source, divisor)
        return seen([new.to(t.device) for new, t in zip(noisy, tensors, strict=True)])
    # Here many small calls cost more than one copy.
    flat = torch.cat([tensor.reshape(-1).float() for tensor in tensors])
    sizes = [tensor.numel() for tensor in tensors]
    start = 0
    for end, stddev in _runs(sizes, stddevs):
        _add(flat[start:end], stddev, source, divisor)
        start = end
    parts = torch.split(flat, sizes)
    return seen([part.view(t.shape) for part, t in zip(parts, tensors, strict=True)])


def check_stddevs(stddevs: Sequence[float]) -> None:
    """Refuses noise that is none.

    Raises:
        InputError: If a standard deviation is not a positive, finite number.
    """
    for stddev in stddevs:
        if not 0 < stddev < math.inf:
            raise InputError(f"a noise stddev is {stddev!r}", "Give a positive, finite number.")


def _own(tensor: Tensor, reuse: bool) -> Tensor:
    """The tensor as contiguous float32, in memory that may be overwritten."""
    plain = tensor.float().contiguous()
    return plain if reuse or plain is not tensor else plain.clone()


def block(device: torch.device) -> int:
    """How many numbers are best drawn at a time."""
    return _BLOCK.get(device.type, _LARGE_BLOCK)


def grid_step(stddev: float) -> float:
    """The power of two that noisy sums are multiples of."""
    return math.ldexp(1.0, math.frexp(stddev)[1] - 1 - GRID_BITS)


def _runs(sizes: Sequence[int], stddevs: Sequence[float]) -> list[tuple[int, float]]:
    """Ends of the stretches that share one standard deviation."""
    runs: list[tuple[int, float]] = []
    end = 0
    for size, stddev in zip(sizes, stddevs, strict=True):
        end += size
        if runs and runs[-1][1] == stddev:
            runs.pop()
        runs.append((end, stddev))
    return runs


def _words(n: int, source: NoiseSource) -> builtins.bytes:
    """Two words for each pair of ``n`` numbers."""
    return source.bytes(2 * _WORD * ((n + 1) // 2))


def _add(values: Tensor, stddev: float, source: NoiseSource, divisor: float) -> None:
    """Replaces ``values``, (n,) float32, by its noisy self over ``divisor``."""
    step = grid_step(stddev)
    inverse, scale = 1 / step, step / divisor
    on_cpu = values.device.type == "cpu"
    if on_cpu and type(source) is CipherStream:
        fresh = gaussian.fresh_kernel()
        if fresh is not None and fresh(values, stddev, inverse, scale):
            return
    fast = gaussian.kernel() if on_cpu else None
    for part in torch.split(values, block(values.device)):
        if fast is not None:
            fast(_words(len(part), source), part, stddev, inverse, scale)
            continue
        noisy = standard_gaussian(len(part), source, part.device).mul_(stddev).add_(part)
        part.copy_(noisy.mul_(inverse).round_().mul_(scale))


def add_gaussian_double(values: Tensor, stddev: float, source: NoiseSource = STREAM) -> Tensor:
    """``values + noise`` for float64 sums so large that float32 would lose what one record adds.

    Rounding a sum of 60,000 unit vectors to float32 moves it by more than :data:`MARGIN
    <sfumato.learn.clipping.MARGIN>` leaves room for; a float64 sum is noised as it is.

    Args:
        values: (n,) float64, on the CPU.
        stddev: Of the noise.
        source: Where the bits come from.

    Returns:
        (n,) float64 on the grid of ``stddev``; every coordinate has a draw of its own.

    Raises:
        InputError: If the standard deviation is not a positive, finite number.
    """
    if not 0 < stddev < math.inf:
        raise InputError(f"a noise stddev is {stddev!r}", "Give a positive, finite number.")
    step = grid_step(stddev)
    noisy = standard_gaussian(len(values), source).mul_(stddev).add_(values.double())
    return seen(noisy.div_(step).round_().mul_(step))
