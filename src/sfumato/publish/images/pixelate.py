"""``images.pixelate``: cells of an image averaged, under Laplace noise (DP-Pix).

What is proven, and of what: two images that differ in at most ``pixels`` pixels, wherever these
are, give any published image with nearly the same probability. A whole image is ``height x width /
pixels`` such changes away from another one, and that is what its epsilon is multiplied by: it is
printed beside. So this protects something small in a picture, a mark or a part of a face, not who
is shown.

Each cell's *sum* is released, over the number of pixels of a whole cell, and scaled to the size of
the cell where it is cut by the border; so ``pixels`` changed pixels move the released numbers by at
most ``pixels x channels / block**2`` in L1, whichever cells they fall in. (A mean over a cell of
two pixels that got the noise of a whole cell would be protected a half, or less.)

Source: Fan, "Image Pixelization with Differential Privacy", DBSec 2018; perturbation.md B.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sfumato.errors import InputError
from sfumato.privacy.guarantee import Local
from sfumato.publish import checks
from sfumato.publish.images.perturbed import (
    AS_THEY_CAME,
    LABEL_NOISE,
    Images,
    Run,
    images_only,
    public_labels,
    response,
    shares,
    unit,
)
from sfumato.publish.method import Calibrated
from sfumato.registry import method

if TYPE_CHECKING:
    from sfumato.data import ImageSchema
    from sfumato.privacy.budget import Budget
    from sfumato.privacy.mechanisms import Laplace
    from sfumato.privacy.neighbours import Neighbours
    from sfumato.privacy.noise import NoiseSource

_STEP = 2.0**-28
"""Of the grid that sums are on, where the noise suits it; else a part of the noise."""
_FINE = 2.0**-32


@dataclass(frozen=True)
class Cells:
    """Noisy averages of square cells, drawn as cells again.

    Args:
        block: Pixels a side of a cell.
        noise: On every cell's sum over ``block**2``.
    """

    block: int
    noise: Laplace

    def sums(self, images: Images) -> np.ndarray:
        """(n, c, rows, columns) float64: each cell's sum over ``block**2``."""
        n, channels, height, width = images.shape
        rows, columns = -(-height // self.block), -(-width // self.block)
        padded = np.zeros((n, channels, rows * self.block, columns * self.block))
        padded[:, :, :height, :width] = images
        cells = padded.reshape(n, channels, rows, self.block, columns, self.block)
        return np.asarray(cells.mean(axis=(3, 5)))

    def sensitivity(self, neighbours: Neighbours) -> float:
        """The L1 distance of two neighbouring images' cells."""
        return self.noise.sensitivity(neighbours)

    def release(self, images: Images, source: NoiseSource) -> Images:
        """(n, c, h, w) in [0, 1]: every pixel has the noisy mean of its cell."""
        from sfumato.privacy.mechanisms import to_grid

        height, width = images.shape[2:]
        step = self.noise.granularity
        noisy = self.noise.release(to_grid(self.sums(images), step) * step, source)
        drawn = noisy.repeat(self.block, axis=2).repeat(self.block, axis=3)[:, :, :height, :width]
        share = np.outer(
            self._inside(height), self._inside(width)
        )  # of a cell that is in the image
        return np.asarray((drawn / share).clip(0, 1), dtype=np.float32)

    def _inside(self, side: int) -> np.ndarray:
        """(side,) for each pixel: the part of its cell's side that is in the image."""
        starts = np.arange(side) // self.block * self.block
        return np.minimum(side - starts, self.block) / self.block


@method("images.pixelate")
@dataclass(frozen=True)
class Pixelate:
    """Images in noisy blocks; protects a few pixels of each, not whole images.

    Args:
        block: Pixels a side of a cell; larger ones need less noise, and show less.
        pixels: Two images that differ in at most so many pixels are made alike.
        label_share: The share of epsilon that protects the label, by randomised response; 0
            publishes labels as they are.

    Raises:
        InputError: If a value is out of its range.

    Guaranteed: ``Local``, pure, for a change of up to ``pixels`` pixels of an image (and its label,
    if a share is given); by group privacy ``height x width / pixels`` times that for any image.
    """

    block: int = 4
    pixels: int = 16
    label_share: float = 0.0

    name: ClassVar[str]
    kinds: ClassVar[tuple[str, ...]] = ("images",)
    gives: ClassVar[str] = "images"
    source: ClassVar[str] = "Fan, Image Pixelization with Differential Privacy, DBSec 2018"
    relation: ClassVar[str] = "local"
    needs_records: ClassVar[bool] = False
    default_delta: ClassVar[float] = 0.0
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": {"block": 16, "pixels": 16}}

    def __post_init__(self) -> None:
        checks.whole("block", self.block, 1)
        checks.whole("pixels", self.pixels, 1)
        checks.number("label_share", self.label_share, 0, 1 - 1e-9)

    def calibrate(self, budget: Budget, facts: ImageSchema) -> Calibrated:
        """The run that spends ``budget`` on each image with these public facts; pure noise.

        Raises:
            InputError: If the facts are not those of images, or these are too small.
        """
        from sfumato.privacy import events
        from sfumato.privacy.budget import Budget
        from sfumato.privacy.mechanisms import Laplace
        from sfumato.privacy.mechanisms.grid import power_below
        from sfumato.privacy.neighbours import Neighbours

        images_only(facts, self.name)
        channels, height, width = facts.shape
        if self.block > max(height, width):
            raise InputError(
                f"block is {self.block} for images of {height} x {width} pixels",
                "Give a smaller one.",
            )
        if self.pixels > height * width:
            raise InputError(
                f"pixels is {self.pixels} for images of {height * width}", "Give no more than all."
            )
        left, for_label = shares(budget.epsilon, self.label_share, facts)
        label = response(facts, for_label)
        distance = self.pixels * channels / self.block**2
        scale = distance / left
        step = _STEP if _STEP * 2.0**20 <= scale < _STEP * 2.0**44 else power_below(scale) * _FINE
        # Rounding toward zero may part two images by a step in each cell that differs.
        padded = distance + step * self.pixels * channels
        hair = 1 - 2.0**-48  # what rounding in the accounting may add
        noise = Laplace.calibrate(Budget(left * hair), padded / 2, Neighbours.REPLACE_ONE, step)
        event = noise.event if label is None else events.compose(noise.event, label.event)
        whole = left * height * width / self.pixels + budget.epsilon - left
        plan: dict[str, Any] = {
            "aligned": True,
            "scale": noise.scale,
            "distance": distance,
            "block": self.block,
            "pixels": self.pixels,
            "whole_image_epsilon": whole,
        }
        if label is not None:
            plan[LABEL_NOISE] = label.noise_probability
        return Calibrated(
            method=self,
            budget=budget,
            facts=facts,
            guarantee=Local(event, 0.0, unit(self.pixels, label is not None)),
            plan=plan,
            run=Run(facts, Cells(self.block, noise), label),
            public=public_labels(label),
            caveats=(
                f"Epsilon is for a change of at most {self.pixels} of {height * width} pixels. For "
                f"two whole images it is {whole:,.6g} (group privacy): who is shown is not hidden.",
                "Averaging, not noise, hides most here, and averaging proves nothing.",
                *(() if label is not None else AS_THEY_CAME),
            ),
        )
