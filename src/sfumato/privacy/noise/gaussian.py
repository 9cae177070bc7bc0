"""The discrete Gaussian distribution, in bulk, and floating-point noise made from it.

Up to ``stddev = 1024`` one table holds every value within 13 standard deviations. Beyond, a
magnitude is drawn as a *cell* (a table of at most 13,313 cells, each weighted by its highest
density) and a uniform place in it, accepted with the density there relative to the highest; more
than 99.8 % are.

How far a draw is from the ideal: what lies beyond 13 standard deviations is missing, and the
tables are rounded; together that is a total variation below :data:`TAIL`. Above 1024 each
probability is also off by a factor of at most ``1 +- DEVIATION``, the rounding of the acceptance
probability. So ``n`` draws add at most ``2 n * DEVIATION`` to an epsilon and
``(1 + exp(epsilon)) n * TAIL`` to a delta: for a million numbers, 1e-9 and about 1e-27.
"""

from __future__ import annotations

import math
from decimal import Context, Decimal, localcontext
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InputError
from sfumato.privacy.noise.sources import NoiseSource
from sfumato.privacy.noise.table import Table

MIN_STDDEV = 2.0**-4
MAX_STDDEV = 2.0**48
TAIL = 2.0**-113
DEVIATION = 2.0**-51
_ONE_TABLE = 1024.0
_REACH = 13  # standard deviations: 2 Q(13) < 2**-125, 26,625 entries off by 2**-128 each
_PRECISION = 100  # decimal digits, about 330 bits
_FIXED = 1 << 256
_GRID_BITS = 40
_CHUNK = 1 << 16


def discrete_gaussian(stddev: float, n: int, source: NoiseSource) -> NDArray[np.int64]:
    """``n`` independent integers, ``P(x)`` proportional to ``exp(-x**2 / (2 stddev**2))``.

    ``stddev`` is the parameter of the distribution; above 1 its standard deviation is the same to
    seven digits.

    Args:
        stddev: From ``2**-4`` to ``2**48``.
        n: How many.
        source: Where the bits come from.

    Raises:
        InputError: If ``stddev`` is outside its range.

    Source: Canonne, Kamath and Steinke, "The Discrete Gaussian for Differential Privacy", 2020,
    for the distribution; the sampler is not theirs.
    """
    stddev = check_stddev(stddev)
    if stddev <= _ONE_TABLE:
        table, reach = _whole_table(stddev)
        return table.sample(n, source) - reach
    drawn = np.empty(n, np.int64)
    for start in range(0, n, _CHUNK):
        part = drawn[start : start + _CHUNK]
        pending = np.arange(len(part))
        while len(pending):
            values, kept = _propose(stddev, len(pending), source)
            part[pending] = values
            pending = pending[~kept]
    return drawn


def gaussian(stddev: float, n: int, source: NoiseSource) -> NDArray[np.float64]:
    """``n`` independent Gaussian numbers on a public grid of about ``stddev / 2**40``.

    Each is a discrete Gaussian integer times ``grid_step(stddev)``, a power of two, so it is exact
    and none of the artefacts of floating-point samplers (holes, a support that depends on the
    value) is in it. The sum with a value keeps that property only if the value lies on the same
    grid and is added in float64: round it first (``mechanisms.grid.to_grid``), as
    ``mechanisms.Gaussian`` and ``mechanisms.LocalVector`` do.

    Residual risk: where a tensor is added as it is, in float32 or off the grid, the last bits of
    the sum depend on the value beyond what accounting knows; exploiting that against training is
    thought theoretical. Time to draw depends on the noise, never on the value.

    Args:
        stddev: Positive; any scale a float can hold.
        n: How many.
        source: Where the bits come from.

    Raises:
        InputError: If ``stddev`` is not a positive number.
    """
    step = grid_step(stddev)
    return discrete_gaussian(stddev / step, n, source).astype(np.float64) * step


def grid_step(stddev: float) -> float:
    """The power of two between ``stddev / 2**41`` and ``stddev / 2**40``.

    Raises:
        InputError: If ``stddev`` is not a number from 1e-250 to 1e250.
    """
    if not 1e-250 <= stddev <= 1e250:
        raise InputError(f"a Gaussian stddev is {stddev!r}", "Give a positive, finite number.")
    return math.ldexp(1.0, math.frexp(stddev)[1] - 1 - _GRID_BITS)


