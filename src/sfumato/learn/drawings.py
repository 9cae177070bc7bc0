"""Pictures that a procedure draws: strokes and blobs, of nobody and nothing.

They stand in for real pictures where one has to know how pictures vary and must not ask the
private ones. Half are one to three bent strokes; half are up to three overlapping blobs, filled
with a grey, stripes or grain. What is drawn follows from the seed alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from sfumato.errors import InputError

_STROKES = 3
_SEGMENTS = 9  # straight pieces of a stroke
_BLOBS = 3
_WAVES = 5  # of a blob's outline
_CHUNK = 500  # drawn at a time
_UNIT = 28.0  # lengths below are in pixels of pictures of this side


def draw(n: int, shape: Sequence[int], seed: int = 0) -> Tensor:
    """Pictures, the same for the same arguments.

    Args:
        n: How many.
        shape: (channels, height, width). Channels show the same drawing at other strengths.
        seed: Of everything.

    Returns:
        (n, c, h, w) float32 in [0, 1].

    Raises:
        InputError: If there is nothing to draw, or on nothing.

    >>> draw(4, (1, 28, 28)).shape
    torch.Size([4, 1, 28, 28])
    """
    if n < 1 or len(shape) != 3 or min(shape) < 1:
        raise InputError(
            f"{n} drawings of the shape {tuple(shape)} were asked for",
            "Give at least one of (channels, height, width).",
        )
    channels, height, width = shape
    generator = torch.Generator().manual_seed(seed)
    down, right = torch.meshgrid(
        _places(height), _places(width), indexing="ij"
    )  # from the middle, in units
    pixels = torch.stack([down, right], dim=-1).view(-1, 2)
    drawn = torch.empty(n, height * width)
    for start in range(0, n, 2 * _CHUNK):
        for offset, kind in ((0, _strokes), (1, _blobs)):
            rows = drawn[start + offset : start + 2 * _CHUNK : 2]
            if len(rows):
                rows.copy_(kind(len(rows), pixels, generator))
    pictures = drawn.view(n, 1, height, width)
    if channels == 1:
        return pictures
    return pictures * torch.rand(n, channels, 1, 1, generator=generator)


def _places(side: int) -> Tensor:
    """Where the pixels of a line are, from its middle, in units; (side,)."""
    return (torch.arange(side) - (side - 1) / 2) * (_UNIT / side)


def _strokes(n: int, pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Quadratic curves, half of them begun where the last one ended; (n, pixels)."""
    count = torch.randint(1, _STROKES + 1, (n, 1), generator=generator)
    control = torch.randn(n, _STROKES, 3, 2, generator=generator).mul(5.5).clamp(-10.5, 10.5)
    joined = torch.rand(n, _STROKES, generator=generator) < 0.5
    for stroke in range(1, _STROKES):
        on = joined[:, stroke]
        control[on, stroke, 0] = control[on, stroke - 1, 2]
    at = torch.linspace(0, 1, _SEGMENTS + 1)[:, None]
    first, middle, last = control[:, :, None].unbind(dim=3)
    points = (1 - at) ** 2 * first + 2 * at * (1 - at) * middle + at**2 * last
    starts = points[:, :, :-1].flatten(1, 2)
    pieces = points[:, :, 1:].flatten(1, 2) - starts
    squares = pieces.square().sum(dim=2).clamp_min(1e-6)
    exists = (torch.arange(_STROKES) < count).repeat_interleave(_SEGMENTS, dim=1)
    nearest = torch.full((n, len(pixels)), math.inf)
    for piece in range(starts.shape[1]):
        to = pixels - starts[:, None, piece]
        along = (to @ pieces[:, piece, :, None])[..., 0] / squares[:, None, piece]
        beside = to - along.clamp(0, 1)[..., None] * pieces[:, None, piece]
        distance = torch.hypot(beside[..., 0], beside[..., 1])
        distance[~exists[:, piece]] = math.inf
        nearest = torch.minimum(nearest, distance)
    thickness = 0.9 + 1.2 * torch.rand(n, 1, generator=generator)
    return (thickness + 0.5 - nearest).clamp(0, 1)


def _blobs(n: int, pixels: Tensor, generator: torch.Generator) -> Tensor:
    """A large blob and, half the time each, smaller ones over it; (n, pixels)."""

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(n, 1, generator=generator)

    drawn = torch.zeros(n, len(pixels))
    for blob in range(_BLOBS):
        spread, radius, chance = (2.0, 9.0, 1.0) if blob == 0 else (6.0, 4.5, 0.5)
        middle = torch.randn(n, 1, 2, generator=generator) * spread
        down, right = (pixels - middle).unbind(dim=2)
        angle = torch.atan2(down, right)
        outline = radius * uniform(0.6, 1.4) - torch.hypot(down, right)
        for wave in range(1, _WAVES + 1):
            height = torch.randn(n, 1, generator=generator) * (2.2 / wave)
            outline += height * torch.cos(wave * angle + uniform(0, 2 * math.pi))
        tilt, frequency = uniform(0, math.pi), uniform(0.3, 1.8)
        phase = frequency * (torch.cos(tilt) * right + torch.sin(tilt) * down)
        stripes = uniform(0, 0.3) * (uniform(0, 1) < 0.6)
        grain = 0.04 * torch.randn(n, len(pixels), generator=generator) * (uniform(0, 1) < 0.5)
        grey = uniform(0.1, 1) * (1 + stripes * torch.sin(phase + uniform(0, 2 * math.pi))) + grain
        cover = (outline + 0.5).clamp(0, 1) * (uniform(0, 1) < chance)
        drawn = drawn * (1 - cover) + cover * grey
    return drawn.clamp(0, 1)
