"""Images as their low frequencies: a public basis in which a few numbers say most."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from sfumato.errors import InputError
from sfumato.learn.moments import cosines

_CHUNK = 4096


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
    def _basis(self) -> tuple[Tensor, Tensor]:
        channels, height, width = self.shape
        room = math.isqrt(self.coefficients // channels)
        down, across = cosines(min(room, height), height), cosines(min(room, width), width)
        return down.float(), across.float()

    @property
    def width(self) -> int:
        """How many coefficients an image has."""
        down, across = self._basis
        return self.shape[0] * len(down) * len(across)

    @torch.no_grad()
    def coordinates(self, images: Tensor) -> Tensor:
        """(n, d) float32 of (n, c, h, w) images; pixels that are no numbers count as 0."""
        down, across = self._basis
        parts = (
            (down @ torch.nan_to_num(part.float(), 0.0, 0.0, 0.0) @ across.T).flatten(1)
            for part in torch.split(images, _CHUNK)
        )
        return torch.cat([*parts, torch.zeros(0, self.width)])

    def pictures(self, coordinates: Tensor) -> Tensor:
        """(n, c, h, w) of (n, d) coefficients; pixels may lie outside [0, 1]."""
        down, across = self._basis
        grid = coordinates.view(-1, self.shape[0], len(down), len(across))
        return down.T @ grid @ across
