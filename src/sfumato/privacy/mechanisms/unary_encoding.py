"""One of ``levels`` values reported as a row of noisy bits (optimised unary encoding)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InputError
from sfumato.privacy.mechanisms.checks import codes, whole
from sfumato.privacy.mechanisms.randomized_response import ONE, exp_fixed, local_epsilon
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import SECURE, NoiseSource
from sfumato.privacy.noise.laplace import coins
from sfumato.privacy.noise.sources import below
from sfumato.privacy.noise.table import WHOLE, Table

if TYPE_CHECKING:
    from dp_accounting import DpEvent

_CELLS = 1 << 20  # bits drawn at a time


@dataclass(frozen=True)
class UnaryEncoding:
    """OUE: the value's own bit is a fair coin, every other is set with ``1 / (exp(epsilon) + 1)``.

    The report is epsilon-DP for replacing the value by any other. Its bits estimate *counts* of
    many levels better than randomised response does. Cut down to one level (``randomise``) that
    advantage is gone: the result is a symmetric channel with a ``truth_probability`` below that of
    randomised response at the same epsilon, so prefer the latter where single values are wanted.

    Args:
        levels: At least 2.
        epsilon: Above 0, at most 80.

    Source: Wang, Blocki, Li and Jha, "Locally Differentially Private Protocols for Frequency
    Estimation", 2017.
    """

    levels: int
    epsilon: float

    def __post_init__(self) -> None:
        whole("a number of levels", self.levels, 2)
        local_epsilon(self.epsilon)

    @cached_property
    def _table(self) -> Table:
        # "Not set" is rounded down: other bits are set at least as often as needed.
        return Table([exp_fixed(self.epsilon), ONE])

    @property
    def set_probability(self) -> float:
        """Of a bit that is not the value's own."""
        return self._table.weights[1] / WHOLE

    @property
    def truth_probability(self) -> float:
        """Of ``randomise`` giving the value itself.

        With ``B`` other bits set the value is chosen with ``1 / (1 + B)`` if its own bit is, and
        with ``1 / levels`` if none is.
        """
        k, q = self.levels, self.set_probability
        one_of_set = -np.expm1(k * np.log1p(-q)) / (k * q)
        return float(0.5 * one_of_set + 0.5 * (1 - q) ** (k - 1) / k)

    @property
    def event(self) -> DpEvent:
        """A pure event, under replace-one."""
        from sfumato.privacy.events import PureDpEvent

        return PureDpEvent(float(self.epsilon), Neighbours.REPLACE_ONE.value)

    def bits(self, values: Any, source: NoiseSource = SECURE) -> NDArray[np.bool_]:
        """The noisy bits of each code, (n, levels), each by its own draw.

        Raises:
            InputError: If a code is outside ``0..levels-1``.
        """
        truth = codes(values, self.levels)
        reports = np.empty((len(truth), self.levels), np.bool_)
        for rows in self._chunks(len(truth)):
            reports[rows] = self._bits(truth[rows], source)
        return reports

    def randomise(self, values: Any, source: NoiseSource = SECURE) -> NDArray[np.int64]:
        """One level for each code, (n,): a uniformly chosen one of its set bits.

        Where no bit is set, uniform over all levels. Post-processing of ``bits``.

        Raises:
            InputError: If a code is outside ``0..levels-1``.
        """
        truth = codes(values, self.levels)
        reports = np.empty(len(truth), np.int64)
        for rows in self._chunks(len(truth)):
            bits = self._bits(truth[rows], source)
            bits[~bits.any(axis=1)] = True
            ranks = below(bits.sum(axis=1).astype(np.uint64), source.uint64)
            # The first place where as many bits are set as the rank drawn, and one more.
            reports[rows] = (bits.cumsum(axis=1) > ranks[:, np.newaxis]).argmax(axis=1)
        return reports

    def debias(self, bit_sums: Any, n: int) -> NDArray[np.float64]:
        """An unbiased estimate of the true counts from the bit sums of ``n`` reports, (levels,)."""
        sums = np.asarray(bit_sums, np.float64)
        if sums.shape != (self.levels,):
            raise InputError(f"bit sums have shape {sums.shape}", f"Give {self.levels} sums.")
        return np.asarray((sums - n * self.set_probability) / (0.5 - self.set_probability))

    def _chunks(self, n: int) -> list[slice]:
        rows = max(1, _CELLS // self.levels)
        return [slice(start, min(start + rows, n)) for start in range(0, n, rows)]

    def _bits(self, truth: NDArray[np.int64], source: NoiseSource) -> NDArray[np.bool_]:
        n = len(truth)
        bits = self._table.sample(n * self.levels, source).astype(np.bool_)
        bits = bits.reshape(n, self.levels)
        bits[np.arange(n), truth] = coins(n, source)
        return bits
