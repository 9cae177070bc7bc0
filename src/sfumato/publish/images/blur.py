"""``images.blur``: images out of focus. Nothing is proven of it; attacks say what it hides.

Blurring is a public linear map that most of the image survives: whoever knows the kernel can
sharpen again, and a network trained on blurred faces knows them. It is here as the floor that
people use, for reports and attacks to be run on.

Source: generative.md row 20 (transforms); perturbation.md C.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sfumato.errors import InputError
from sfumato.privacy.guarantee import Empirical
from sfumato.publish import checks
from sfumato.publish.images.perturbed import (
    AS_THEY_CAME,
    Images,
    Run,
    images_only,
    public_labels,
)
from sfumato.publish.method import Calibrated
from sfumato.registry import method

if TYPE_CHECKING:
    from sfumato.data import ImageSchema
    from sfumato.privacy.budget import Budget
    from sfumato.privacy.noise import NoiseSource


@dataclass(frozen=True)
class Blurred:
    """Gaussian blur, each image and channel by itself.

    Args:
        radius: Standard deviation, in pixels.
    """

    radius: float

    def release(self, images: Images, source: NoiseSource) -> Images:
        """(n, c, h, w) in [0, 1]; draws nothing."""
        from scipy.ndimage import gaussian_filter

        sigma = (0, 0, self.radius, self.radius)
        blurred = gaussian_filter(images.astype(np.float64), sigma, mode="nearest")
        return np.asarray(blurred.clip(0, 1), dtype=np.float32)


@method("images.blur")
@dataclass(frozen=True)
class Blur:
    """Blurred images: no guarantee at all, whatever epsilon is given.

    Args:
        radius: Standard deviation of the blur, in pixels.

    Raises:
        InputError: If it is not above 0.

    Guaranteed: nothing (``Empirical``).
    """

    radius: float = 2.0

    name: ClassVar[str]
    kinds: ClassVar[tuple[str, ...]] = ("images",)
    gives: ClassVar[str] = "images"
    source: ClassVar[str] = "common practice; no proof"
    relation: ClassVar[str] = "no"
    needs_records: ClassVar[bool] = False
    default_delta: ClassVar[float] = 0.0
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def __post_init__(self) -> None:
        checks.number("radius", self.radius, 0, closed=False)

    def calibrate(self, budget: Budget, facts: ImageSchema) -> Calibrated:
        """The run on images with these public facts; the budget buys nothing here.

        Raises:
            InputError: If the facts are not those of images, or of some smaller than the radius.
        """
        images_only(facts, self.name)
        _, height, width = facts.shape
        if self.radius > max(height, width):
            raise InputError(
                f"radius is {self.radius:g} for images of {height} x {width} pixels",
                "Give a smaller one.",
            )
        return Calibrated(
            method=self,
            budget=budget,
            facts=facts,
            guarantee=Empirical(),
            plan={"aligned": True, "radius": self.radius},
            run=Run(facts, Blurred(self.radius)),
            public=public_labels(None),
            caveats=(
                "Nothing is proven of blurred images, and the epsilon that was asked for means "
                "nothing here. A known blur can be undone in part.",
                *AS_THEY_CAME,
            ),
        )
