"""Where random bits come from: the operating system, or a seed in tests.

Noise that protects people is drawn from :data:`SECURE` only. :class:`SeededSource` says of itself
that it is not secure, and cards repeat it.
"""

from __future__ import annotations

import builtins
import math
import os
import threading
import weakref
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InputError

_BLOCK = 1 << 18  # bytes read ahead: a system call a block, not a call a number
_WORDS = 1 << 64


class NoiseSource(Protocol):
    """A stream of independent uniform random bits.

    Attributes:
        name: What a card says of it.
        secure: Whether an adversary who knows everything else cannot predict it.
    """

    name: str
    secure: bool

    def bytes(self, n: int) -> builtins.bytes:
        """``n`` random bytes."""
        ...

    def uint64(self, n: int) -> NDArray[np.uint64]:
        """``n`` random words."""
        ...

    def uniform(self, n: int) -> NDArray[np.float64]:
        """``n`` multiples of ``2**-53`` in ``[0, 1)``: for choices, never to make noise from."""
        ...

    def integers(self, high: int, n: int) -> NDArray[np.int64]:
        """``n`` integers, exactly uniform on ``[0, high)``."""
        ...

    def bernoulli(self, probability: float, n: int) -> NDArray[np.bool_]:
        """``n`` coins that show True with ``probability``, exact to ``2**-64``."""
        ...


class _Words:
    """What every source makes from its words."""

    def uint64(self, n: int) -> NDArray[np.uint64]:
        raise NotImplementedError

    def uniform(self, n: int) -> NDArray[np.float64]:
        """``n`` multiples of ``2**-53`` in ``[0, 1)``."""
        return (self.uint64(n) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def integers(self, high: int, n: int) -> NDArray[np.int64]:
        """``n`` integers, exactly uniform on ``[0, high)``, by rejection.

        Raises:
            InputError: If ``high`` is not in ``1..2**63``.
        """
        if not 1 <= high <= 1 << 63:
            raise InputError(f"the number of outcomes is {high!r}", "Give 1 to 2**63.")
        return below(np.full(n, high, np.uint64), self.uint64)

    def bernoulli(self, probability: float, n: int) -> NDArray[np.bool_]:
        """``n`` coins that show True with ``probability``, exact to ``2**-64``.

        Raises:
            InputError: If ``probability`` is not in ``[0, 1]``.
        """
        if not 0 <= probability <= 1:
            raise InputError(f"a probability is {probability!r}", "Give a number in [0, 1].")
        threshold = round(math.ldexp(probability, 64))
        if threshold >= _WORDS:
            return np.ones(n, np.bool_)
        return self.uint64(n) < np.uint64(threshold)


def below(
    highs: NDArray[np.uint64], words: Callable[[int], NDArray[np.uint64]]
) -> NDArray[np.int64]:
    """For each bound (1 to ``2**63``) an integer exactly uniform below it.

    A word is rejected where the last, incomplete run of residues starts; what is rejected depends
    on the words and the bounds alone.
    """
    largest = np.uint64(_WORDS - 1)
    # 2**64 mod high, without leaving 64 bits
    excess = (largest % highs + np.uint64(1)) % highs
    drawn = words(len(highs))
    pending = np.flatnonzero(drawn > largest - excess)
    while len(pending):
        drawn[pending] = words(len(pending))
        pending = pending[drawn[pending] > largest - excess[pending]]
    return (drawn % highs).astype(np.int64)


class SecureSource(_Words):
    """Bits of the operating system's cryptographic generator, read in large blocks.

    Safe to share between threads: no byte is handed out twice. A forked child starts with an empty
    buffer, so it never repeats what its parent draws. Copies and pickles carry no bytes.
    """

    name = "os-entropy"
    secure = True

    def __init__(self) -> None:
        self._forget()
        _SECURE_SOURCES.add(self)

    def __reduce__(self) -> tuple[type[SecureSource], tuple[()]]:
        return SecureSource, ()

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._block = b""
        self._used = 0
        self._process = os.getpid()

    def bytes(self, n: int) -> builtins.bytes:
        """``n`` fresh bytes."""
        if n >= _BLOCK:
            return os.urandom(n)
        with self._lock:
            # The fork hook covers os.fork; the process number covers forks Python did not see.
            if self._used + n > len(self._block) or self._process != os.getpid():
                self._block, self._used, self._process = os.urandom(_BLOCK), 0, os.getpid()
            self._used += n
            return self._block[self._used - n : self._used]

    def uint64(self, n: int) -> NDArray[np.uint64]:
        """``n`` fresh words."""
        return np.frombuffer(bytearray(self.bytes(8 * n)), np.uint64)


_SECURE_SOURCES: weakref.WeakSet[SecureSource] = weakref.WeakSet()


def _after_fork() -> None:
    for source in _SECURE_SOURCES:
        source._forget()


if hasattr(os, "register_at_fork"):  # where there is no fork there is nothing to forget
    os.register_at_fork(after_in_child=_after_fork)


class SeededSource(_Words):
    """A reproducible stream (Philox) for tests. Whoever knows the seed can remove the noise."""

    name = "seeded (tests only)"
    secure = False

    def __init__(self, seed: int) -> None:
        self._generator = np.random.Philox(seed)

    def bytes(self, n: int) -> builtins.bytes:
        """The next ``n`` bytes of the stream."""
        return self.uint64(-(-n // 8)).tobytes()[:n]

    def uint64(self, n: int) -> NDArray[np.uint64]:
        """The next ``n`` words of the stream."""
        return np.asarray(self._generator.random_raw(n), np.uint64)


SECURE: NoiseSource = SecureSource()
