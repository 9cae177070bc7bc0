"""Noisy mean images of the classes, of several parts of each.

Every image is cut to a public length and adds to the sum of one cell: its class, and one of some
parts that a public function of the image itself chooses. So a record moves one cell by at most the
bound, and one draw of Gaussian noise on all cells is one release, however many parts there are.

Sums are divided by the size that a cell is *expected* to have, from the public number of records
and from shares of the classes that are public or paid for. Published code divides by the number of
images a class happens to have: where that is small, the sum it divides was noised for more.

Source: Li et al. 2025 (DP-FETA) for central images; generative.md 5.4 for what is wrong there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sfumato.errors import InputError
from sfumato.learn import own_noise
from sfumato.learn.clipping import MARGIN

if TYPE_CHECKING:
    from dp_accounting import DpEvent

    from sfumato.privacy.noise import NoiseSource

_CHUNK = 4096
_STEP = 2.0**-24  # a pixel's is a ten thousandth, say; sums of 2**29 images are exact in float64


@dataclass(frozen=True)
class Centres:
    """What is summed, and the noise on it: public choices.

    Args:
        shape: (channels, height, width) of an image.
        classes: K.
        parts: Cells of a class.
        noise_multiplier: Noise on each pixel's sum over the bound, 1, of a record's contribution.
        brightness: The root-mean-square pixel up to which an image is summed as it is; a brighter
            one is scaled down to it.

    Raises:
        InputError: If a value is out of its range.
    """

    shape: tuple[int, int, int]
    classes: int
    parts: int
    noise_multiplier: float
    brightness: float = 0.5

    def __post_init__(self) -> None:
        for name in ("noise_multiplier", "brightness"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"{name} is {getattr(self, name)!r}", "Give a number above 0.")
        if self.parts < 1:
            raise InputError(f"parts is {self.parts!r}", "Give a whole number from 1 up.")

    @property
    def event(self) -> DpEvent:
        """What :meth:`release` draws, for adding or removing one record."""
        from sfumato.privacy import events

        return events.GaussianDpEvent(self.noise_multiplier)

    @torch.no_grad()
    def sums(self, images: Tensor, labels: Tensor) -> Tensor:
        """(parts, K, c h w) float64, noise aside; one image's norm is at most 1.

        Images are added up in whole steps of a grid, towards 0: exactly, in whatever order, so that
        one image moves the sums by its own contribution and by nothing that rounding adds.
        """
        unit = self.brightness * math.sqrt(math.prod(self.shape))
        total = torch.zeros(self.parts * self.classes, math.prod(self.shape), dtype=torch.int64)
        for some, codes in zip(
            torch.split(images, _CHUNK), torch.split(labels, _CHUNK), strict=True
        ):
            flat = some.flatten(1).double() / unit
            norms = torch.linalg.vector_norm(flat, dim=1, keepdim=True)
            cut = torch.where(norms.isfinite(), flat / norms.clamp_min(1.0), 0.0) * (1 - MARGIN)
            part = own_noise.keys_of(some).remainder(self.parts)
            steps = (cut / _STEP).trunc().long()
            total.index_add_(0, part * self.classes + codes, steps)
        return (total.double() * _STEP).view(self.parts, self.classes, -1)

    def release(
        self, images: Tensor, labels: Tensor, records: int, shares: Tensor, source: NoiseSource
    ) -> Tensor:
        """(parts, K, c, h, w) float32 noisy means; pixels may lie outside [0, 1].

        Args:
            images: (n, c, h, w) private.
            labels: (n,) private.
            records: The public number of records.
            shares: (K,) of the classes, public or paid for.
            source: The noise.
        """
        from sfumato.learn.noise import add_gaussian_double

        exact = self.sums(images, labels)
        noisy = add_gaussian_double(exact.flatten(), self.noise_multiplier, source)
        expected = shares.double().view(1, -1, 1) * (records / self.parts)
        unit = self.brightness * math.sqrt(math.prod(self.shape))
        means = noisy.view(exact.shape) * unit / expected.clamp_min(1.0)
        return means.view(self.parts, self.classes, *self.shape).float()
