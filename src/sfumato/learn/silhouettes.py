"""Pictures of filled outlines: things that stand in the middle, of nobody and nothing.

Beside the strokes and blobs of :mod:`sfumato.learn.drawings` these are what photographs of single
objects look like from afar: one body about an upright (or lying) axis, mostly the same on both
sides, perhaps with limbs or a gap, lit unevenly, striped, patched or grained. What is drawn follows
from the seed alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from sfumato.errors import InputError

_CHUNK = 500  # drawn at a time
_UNIT = 28.0  # lengths below are in pixels of pictures of this side
_WAVES = 4  # of an outline


def silhouettes(n: int, shape: Sequence[int], seed: int = 0) -> Tensor:
    """Pictures, the same for the same arguments.

    Args:
        n: How many.
        shape: (channels, height, width). Channels show the same picture at other strengths.
        seed: Of everything.

    Returns:
        (n, c, h, w) float32 in [0, 1].

    Raises:
        InputError: If there is nothing to draw, or on nothing.

    >>> silhouettes(4, (1, 28, 28)).shape
    torch.Size([4, 1, 28, 28])
    """
    if n < 1 or len(shape) != 3 or min(shape) < 1:
        raise InputError(
            f"{n} silhouettes of the shape {tuple(shape)} were asked for",
            "Give at least one of (channels, height, width).",
        )
    channels, height, width = shape
    generator = torch.Generator().manual_seed(seed)
    drawn = [
        _Pen(min(_CHUNK, n - at), height, width, generator).picture() for at in range(0, n, _CHUNK)
    ]
    pictures = torch.cat(drawn)[:, None]
    if channels == 1:
        return pictures
    return pictures * torch.rand(n, channels, 1, 1, generator=generator)


def surfaces(n: int, shape: Sequence[int], seed: int = 0) -> Tensor:
    """What silhouettes are filled with, over the whole frame; see :func:`silhouettes`."""
    channels, height, width = shape
    generator = torch.Generator().manual_seed(seed)
    whole = torch.ones(_CHUNK, height, width)
    drawn = [
        _Pen(m, height, width, generator).surface(whole[:m])
        for m in (min(_CHUNK, n - at) for at in range(0, n, _CHUNK))
    ]
    pictures = torch.cat(drawn)[:, None]
    if channels == 1:
        return pictures
    return pictures * torch.rand(n, channels, 1, 1, generator=generator)


class _Pen:
    """Draws some pictures at once; every random number is one a picture.

    Args:
        n: How many.
        height: In pixels.
        width: In pixels.
        generator: Of everything random.
    """

    def __init__(self, n: int, height: int, width: int, generator: torch.Generator) -> None:
        self.n, self.generator = n, generator
        down = ((torch.arange(height) - (height - 1) / 2) * (_UNIT / height))[None, :, None]
        right = ((torch.arange(width) - (width - 1) / 2) * (_UNIT / width))[None, None, :]
        down, right = (x.expand(n, height, width) for x in (down, right))
        lying = self.chance(0.3)
        tilt = self.normal(0.05)
        across = torch.where(lying, down, right)
        self.along = torch.where(lying, right, down) - self.normal(0.7)
        self.across = across - self.normal(0.7) + tilt * self.along

    def uniform(self, low: float, high: float) -> Tensor:
        """(n, 1, 1)."""
        return low + (high - low) * torch.rand(self.n, 1, 1, generator=self.generator)

    def normal(self, spread: float) -> Tensor:
        """(n, 1, 1)."""
        return spread * torch.randn(self.n, 1, 1, generator=self.generator)

    def chance(self, share: float) -> Tensor:
        """(n, 1, 1) of true or false."""
        return self.uniform(0, 1) < share

    def waves(self, at: Tensor, height: float) -> Tensor:
        """A smooth random function of ``at``, which is in units, (n, h, w)."""
        total = torch.zeros_like(at)
        for wave in range(1, _WAVES + 1):
            phase = self.uniform(0, 2 * math.pi)
            total = total + self.normal(height / wave) * torch.cos(
                wave * (math.pi / _UNIT) * at + phase
            )
        return total

    def picture(self) -> Tensor:
        """(n, h, w) in [0, 1]."""
        cover = self.body()
        cover = torch.maximum(cover, self.limbs())
        cover = cover * (1 - self.gap())
        return (cover * self.surface(cover)).clamp(0, 1)

    def body(self) -> Tensor:
        """One solid: a half width for every place along its axis."""
        top, bottom = self.uniform(-13.5, 2), self.uniform(2, 13.5)
        half = self.uniform(2, 11) * torch.exp(self.waves(self.along, 0.3))
        slant = self.chance(0.3) * self.waves(self.along, 3.0)
        other = 1 + self.chance(0.3) * self.normal(0.5)  # the far side, where it differs
        offset = self.across - slant
        offset = torch.where(offset > 0, offset, -offset * other)
        ends = torch.minimum(self.along - top, bottom - self.along)
        return (half - offset + 0.5).clamp(0, 1) * (ends + 0.5).clamp(0, 1)

    def limbs(self) -> Tensor:
        """Two bars, one the mirror image of the other, in half of the pictures."""
        side = self.across.abs()
        first = torch.stack([self.uniform(-13, 4), self.uniform(0, 8)])
        last = torch.stack([self.uniform(-6, 13), self.uniform(2, 13)])
        step = last - first
        length = step.square().sum(dim=0).clamp_min(1e-3)
        at = ((self.along - first[0]) * step[0] + (side - first[1]) * step[1]) / length
        at = at.clamp(0, 1)
        away = torch.hypot(self.along - first[0] - at * step[0], side - first[1] - at * step[1])
        return (self.uniform(0.7, 3) - away + 0.5).clamp(0, 1) * self.chance(0.5)

    def gap(self) -> Tensor:
        """A wedge cut out about the axis, in a quarter of the pictures."""
        start = self.uniform(-10, 8)
        deep = (self.along - start) * torch.where(self.chance(0.5), 1.0, -1.0)
        half = self.uniform(0.02, 0.3) * deep + self.uniform(0, 1)
        return (half - self.across.abs() + 0.5).clamp(0, 1) * (deep > 0) * self.chance(0.25)

    def surface(self, cover: Tensor) -> Tensor:
        """Greys: light, stripes, patches and grain, most of them the same on both sides."""
        mirrored = torch.where(self.chance(0.7), self.across.abs(), self.across)
        grey = self.uniform(0.15, 1) + self.waves(self.along, 0.12) + self.waves(mirrored, 0.12)
        turn = torch.where(
            self.chance(0.7), math.pi / 2 * self.chance(0.5), self.uniform(0, math.pi)
        )
        phase = torch.cos(turn) * self.along + torch.sin(turn) * mirrored
        stripes = torch.cos(self.uniform(0.25, 2.2) * phase + self.uniform(0, 2 * math.pi))
        hard = torch.where(self.chance(0.4), stripes.sign(), stripes)
        grey = grey + self.uniform(0, 0.35) * hard * self.chance(0.45)
        for _ in range(2):
            inside = (self.along - self.normal(6)).abs() < self.uniform(0.7, 6)
            inside &= (mirrored - self.uniform(-4, 8)).abs() < self.uniform(0.7, 8)
            grey = grey + inside * self.normal(0.3) * self.chance(0.4)
        noise = torch.randn(cover.shape, generator=self.generator)
        grey = grey + noise * self.uniform(0, 0.12) * self.chance(0.6)
        inner = -torch.nn.functional.max_pool2d(-cover[:, None], 3, 1, 1)[:, 0]
        grey = grey + self.normal(0.25) * self.chance(0.5) * (inner < 0.5)  # the rim
        return grey.clamp(0.02, 1)
