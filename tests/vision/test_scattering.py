"""Scattering: against a slow oracle in space, and what the mathematics promises."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from sfumato.errors import InputError
from sfumato.vision import scattering
from sfumato.vision.scattering import Scattering


@pytest.fixture(autouse=True)
def _fresh_filters() -> None:
    scattering._bank.cache_clear()


def images(n: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(seed))


def lengths(values: Tensor) -> Tensor:
    return values.flatten(1).norm(dim=1)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((1, 28, 28), (81, 7, 7)),
        ((3, 32, 32), (243, 8, 8)),
        ((1, 8, 8), (81, 2, 2)),
        ((2, 30, 9), (162, 8, 3)),
    ],
)
def test_shapes(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    found = Scattering()(images(3, *shape))
    assert found.shape == (3, *expected)
    assert Scattering().shape(*shape) == expected
    assert found.dtype == torch.float32
    assert found.isfinite().all()


def test_no_images_have_no_features() -> None:
    assert Scattering()(torch.zeros(0, 1, 28, 28)).shape == (0, 81, 7, 7)


@pytest.mark.parametrize("shape", [(1, 7, 28), (1, 28, 4), (1, 0, 0)])
def test_images_too_small_to_mirror_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="at least 8 x 8"):
        Scattering()(torch.zeros(1, *shape))


def test_other_mistakes_are_refused() -> None:
    with pytest.raises(InputError, match="channels, height, width"):
        Scattering()(torch.zeros(28, 28))
    with pytest.raises(InputError, match="scales"):
        Scattering(scales=0)
    with pytest.raises(InputError, match="angles"):
        Scattering(angles=1.5)  # type: ignore[arg-type]


def kernel(scale: int, angle: float, angles: int, side: int) -> NDArray[np.complex128]:
    """A Morlet wavelet in space, (side, side), wrapped around the torus."""
    spread, frequency, slant = 0.8 * 2**scale, 3 * math.pi / 4 / 2**scale, 4 / angles
    at = np.arange(-4 * side, 5 * side)
    y, x = np.meshgrid(at, at, indexing="ij")
    along, beside = (
        math.cos(angle) * y + math.sin(angle) * x,
        math.cos(angle) * x - math.sin(angle) * y,
    )
    envelope = np.exp(-(along**2 + (slant * beside) ** 2) / (2 * spread**2))
    wave = envelope * np.exp(1j * frequency * along)
    wave -= wave.sum() / envelope.sum() * envelope
    return wrapped(wave * slant / (2 * math.pi * spread**2), side)


def wrapped(values: NDArray[np.complex128], side: int) -> NDArray[np.complex128]:
    return values.reshape(9, side, 9, side).sum(axis=(0, 2))


def convolved(image: NDArray, filter_: NDArray) -> NDArray:
    return np.fft.ifft2(np.fft.fft2(image) * np.fft.fft2(filter_))


def oracle(image: NDArray[np.float64], scales: int, angles: int) -> NDArray[np.float64]:
    """Every field at full resolution, filters from their formulas in space."""
    margin = 2**scales
    padded = np.pad(image, margin, mode="reflect")
    side = len(padded)
    wavelets = [
        [kernel(j, math.pi * a / angles, angles, side) for a in range(angles)]
        for j in range(scales)
    ]
    at = np.arange(-4 * side, 5 * side)
    line = np.exp(-(at**2) / (2 * (0.8 * 2 ** (scales - 1)) ** 2))
    line /= line.sum()
    low = wrapped(np.outer(line, line).astype(complex), side)
    energy = sum(abs(np.fft.fft2(w)) ** 2 for row in wavelets for w in row)
    energy = (energy + np.roll(energy[::-1, ::-1], (1, 1), (0, 1))) / 2
    room = 1 - abs(np.fft.fft2(low)) ** 2
    used = energy > 1e-12
    gain = math.sqrt((room[used] / energy[used]).min())

    def smooth(field: NDArray) -> NDArray:
        return convolved(field, low).real[margin:-margin:margin, margin:-margin:margin]

    first = [[abs(convolved(padded, gain * w)) for w in row] for row in wavelets]
    paths = [smooth(padded)] + [smooth(u) for row in first for u in row]
    for j in range(scales):
        for k in range(j + 1, scales):
            paths += [smooth(abs(convolved(u, gain * w))) for u in first[j] for w in wavelets[k]]
    return np.stack(paths)


@pytest.mark.parametrize(("side", "scales", "angles"), [(28, 2, 8), (8, 2, 8), (16, 3, 4)])
def test_equals_convolutions_in_space(side: int, scales: int, angles: int) -> None:
    """Fields here are kept at fewer pixels, which folds their highest frequencies: 1 %."""
    image = images(1, 1, side, side, seed=3)
    found = Scattering(scales, angles)(image)[0].double().numpy()
    expected = oracle(image[0, 0].double().numpy(), scales, angles)
    first = 1 + angles  # kept at every pixel
    assert found.shape == expected.shape
    np.testing.assert_allclose(found[:first], expected[:first], atol=2e-6)
    assert np.linalg.norm(found - expected) < 0.01 * np.linalg.norm(expected)
    order = expected[first:]
    assert np.linalg.norm(found[first:] - order) < 0.05 * np.linalg.norm(order)


def energy(height: int, width: int) -> float:
    """The largest factor by which one layer changes the energy of a frequency."""
    shape = Scattering().shape(1, height, width)
    bank = scattering._bank(2, 8, *shape[1:], torch.device("cpu"))
    low = [scattering._gaussian(2, side) for side in (bank.height, bank.width)]
    total = torch.cat(bank.wavelets).double().square().sum(dim=0)
    total = (total + torch.roll(total.flip(0, 1), (1, 1), (0, 1))) / 2
    return float((total + (low[0][:, None] * low[1]).square()).max())


@pytest.mark.parametrize("size", [(28, 28), (8, 8), (32, 17)])
def test_no_frequency_gains_energy_and_none_is_wasted(size: tuple[int, int]) -> None:
    assert energy(*size) == pytest.approx(1.0, abs=1e-5)


def test_planted_gain_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    real = scattering._gain
    monkeypatch.setattr(scattering, "_gain", lambda *given: 1.01 * real(*given))
    assert energy(28, 28) > 1.001


def pairs() -> list[tuple[Tensor, Tensor]]:
    """Noise, single pixels (corners are mirrored most often), constants, waves, near neighbours."""
    noise = images(64, 1, 12, 12)
    pixels = torch.eye(144).view(144, 1, 12, 12)
    at = torch.arange(12.0)
    waves = torch.stack(
        [torch.cos(a * at)[:, None] * torch.cos(b * at) for a in at / 4 for b in at / 4]
    )[:, None]
    flat = torch.ones(1, 1, 12, 12)
    near = noise + 1e-2 * images(64, 1, 12, 12, seed=1)
    return [
        (noise, noise.flip(0)),
        (pixels, torch.zeros_like(pixels)),
        (waves, torch.zeros_like(waves)),
        (flat, 0 * flat),
        (noise, near),
    ]


def largest_stretch() -> float:
    features = Scattering()
    return max(
        float((lengths(features(x) - features(y)) / lengths(x - y).clamp_min(1e-12)).max())
        for x, y in pairs()
    )


def test_features_are_never_farther_apart_than_images() -> None:
    assert largest_stretch() <= 1


def test_planted_expansion_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scattering, "_gain", lambda *_: 8.0)
    assert largest_stretch() > 1


def shift_sensitivity() -> float:
    """How far the first order moves, relative to itself, when fine texture moves by one pixel."""
    at = torch.arange(41.0)
    texture = torch.cos(3 * math.pi / 4 * at)[None, :].expand(40, 41)
    one, other = (texture[None, None, :, i : i + 40] for i in (0, 1))
    features = Scattering()
    before, after = (features(x)[:, 1:, 2:-2, 2:-2] for x in (one, other))
    assert lengths(one - other) > lengths(one)
    return float(lengths(before - after) / lengths(before))


def test_fine_texture_may_move() -> None:
    assert shift_sensitivity() < 0.05


def test_planted_missing_modulus_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "hypot", lambda real, imaginary: real)
    assert shift_sensitivity() > 0.5


def test_a_block_to_the_right_is_one_feature_to_the_right() -> None:
    canvas = torch.zeros(2, 1, 64, 64)
    thing = images(1, 8, 8)[0]
    canvas[0, 0, 28:36, 28:36] = thing
    canvas[1, 0, 28:36, 32:40] = thing
    left, right = Scattering()(canvas)
    torch.testing.assert_close(left[:, :, 4:-5], right[:, :, 5:-4], atol=1e-5, rtol=0)


def test_images_and_channels_do_not_touch_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = images(5, 2, 16, 16)
    whole = Scattering()(batch)
    alone = torch.cat([Scattering()(batch[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(whole, alone, atol=1e-6, rtol=0)
    second = Scattering()(batch[:, 1:])
    torch.testing.assert_close(whole[:, 81:], second, atol=1e-6, rtol=0)
    monkeypatch.setattr(scattering, "_CHUNK_ENTRIES", 1)
    torch.testing.assert_close(Scattering()(batch), whole, atol=1e-6, rtol=0)
    broken = batch.clone()
    broken[2] = math.nan
    kept = [0, 1, 3, 4]
    torch.testing.assert_close(Scattering()(broken)[kept], whole[kept], atol=1e-6, rtol=0)
