"""Attacks on floating-point noise, on every source of noise that a release is made with.

- Mironov, "On significance of the least significant bits for differential privacy", CCS 2012:
  floats that only one of two neighbours can reach, and low bits that follow the value;
- Haney, Desfontaines, Hartman, Shrestha, Hay, arXiv:2207.13793: the unit in the last place of a
  sum tells how large the value is;
- Holohan and Braghin, arXiv:2107.10138: from a pair of Box-Muller draws the words can be found.

What stops all three is one property, and it is tested from outside: whatever the value, what is
released is a multiple of one public step, and its low bits are fair coins. Each test also runs on
planted noise without it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from sfumato.learn import gaussian
from sfumato.learn.directional import Directional
from sfumato.learn.noise import STREAM, add_gaussian, add_gaussian_double, standard_gaussian
from sfumato.learn.noise import grid_step as tensor_step
from sfumato.learn.sampling import PoissonSampling
from sfumato.privacy.mechanisms import Gaussian, Laplace, LocalVector
from sfumato.privacy.noise import SECURE
from sfumato.privacy.noise.gaussian import grid_step

N = 20_000
STDDEV = 1.7
FAR = -1234.56
VALUES = (0.0, 1.0, 1 / 3, FAR, 2.0**-30)
"""Among them zero, whose sum has the finest last place, and one whose sum has the coarsest."""
LOW_BITS = 8
ALARM = 1e-6

Draw = Callable[[float], tuple[np.ndarray, float]]
"""From a value to what is released of it, N times, and the public step."""


def _laplace(value: float) -> tuple[np.ndarray, float]:
    made = Laplace(STDDEV, 1.0, 2.0**-30, N)
    return made.release(np.full(N, value), SECURE), made.granularity


def _gaussian(value: float) -> tuple[np.ndarray, float]:
    made = Gaussian(STDDEV, 1.0, 2.0**-30, N)
    return made.release(np.full(N, value), SECURE), made.granularity


def _vector(value: float) -> tuple[np.ndarray, float]:
    made = LocalVector(4096.0, STDDEV)
    return made.release(np.full((N, 1), value), SECURE).ravel(), grid_step(STDDEV)


def _tensor(value: float) -> tuple[np.ndarray, float]:
    (noisy,) = add_gaussian([torch.full((N,), value)], [STDDEV], STREAM)
    return noisy.double().numpy(), tensor_step(STDDEV)


def _double(value: float) -> tuple[np.ndarray, float]:
    noisy = add_gaussian_double(torch.full((N,), value, dtype=torch.float64), STDDEV, STREAM)
    return noisy.numpy(), tensor_step(STDDEV)


def _naive(value: float) -> tuple[np.ndarray, float]:
    """Planted: the inverse of the distribution function, added as it comes (Mironov 2012)."""
    uniform = np.random.default_rng(1).random(N) - 0.5
    return value - STDDEV * np.sign(uniform) * np.log1p(-2 * np.abs(uniform)), 2.0**-30


def _anchored(value: float) -> tuple[np.ndarray, float]:
    """Planted: noise on a grid, around a value that is on none."""
    noise = np.rint(np.random.default_rng(2).normal(size=N) * STDDEV * 2**20) * 2.0**-20
    return value + noise, 2.0**-20


def _coarse(value: float) -> tuple[np.ndarray, float]:
    """Planted: on the grid, but the last bit of the value is kept."""
    noise = np.rint(np.random.default_rng(3).normal(size=N) * STDDEV * 2**19) * 2.0**-19
    return np.rint(value * 2**20) * 2.0**-20 + noise, 2.0**-20


SOURCES = [_laplace, _gaussian, _vector, _tensor, _double]


def values_of(draw: Draw) -> tuple[float, ...]:
    """The values a source is tried on.

    A tensor is float32: from 2**24 steps on, the multiple that was drawn is rounded once more, by
    a function of that multiple alone. What it is then rounded to has a coarser last place.
    """
    return tuple(-7.0 if value == FAR and draw is _tensor else value for value in VALUES)


def on_the_grid(draw: Draw) -> bool:
    """Whether whatever is released of any value is a multiple of one step."""
    for value in values_of(draw):
        released, step = draw(value)
        if not np.array_equal(released / step, np.rint(released / step)):
            return False
    return True


def worst_bit(draw: Draw) -> float:
    """How far the least fair of the low bits is from a coin, in standard errors."""
    worst = 0.0
    for value in values_of(draw):
        released, step = draw(value)
        whole = np.rint(released / step).astype(np.int64)
        for bit in range(LOW_BITS):
            ones = float(((whole >> bit) & 1).mean())
            worst = max(worst, abs(ones - 0.5) * 2 * math.sqrt(N))
    return worst


def limit() -> float:
    """What the worst of all those bits exceeds by chance once in a million."""
    from scipy.stats import norm

    return float(norm.isf(ALARM / (2 * LOW_BITS * len(VALUES))))


@pytest.mark.parametrize("kernel", [True, False])
@pytest.mark.parametrize("draw", SOURCES, ids=lambda draw: draw.__name__)
def test_no_float_is_reached_from_one_value_alone_and_low_bits_are_coins(
    draw: Draw, kernel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not kernel:  # the torch path, where the compiled one is the usual
        monkeypatch.setattr(gaussian, "kernel", lambda: None)
        monkeypatch.setattr(gaussian, "fresh_kernel", lambda: None)
    elif draw is _tensor and gaussian.fresh_kernel() is None:
        pytest.skip("no compiled kernel on this machine")
    assert on_the_grid(draw)
    assert worst_bit(draw) < limit()


@pytest.mark.parametrize("draw", [_naive, _anchored])
def test_planted_noise_off_the_grid_is_caught(draw: Draw) -> None:
    assert not on_the_grid(draw)


def test_planted_bits_of_the_value_are_caught() -> None:
    assert on_the_grid(_coarse)
    assert worst_bit(_coarse) > limit()


@pytest.mark.parametrize("draw", SOURCES, ids=lambda draw: draw.__name__)
def test_the_last_place_does_not_tell_how_large_a_value_is(draw: Draw) -> None:
    def finest(value: float) -> float:
        """The finest power of two that some released number is an odd multiple of."""
        released, _ = draw(value)
        return min(_odd(float(x)) for x in released[:4000] if x != 0)

    small, large = finest(0.0), finest(values_of(draw)[3])
    assert small == large
    naive_small, naive_large = (
        min(_odd(float(x)) for x in _naive(value)[0][:4000]) for value in (0.0, FAR)
    )
    assert naive_small < naive_large  # planted


def _odd(x: float) -> float:
    """The place of the last bit of a float that is not zero."""
    mantissa, exponent = math.frexp(x)
    whole = int(math.ldexp(mantissa, 53))
    return math.ldexp(float(whole & -whole), exponent - 53)


@pytest.mark.parametrize(
    "direction", [torch.eye(6)[0], -torch.eye(6)[0], torch.ones(6), torch.arange(1.0, 7.0) * 1e-6]
)
def test_directions_are_released_on_a_grid_whose_low_bits_are_coins(direction: Any) -> None:
    made = Directional(PoissonSampling(50, 0.5), kappa=3.0, steps=1, size=6)
    step = tensor_step(1 / math.sqrt(6)) * made.scale
    released = torch.stack([made.noisy_mean([direction[None]], STREAM) for _ in range(500)])
    whole = np.rint(released.double().numpy() / step)
    assert np.array_equal((whole * step).astype(np.float32), released.numpy())
    ones = ((whole.astype(np.int64)[:, :, None] >> np.arange(LOW_BITS)) & 1).mean(axis=(0, 1))
    assert np.abs(ones - 0.5).max() * 2 * math.sqrt(whole.size) < limit()


class Fixed:
    """Words by script: the radius's first, then the angle's."""

    name, secure = "scripted", False

    def __init__(self, radius: int, angle: int) -> None:
        self._words = np.array([radius, angle], np.int64)

    def bytes(self, n: int) -> bytes:
        return self._words.tobytes()[:n]

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} is not used here")


@pytest.mark.parametrize("radius", [0.5, 2.0, 4.0, 6.5])
def test_many_words_share_a_released_pair_so_that_none_can_be_ruled_out(radius: float) -> None:
    # Within 6.5 standard deviations, all but 1e-9 of draws, thousands of words round to one step:
    # whichever value is supposed, words exist that lead from it to what was released.
    word = round(math.exp(-(radius**2) / 2) * 2**63)
    near, next_one = (standard_gaussian(2, Fixed(w, 0)).norm().item() for w in (word, word + 1024))
    assert near == pytest.approx(radius, rel=1e-6)
    assert abs(near - next_one) < tensor_step(1.0)


@pytest.mark.parametrize("draw", [_gaussian, _vector, _tensor, _double], ids=lambda d: d.__name__)
def test_tails_are_as_heavy_as_claimed(draw: Draw) -> None:
    from scipy.stats import binomtest, norm

    for far in (2.0, 3.0, 4.0):
        for sign in (1, -1):
            beyond = int((sign * draw(0.0)[0] > far * STDDEV).sum())
            assert binomtest(beyond, N, float(norm.sf(far))).pvalue > ALARM / 24
    planted = np.clip(np.random.default_rng(4).normal(size=N), -2.5, 2.5)
    assert binomtest(int((planted > 3.0).sum()), N, float(norm.sf(3.0))).pvalue < ALARM
