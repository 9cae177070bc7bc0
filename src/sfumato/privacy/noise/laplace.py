"""The discrete Laplace distribution, exactly and in bulk.

A draw is a sign and a geometric magnitude (a negative zero is drawn again). The magnitude is
written in digits: for ``m = low + width * rest`` the parts of a geometric variable are independent,
so each has its own small table, and the last one ends in "go on": beyond its block the geometric
distribution repeats itself. Nothing is cut off; every integer keeps a positive probability, which
pure differential privacy needs.

Tables hold probabilities of 128 bits, and the scale drawn from is ``2**-50`` (relative) above the
one asked for; :func:`privacy_loss` bounds the loss of the tables as they are, and it stays at or
below ``shift / scale``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Context, Decimal, localcontext
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InputError
from sfumato.privacy.noise.sources import NoiseSource
from sfumato.privacy.noise.table import WHOLE, Table

MIN_SCALE = 2.0**-5
MAX_SCALE = 2.0**46
_BUMP = Decimal(2) ** -50
_DIGIT = 1 << 12
_ONE_TABLE = 1 << 14
_RESTART = 16 * math.log(2)  # a block ends where 2**-16 of the mass is left
_PRECISION = 100  # decimal digits, about 330 bits
_FIXED = 1 << 256


def discrete_laplace(scale: float, n: int, source: NoiseSource) -> NDArray[np.int64]:
    """``n`` independent integers with ``P(x)`` proportional to ``exp(-|x| / scale)``.

    Guaranteed: for every integer shift ``d`` the probabilities of ``x`` and ``x + d`` are within a
    factor ``exp(d / scale)``, for the tables as they are.

    Args:
        scale: From ``2**-5`` to ``2**46``.
        n: How many.
        source: Where the bits come from.

    Raises:
        InputError: If ``scale`` is outside its range.
    """
    tables = _tables(check_scale(scale))
    drawn = np.empty(n, np.int64)
    pending = np.arange(n)
    while len(pending):
        magnitude = tables.sample(len(pending), source)
        minus = coins(len(pending), source)
        drawn[pending] = np.where(minus, -magnitude, magnitude)
        pending = pending[minus & (magnitude == 0)]
    return drawn


def coins(n: int, source: NoiseSource) -> NDArray[np.bool_]:
    """``n`` fair coins, one bit each."""
    packed = np.frombuffer(source.bytes(-(-n // 8)), np.uint8)
    return np.unpackbits(packed, count=n).view(np.bool_)


def privacy_loss(scale: float, shift: int) -> float:
    """A bound on ``|log P(x) - log P(x + shift)|`` over all ``x``, from the tables themselves.

    The largest deviation of each table from a true geometric distribution is added to the loss of
    the latter. It never exceeds ``shift / scale``.
    """
    tables = _tables(check_scale(scale))
    with localcontext(Context(prec=_PRECISION)):
        restarts = Decimal(abs(shift)) / (tables.block * tables.width) + 1
        slack = 2 * (Decimal(tables.deviation) + restarts * Decimal(tables.restart_deviation))
        return float(abs(shift) / _drawn_scale(scale) + slack)


@dataclass(frozen=True, eq=False)
class _Tables:
    """The digits of a geometric magnitude.

    Attributes:
        digits: Tables of the low digits, each of base ``2**12``.
        top: Table of what is left: values below ``block``, then "go on".
        block: How many values ``top`` has before "go on".
        deviation: The sum over tables of the largest relative error of a probability.
        restart_deviation: The relative error of "go on".
    """

    digits: tuple[Table, ...]
    top: Table
    block: int
    deviation: float
    restart_deviation: float

    @property
    def width(self) -> int:
        """How many magnitudes share a value of the top digit."""
        return int(_DIGIT ** len(self.digits))

    def sample(self, n: int, source: NoiseSource) -> NDArray[np.int64]:
        """``n`` independent geometric magnitudes."""
        total = self.top.sample(n, source)
        going_on = np.flatnonzero(total == self.block)
        while len(going_on):
            more = self.top.sample(len(going_on), source)
            total[going_on] += more
            going_on = going_on[more == self.block]
        for digit in self.digits:
            total *= _DIGIT
            total += digit.sample(n, source)
        return total


@lru_cache(maxsize=128)
def _tables(scale: float) -> _Tables:
    with localcontext(Context(prec=_PRECISION)):
        left = _drawn_scale(scale)
        digits, deviation = [], 0.0
        while left * Decimal(_RESTART) > _ONE_TABLE - 1:
            digit, errors = _geometric_table(left, _DIGIT, go_on=False)
            digits.append(digit)
            deviation += max(errors)
            left /= _DIGIT
        block = max(1, math.ceil(left * Decimal(_RESTART)))
        top, errors = _geometric_table(left, block, go_on=True)
    # The digit drawn last is the lowest.
    return _Tables(tuple(digits[::-1]), top, block, deviation + max(errors), errors[-1])


def _geometric_table(scale: Decimal, size: int, *, go_on: bool) -> tuple[Table, list[float]]:
    """Probabilities proportional to ``exp(-k / scale)`` for ``k < size``, and their errors.

    With ``go_on`` a last outcome takes the mass of all ``k >= size``.
    """
    step = int((-1 / scale).exp() * _FIXED)
    powers = [_FIXED]
    for _ in range(size):
        powers.append(powers[-1] * step // _FIXED)
    ratios = [a - b for a, b in pairwise(powers)]
    if go_on:
        ratios.append(powers[-1])
    table = Table(ratios)
    total = sum(ratios)
    errors = [
        _log_error(weight * total, ratio * WHOLE)
        for weight, ratio in zip(table.weights, ratios, strict=True)
    ]
    return table, errors


def _log_error(actual: int, ideal: int) -> float:
    """A bound on ``|log(actual / ideal)|``, from ``|log(1 + x)| <= |x| / (1 - |x|)``."""
    off = abs(actual - ideal)
    # 2**-180 covers the rounding of the 256-bit powers, and of this division.
    return off / (ideal - off) * (1 + 1e-9) + 2.0**-180


def _drawn_scale(scale: float) -> Decimal:
    return Decimal(scale) * (1 + _BUMP)


def check_scale(scale: float) -> float:
    """``scale`` as a float.

    Raises:
        InputError: If it is outside the range that can be drawn.
    """
    if not MIN_SCALE <= scale <= MAX_SCALE:
        raise InputError(
            f"a Laplace scale is {scale!r} grid steps",
            f"Give {MIN_SCALE:g} to {MAX_SCALE:g}; choose another epsilon or grid.",
        )
    return float(scale)
