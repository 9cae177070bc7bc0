"""``images.gaussian``: Gaussian noise on every pixel, enough of it for the unit that is claimed.

Noise of a size that somebody likes the look of proves nothing. Here it follows from what is to be
hidden: by default any image from any other, whose distance is the diameter of all images, so that
little is left to see at a usual epsilon; or a change of a few pixels, which is a much weaker claim.

Source: generative.md row 20 (transforms); perturbation.md C.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
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
    from sfumato.privacy.mechanisms import Gaussian
    from sfumato.privacy.neighbours import Neighbours
    from sfumato.privacy.noise import NoiseSource

_HAIR = 1 - 2.0**-40
_MIDDLE = 0.5
_STEP = 2.0**-32
"""Of the grid that pixels are on, where the noise suits it."""


@dataclass(frozen=True)
class NoisyPixels:
    """Noise on every pixel of an image that lies within a ball around the middle grey.

    Args:
        clip_norm: Radius of the ball; what is outside is drawn in to its surface, which brings no
            two images further apart.
        noise: On every pixel.
    """

    clip_norm: float
    noise: Gaussian

    def sensitivity(self, neighbours: Neighbours) -> float:
        """The L2 distance of two neighbouring images."""
        return self.noise.sensitivity(neighbours)

    def clipped(self, images: Images) -> np.ndarray:
        """(n, c, h, w) float64, on the noise's grid, with the middle grey at 0."""
        from sfumato.privacy.mechanisms import to_grid

        centred = images.astype(np.float64) - _MIDDLE
        norms = np.sqrt(np.square(centred).sum(axis=(1, 2, 3), keepdims=True))
        bound = self.clip_norm * _HAIR
        shorter = centred * (bound / np.maximum(norms, bound))
        step = self.noise.granularity
        return np.asarray(to_grid(shorter, step) * step)

    def release(self, images: Images, source: NoiseSource) -> Images:
        """(n, c, h, w) in [0, 1]."""
        noisy = self.noise.release(self.clipped(images), source) + _MIDDLE
        return np.asarray(noisy.clip(0, 1), dtype=np.float32)


@method("images.gaussian")
@dataclass(frozen=True)
class GaussianNoise:
    """Images under Gaussian noise on every pixel.

    Args:
        pixels: Two images that differ in at most so many pixels are made alike; None: any two.
        contrast: Root-mean-square distance from the middle grey beyond which an image's contrast is
            lowered, in (0, 0.5]; less of it needs less noise where any two images are made alike.
        label_share: The share of epsilon that protects the label, by randomised response; 0
            publishes labels as they are.

    Raises:
        InputError: If a value is out of its range.

    Guaranteed: ``Local``, (epsilon, delta), for the unit that ``pixels`` says.
    """

    pixels: int | None = None
    contrast: float = 0.5
    label_share: float = 0.0

    name: ClassVar[str]
    kinds: ClassVar[tuple[str, ...]] = ("images",)
    gives: ClassVar[str] = "images"
    source: ClassVar[str] = "Gaussian mechanism (Balle and Wang, ICML 2018) on each image"
    relation: ClassVar[str] = "local"
    needs_records: ClassVar[bool] = False
    default_delta: ClassVar[float] = 1e-5
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def __post_init__(self) -> None:
        if self.pixels is not None:
            checks.whole("pixels", self.pixels, 1)
        checks.number("contrast", self.contrast, 0, 0.5, closed=False)
        checks.number("label_share", self.label_share, 0, 1 - 1e-9)

    def calibrate(self, budget: Budget, facts: ImageSchema) -> Calibrated:
        """The run that spends ``budget`` on each image with these public facts.

        Raises:
            InputError: If the facts are not those of images, or the budget lacks a delta.
        """
        from sfumato.privacy import accounting, events
        from sfumato.privacy.budget import Budget
        from sfumato.privacy.mechanisms import Gaussian
        from sfumato.privacy.neighbours import Neighbours

        images_only(facts, self.name)
        channels, height, width = facts.shape
        if self.pixels is not None and self.pixels > height * width:
            raise InputError(
                f"pixels is {self.pixels} for images of {height * width}", "Give no more than all."
            )
        left, for_label = shares(budget.epsilon, self.label_share, facts)
        label = response(facts, for_label)
        clip_norm = self.contrast * math.sqrt(channels * height * width)
        farthest = 2 * clip_norm
        distance = farthest
        if self.pixels is not None:
            distance = min(farthest, math.sqrt(self.pixels * channels))
        # Rounding toward zero may part two images by a step in each pixel that differs.
        relation, padded = Neighbours.REPLACE_ONE, distance / 2 * (1 + 2.0**-20)
        noise = Gaussian.calibrate(Budget(left, budget.delta), padded, relation)
        if _STEP * 2.0**24 <= noise.stddev <= _STEP * 2.0**48:
            noise = replace(noise, granularity=_STEP)
        event = noise.event if label is None else events.compose(noise.event, label.event)
        far = events.GaussianDpEvent(noise.stddev / (farthest / 2))
        all_of_it = far if label is None else events.compose(far, label.event)
        whole = accounting.epsilon(all_of_it, budget.delta, relation)
        plan: dict[str, Any] = {
            "aligned": True,
            "stddev": noise.stddev,
            "distance": distance,
            "clip_norm": clip_norm,
            "whole_image_epsilon": whole,
        }
        if label is not None:
            plan[LABEL_NOISE] = label.noise_probability
        said: tuple[str, ...] = ()
        if self.pixels is not None:
            said = (
                f"Epsilon is for a change of at most {self.pixels} of {height * width} pixels. For "
                f"two whole images it is {whole:,.6g}: who is shown is not hidden.",
            )
        return Calibrated(
            method=self,
            budget=budget,
            facts=facts,
            guarantee=Local(event, budget.delta, unit(self.pixels, label is not None)),
            plan=plan,
            run=Run(facts, NoisyPixels(clip_norm, noise), label),
            public=public_labels(label),
            caveats=(*said, *(() if label is not None else AS_THEY_CAME)),
        )
