"""A small U-Net that mixes no examples."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

_GROUPS = 8
_WAVES = 8
_PATCHED = 14  # pixels a side from which groups of four pixels are taken as one


class Block(nn.Module):
    """Two convolutions beside a shortcut; the noise level and the class shift the channels.

    Args:
        given: Channels of the input.
        width: Channels of the output.
        told: Numbers that tell of level and class.
    """

    def __init__(self, given: int, width: int, told: int) -> None:
        super().__init__()
        self.first_norm = nn.GroupNorm(math.gcd(given, _GROUPS), given)
        self.first = nn.Conv2d(given, width, 3, padding=1)
        self.shift = nn.Linear(told, 2 * width)
        self.second_norm = nn.GroupNorm(math.gcd(width, _GROUPS), width)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        self.shortcut = nn.Conv2d(given, width, 1) if given != width else nn.Identity()

    def forward(self, maps: Tensor, told: Tensor) -> Tensor:
        """(n, width, h, w) of maps (n, given, h, w) and (n, told)."""
        found = self.first(functional.silu(self.first_norm(maps)))
        scale, shift = self.shift(told)[:, :, None, None].chunk(2, dim=1)
        found = self.second_norm(found) * (1 + scale) + shift
        whole: Tensor = self.shortcut(maps) + self.second(functional.silu(found))
        return whole


class UNet(nn.Module):
    """Two sizes of maps, joined across.

    Convolutions that see no edge do not know where they are, and a class shifts their channels
    alike everywhere. So each class has small maps of its own, which are added where a pixel sees
    most of the image: what is drawn of a class depends on the place from the first step.

    Args:
        shape: ``(channels, height, width)`` of the images.
        classes: K.
        width: Channels of the large maps; the small ones have twice as many.
    """

    waves: Tensor

    def __init__(self, shape: tuple[int, int, int], classes: int, width: int) -> None:
        super().__init__()
        channels, height, across = shape
        self.patch = 2 if min(height, across) >= _PATCHED else 1
        self.padding = tuple(-side % (2 * self.patch) for side in (across, height))
        cells, told = channels * self.patch**2, 4 * width
        self.register_buffer("waves", 2.0 ** torch.arange(_WAVES) / 2, persistent=False)
        self.tell = nn.Sequential(
            nn.Linear(2 * _WAVES + classes, told), nn.SiLU(), nn.Linear(told, told), nn.SiLU()
        )
        self.enter = nn.Conv2d(cells, width, 3, padding=1)
        self.large = Block(width, width, told)
        self.down = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.small_shape = (2 * width, *(-(-side // (2 * self.patch)) for side in (height, across)))
        self.place = nn.Linear(classes, math.prod(self.small_shape))
        self.small = nn.ModuleList([Block(2 * width, 2 * width, told) for _ in range(2)])
        self.up = nn.Conv2d(2 * width, width, 3, padding=1)
        self.joined = Block(2 * width, width, told)
        self.leave_norm = nn.GroupNorm(math.gcd(width, _GROUPS), width)
        self.leave = nn.Conv2d(width, cells, 3, padding=1)
        nn.init.zeros_(self.leave.weight)

    def forward(self, images: Tensor, level: Tensor, classes: Tensor) -> Tensor:
        """(n, c, h, w) of scaled noisy images, (n,) their level, and (n, K) one-hot or zeros."""
        height, across = images.shape[2:]
        right, below = self.padding
        phases = level[:, None] * self.waves * math.pi
        told = self.tell(torch.cat([phases.sin(), phases.cos(), classes], dim=1))
        cells = functional.pixel_unshuffle(functional.pad(images, (0, right, 0, below)), self.patch)
        large = self.large(self.enter(cells), told)
        small = self.down(large) + self.place(classes).view(-1, *self.small_shape)
        for block in self.small:
            small = block(small, told)
        up = self.up(functional.interpolate(small, scale_factor=2.0, mode="nearest"))
        whole = self.joined(torch.cat([large, up], dim=1), told)
        found = self.leave(functional.silu(self.leave_norm(whole)))
        return functional.pixel_shuffle(found, self.patch)[:, :, :height, :across]
