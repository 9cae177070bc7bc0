"""A method so small that all about it is known, for audits of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from scipy.special import expit

from sfumato.data import ImageSchema, ImageSet
from sfumato.privacy.budget import Budget
from sfumato.privacy.guarantee import Central
from sfumato.privacy.mechanisms import Gaussian
from sfumato.privacy.neighbours import Neighbours
from sfumato.publish.method import Calibrated
from sfumato.release.release import Artefact

PIXEL = ImageSchema(1, 1, 1, ("a", "b"))


@dataclass(frozen=True)
class Brightness:
    """The noisy sum of every image's mean, published as one grey pixel.

    Args:
        noise: Planted: the noise that is drawn, over the noise that is claimed.
    """

    noise: float = 1.0

    name: ClassVar[str] = "test.brightness"
    kinds: ClassVar[tuple[str, ...]] = ("images",)
    gives: ClassVar[str] = "images"
    source: ClassVar[str] = "none"
    relation: ClassVar[str] = "central"
    default_delta: ClassVar[float] = 1e-5
    needs_records: ClassVar[bool] = False

    def calibrate(self, budget: Budget, facts: Any) -> Calibrated:
        honest = Gaussian.calibrate(budget, 1.0, Neighbours.ADD_REMOVE, None, 1)
        drawn = replace(honest, stddev=honest.stddev * self.noise)

        def run(data: ImageSet, source: Any, progress: Any) -> Artefact:
            total = float(data.images.mean(axis=(1, 2, 3), dtype=np.float64).sum())
            pixel = expit(drawn.release([total], source) / 10).reshape(1, 1, 1, 1)
            return Artefact(ImageSet.from_arrays(pixel.astype(np.float32), [0], facts.classes))

        return Calibrated(self, budget, facts, Central(honest.event, budget.delta), {}, run)