def check_stddev(stddev: float) -> float:
    """``stddev`` as a float.

    Raises:
        InputError: If it is outside the range that can be drawn.
    """
    if not MIN_STDDEV <= stddev <= MAX_STDDEV:
        raise InputError(
            f"a Gaussian stddev is {stddev!r} grid steps",
            f"Give {MIN_STDDEV:g} to {MAX_STDDEV:g}: "
            f"a {'smaller' if stddev < MIN_STDDEV else 'larger'} epsilon, or another grid.",
        )
    return float(stddev)


def probabilities(stddev: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The values and probabilities of the table in use, for ``stddev`` up to 1024."""
    if not MIN_STDDEV <= stddev <= _ONE_TABLE:
        raise InputError(f"stddev is {stddev!r}", f"One table serves up to {_ONE_TABLE:g}.")
    table, reach = _whole_table(float(stddev))
    return np.arange(-reach, reach + 1), table.probabilities


def privacy_delta(stddev: float, shift: int, epsilon: float) -> float:
    """The delta at ``epsilon`` of telling the table in use from itself moved by ``shift``.

    Computed from the table's own probabilities, values outside it included.
    """
    _, p = probabilities(stddev)
    pad = np.zeros(abs(shift))
    here, moved = np.concatenate([p, pad]), np.concatenate([pad, p])
    return max(
        math.fsum(np.maximum(a - math.exp(epsilon) * b, 0.0))
        for a, b in ((here, moved), (moved, here))
    )


@lru_cache(maxsize=64)
def _whole_table(stddev: float) -> tuple[Table, int]:
    reach = math.ceil(_REACH * stddev)
    half = _densities(stddev, reach)
    return Table(half[:0:-1] + half), reach


@lru_cache(maxsize=64)
def _cell_table(cells: float) -> Table:
    """Cells of magnitudes, for a stddev of ``cells`` cells."""
    return Table(_densities(cells, math.ceil(_REACH * cells)))


def _densities(stddev: float, reach: int) -> list[int]:
    """``exp(-k**2 / (2 stddev**2))`` for ``k`` in ``0..reach``, as 256-bit fixed-point numbers.

    By ``g(k + 1) = g(k) r(k)``, ``r(k + 1) = r(k) exp(-1 / stddev**2)``: the error grows by a few
    units a step and stays 100 bits below the table's own rounding.
    """
    with localcontext(Context(prec=_PRECISION)):
        inverse = 1 / Decimal(stddev) ** 2
        ratio, decay = (int((-x).exp() * _FIXED) for x in (inverse / 2, inverse))
    densities = [_FIXED]
    for _ in range(reach):
        densities.append(densities[-1] * ratio // _FIXED)
        ratio = ratio * decay // _FIXED
    return densities


def _propose(
    stddev: float, n: int, source: NoiseSource
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """``n`` proposals from cells, and which of them to keep."""
    bits = math.frexp(stddev / _ONE_TABLE)[1]
    words = source.uint64(n)
    place = (words & np.uint64((1 << bits) - 1)).astype(np.int64)
    minus = ((words >> np.uint64(bits)) & np.uint64(1)).astype(np.bool_)
    coin = (words >> np.uint64(bits + 1)).astype(np.int64)
    start = _cell_table(math.ldexp(stddev, -bits)).sample(n, source) << bits
    magnitude = start + place
    # (start + place)**2 - start**2 = (2 start + place) place; the first factor is exact.
    excess = (start + magnitude).astype(np.float64) * place / (2.0 * stddev * stddev)
    kept = _accept(np.exp(-excess), coin, 63 - bits, source)
    kept &= ~(minus & (magnitude == 0))  # zero has one sign
    return np.where(minus, -magnitude, magnitude), kept


def _accept(
    probability: NDArray[np.float64], coin: NDArray[np.int64], bits: int, source: NoiseSource
) -> NDArray[np.bool_]:
    """True with each ``probability``: ``coin`` holds its first ``bits`` bits, a word the rest."""
    scaled = np.ldexp(probability, bits)
    threshold = scaled.astype(np.int64)
    kept = coin < threshold
    for at in np.flatnonzero(coin == threshold):
        kept[at] = int(source.uint64(1)[0]) < int(math.ldexp(scaled[at] - threshold[at], 64))
    return np.asarray(kept)
