"""Images as low frequencies, whatever their shape."""

from __future__ import annotations

import pytest
import torch

from sfumato.errors import InputError
from sfumato.learn.frequencies import LowFrequencies


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 5, 9)])
def test_distances_are_those_of_smooth_pictures(shape: tuple[int, int, int]) -> None:
    basis = LowFrequencies(shape, 27)
    coordinates = torch.randn(4, basis.width)
    pictures = basis.pictures(coordinates)
    assert pictures.shape == (4, *shape)
    assert torch.allclose(basis.coordinates(pictures), coordinates, atol=1e-5)
    assert torch.allclose(pictures.flatten(1).norm(dim=1), coordinates.norm(dim=1), atol=1e-4)


def test_with_all_coefficients_nothing_is_lost() -> None:
    images = torch.rand(3, 3, 6, 6)
    basis = LowFrequencies((3, 6, 6), 3 * 36)
    assert torch.allclose(basis.pictures(basis.coordinates(images)), images, atol=1e-5)


def test_what_is_no_number_counts_as_nothing() -> None:
    images = torch.full((1, 1, 4, 4), torch.nan)
    assert (LowFrequencies((1, 4, 4), 9).coordinates(images) == 0).all()
    assert LowFrequencies((1, 4, 4), 9).coordinates(torch.zeros(0, 1, 4, 4)).shape == (0, 9)


@pytest.mark.parametrize(
    "shape", [(1, 9, 9), (1, 25, 25), (1, 27, 31), (3, 25, 25), (1, 28, 28), (1, 1, 700)]
)
def test_coordinates_hang_on_the_image_alone_to_the_last_bit(shape: tuple[int, int, int]) -> None:
    draws = torch.Generator().manual_seed(1)
    images = 16 * torch.rand(1500, *shape, generator=draws) - 8
    basis = LowFrequencies(shape, 100)
    whole = basis.coordinates(images)
    order = torch.randperm(len(images), generator=draws)
    assert torch.equal(basis.coordinates(images[1:].clone()), whole[1:])
    assert torch.equal(basis.coordinates(images[order]), whole[order])
    assert torch.equal(basis.coordinates(images[7:8].clone()), whole[7:8])


@pytest.mark.parametrize("shape", [(1, 9, 9), (3, 25, 25), (1, 512, 512), (1, 1, 4000)])
def test_no_sum_has_more_bits_than_float64(shape: tuple[int, int, int]) -> None:
    down, across, one = LowFrequencies(shape, 300)._steps
    most = 8 * one * down.abs().sum(dim=1).max()
    assert most < 2**53
    assert (most / one).round() * across.abs().sum(dim=1).max() < 2**53
    down, across = LowFrequencies(shape, 300).rows
    images = torch.rand(3, *shape, generator=torch.Generator().manual_seed(2))
    plain = (down.double() @ images.double() @ across.double().T).flatten(1)
    found = LowFrequencies(shape, 300).coordinates(images)
    assert torch.allclose(found.double(), plain, rtol=1e-5, atol=1e-4)


def test_a_channel_needs_a_coefficient() -> None:
    with pytest.raises(InputError, match="coefficients is 2"):
        LowFrequencies((3, 4, 4), 2)
