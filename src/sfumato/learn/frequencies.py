"""Images as their low frequencies: a public basis in which a few numbers say most.

The last bits of a product of floating-point matrices depend on how many rows there are, and where
they lie in memory: leave out one record, and those of all others may change. Here pixels and the
basis are whole numbers of small steps, so few that float64 adds up their products exactly, in any
order. An image's coordinates are then a function of that image alone, bit for bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from sfumato.errors import InputError
from sfumato.learn.moments import cosines

_CHUNK = 1024
_LARGEST = 8.0
_BITS = 49
"""Of a sum of products without the 3 of a pixel of 8; float64 holds 53, so that one is spare."""


@dataclass(frozen=True)
class LowFrequencies:
    """The lowest cosines down and across each channel: orthonormal, and the same for everybody.

    Args:
        shape: (channels, height, width) of an image.
        coefficients: The most that are kept, of all channels together.

    Raises:
        InputError: If there is not one coefficient a channel.
    """

    shape: tuple[int, int, int]
    coefficients: int

    def __post_init__(self) -> None:
        if self.coefficients < self.shape[0]:
            raise InputError(
                f"coefficients is {self.coefficients!r}", "Give at least one for each channel."
            )

    @cached_property
    def _cosines(self) -> tuple[Tensor, Tensor]:
        channels, height, width = self.shape
        room = math.isqrt(self.coefficients // channels)
        return cosines(min(room, height), height), cosines(min(room, width), width)

    @cached_property
    def rows(self) -> tuple[Tensor, Tensor]:
        """(p, height) and (q, width) float32: the cosines down and across, orthonormal rows."""
        down, across = self._cosines
        return down.float(), across.float()

    @cached_property
    def _steps(self) -> tuple[Tensor, Tensor, float]:
        """The basis in whole steps, as float64, and how many steps there are in 1.

        Rows are orthonormal, so that the absolute values of one add up to at most the root of its
        length. Pixels of at most 8 have 3 bits: all sums stay below ``2**53``.
        """
        down, across = self._cosines
        length = math.log2(math.prod(self.shape[1:]))
        one = 2.0 ** ((_BITS - math.ceil(length / 2)) // 2)
        return (down * one).round(), (across * one).round(), one

    @property
    def width(self) -> int:
        """How many coefficients an image has."""
        down, across = self.rows
        return self.shape[0] * len(down) * len(across)

    @torch.no_grad()
    def coordinates(self, images: Tensor) -> Tensor:
        """(n, d) float32 of (n, c, h, w) images; pixels that are no numbers count as 0.

        Pixels are cut to [-8, 8], and rounded to some 6 decimals.

        Guaranteed: an image's coordinates are the same to the last bit, whichever others it comes
        with, and in whatever order.
        """
        down, across, one = self._steps
        found = [torch.zeros(0, self.width)]
        for part in torch.split(images, _CHUNK):
            pixels = torch.nan_to_num(part.double(), 0.0, 0.0, 0.0).clamp(-_LARGEST, _LARGEST)
            half = down @ (pixels * one).round()  # exact, and so is the next product
            whole = (half / one).round() @ across.T
            found.append((whole / one**2 + 0.0).flatten(1).float())  # no negative zeros
        return torch.cat(found)

    def pictures(self, coordinates: Tensor) -> Tensor:
        """(n, c, h, w) of (n, d) coefficients; pixels may lie outside [0, 1]."""
        down, across = self.rows
        grid = coordinates.view(-1, self.shape[0], len(down), len(across))
        return down.T @ grid @ across
