"""Images stand upright afterwards, each by its own slant."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sfumato.learn.upright import upright


def strokes(slants: list[float], side: int = 21) -> Tensor:
    """A soft line through the middle of each image, so many pixels to the right for one down."""
    at = torch.arange(side) - (side - 1) / 2
    down, across = torch.meshgrid(at, at, indexing="ij")
    lines = [torch.exp(-((across - slant * down) ** 2) / 4) for slant in slants]
    return (torch.stack(lines) * (down.abs() < 7))[:, None]


def slants(images: Tensor) -> Tensor:
    """How far across brightness goes for one down, by regression; (n,)."""
    brightness = images.double().mean(dim=1)
    at = torch.arange(images.shape[-1]) - (images.shape[-1] - 1) / 2
    down, across = torch.meshgrid(at.double(), at.double(), indexing="ij")
    total = brightness.sum(dim=(1, 2))

    def mean(values: Tensor) -> Tensor:
        return (brightness * values).sum(dim=(1, 2)) / total

    middle = mean(down)
    together = mean(down * across) - middle * mean(across)
    return together / (mean(down * down) - middle**2)


def test_slants_are_taken_away() -> None:
    given = strokes([-0.5, 0.0, 0.3, 0.6])
    assert slants(given).abs().max() > 0.4
    assert slants(upright(given)).abs().max() < 0.03


def test_an_upright_image_stays_as_it_is() -> None:
    given = strokes([0.0])
    torch.testing.assert_close(upright(given), given, atol=1e-5, rtol=0)


def test_each_image_is_alone_and_what_is_not_finite_stays_with_its_own() -> None:
    given = strokes([0.2, 0.4, 0.6])
    whole = upright(given)
    torch.testing.assert_close(upright(given[1:2]), whole[1:2])
    given[0, 0, 3, 3] = math.nan
    given[2] *= 1000
    torch.testing.assert_close(upright(given)[1], whole[1])


def test_nothing_to_see_stays_so() -> None:
    assert not upright(torch.zeros(2, 1, 9, 9)).any()
    assert upright(torch.zeros(0, 1, 9, 9)).shape == (0, 1, 9, 9)


def test_channels_move_together() -> None:
    grey = strokes([0.5])
    colours = torch.cat([grey, 0.5 * grey, torch.zeros_like(grey)], dim=1)
    moved = upright(colours)
    torch.testing.assert_close(moved[:, :1], upright(grey), atol=1e-5, rtol=0)
    torch.testing.assert_close(moved[:, 1], 0.5 * moved[:, 0])


@pytest.mark.parametrize("slant", [1.0, -1.0])
def test_no_more_than_45_degrees(slant: float) -> None:
    """Of a shear by 2, one half is left."""
    left = float(slants(upright(strokes([2 * slant], side=41)))[0])
    assert left / slant == pytest.approx(1.0, abs=0.15)
