"""Defects of methods that change images one by one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from battery.row import Array
from sfumato.privacy.mechanisms import to_grid
from sfumato.publish.images.gaussian import NoisyPixels
from sfumato.publish.images.pixelate import Cells
from sfumato.publish.method import Calibrated

PIXELATE, GAUSSIAN = "images.pixelate", "images.gaussian"


class Means(Cells):
    """Averages cells that the border cuts over what is left of them, under the same noise."""

    def sums(self, images: Any) -> Array:
        height, width = images.shape[2:]
        share = np.outer(self._inside(height), self._inside(width))
        return super().sums(images / share)


class BatchContrast(NoisyPixels):
    """Lowers the contrast of all images by the one that has most of it."""

    def clipped(self, images: Any) -> Array:
        centred = images.astype(np.float64) - 0.5
        norm = np.sqrt(np.square(centred).sum(axis=(1, 2, 3))).max()
        step = self.noise.granularity
        return np.asarray(to_grid(centred * min(1.0, self.clip_norm / norm), step) * step)


def _transformed(made: Calibrated, cls: type, **changes: Any) -> Calibrated:
    old: Any = made.run.transform  # type: ignore[attr-defined]
    fields = {name: getattr(old, name) for name in old.__dataclass_fields__}
    return replace(made, run=replace(made.run, transform=cls(**{**fields, **changes})))  # type: ignore[type-var]


def means_of_cut_cells(made: Calibrated) -> Calibrated:
    """Cells at the border count for more than is paid for."""
    return _transformed(made, Means)


def radius_for_diameter(made: Calibrated) -> Calibrated:
    """Half the noise: as if an image were added, where it is replaced."""
    noise = made.run.transform.noise  # type: ignore[attr-defined]
    return _transformed(made, NoisyPixels, noise=replace(noise, stddev=noise.stddev / 2))


def one_pixel(made: Calibrated) -> Calibrated:
    """A sensitivity of one pixel, whatever the unit says."""
    noise = made.run.transform.noise  # type: ignore[attr-defined]
    pixels = made.method.pixels
    return _transformed(made, Cells, noise=replace(noise, scale=noise.scale / pixels))


def contrast_of_the_batch(made: Calibrated) -> Calibrated:
    """One image's contrast decides what is left of the others'."""
    return _transformed(made, BatchContrast)
