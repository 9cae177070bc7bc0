"""A finite distribution with integer probabilities, sampled exactly and in bulk.

The probabilities are integers out of ``2**128``; they *are* the distribution, so whatever is
proven from them holds of what is drawn. One 64-bit word decides nearly every draw; where it falls
on the border between two outcomes (once in about ``2**64 / outcomes`` draws) a second one is read.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray

from sfumato.privacy.noise.sources import NoiseSource

BITS = 128
WHOLE = 1 << BITS
_LOW = (1 << 64) - 1
_CHUNK = 1 << 16  # draws at a time: the temporaries stay in the cache


class Table:
    """A distribution on ``0..size-1``.

    Args:
        ratios: Non-negative integers that the probabilities are proportional to. Each probability
            is rounded to a multiple of ``2**-128``, off by less than one such unit; together they
            are exactly one.

    >>> table = Table([1, 2, 1])
    >>> [weight / WHOLE for weight in table.weights]
    [0.25, 0.5, 0.25]
    """

    def __init__(self, ratios: Iterable[int]) -> None:
        ends = list(accumulate(ratios))
        starts = [0] + [end * WHOLE // ends[-1] for end in ends]
        self.weights: tuple[int, ...] = tuple(b - a for a, b in pairwise(starts))
        # An outcome that starts at the very end has no probability and no 128-bit start.
        self._starts = [start for start in starts[:-1] if start < WHOLE]
        self._high = np.array([start >> 64 for start in self._starts], np.uint64)
        self._build_guide()

    def _build_guide(self) -> None:
        """For each value of a word's leading bits, the outcome, or -1 where they do not decide."""
        bits = min(16, max(8, len(self._starts).bit_length() + 4))
        buckets = np.arange(1 << bits, dtype=np.uint64) << np.uint64(64 - bits)
        first = np.searchsorted(self._high, buckets, side="right") - 1
        # Whether a start lies strictly inside the bucket; one at its first 128-bit value does not.
        inner = [s >> (BITS - bits) for s in self._starts if s & ((1 << (BITS - bits)) - 1)]
        # A start that shares the bucket's high word but not its low one: the border needs a look.
        first[inner] = -1
        self._guide = first.astype(np.int32)
        self._shift = np.uint64(64 - bits)

    def __len__(self) -> int:
        return len(self.weights)

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """The weights as floats, for figures and tests."""
        return np.array([weight / WHOLE for weight in self.weights])

    def sample(self, n: int, source: NoiseSource) -> NDArray[np.int64]:
        """``n`` independent draws."""
        drawn = np.empty(n, np.int64)
        for start in range(0, n, _CHUNK):
            part = drawn[start : start + _CHUNK]
            part[:] = self._look_up(source.uint64(len(part)), source)
        return drawn

    def _look_up(self, words: NDArray[np.uint64], source: NoiseSource) -> NDArray[np.int64]:
        outcomes = self._guide[(words >> self._shift).astype(np.intp)].astype(np.int64)
        unsure = np.flatnonzero(outcomes < 0)
        if len(unsure) == 0:
            return outcomes
        words = words[unsure]
        found = np.searchsorted(self._high, words, side="right") - 1
        for at in np.flatnonzero(self._high[found] == words):
            low = int(source.uint64(1)[0]) & _LOW
            found[at] = bisect_right(self._starts, (int(words[at]) << 64) | low) - 1
        outcomes[unsure] = found
        return outcomes
