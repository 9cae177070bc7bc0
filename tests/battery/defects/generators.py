"""Defects of generators."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from battery.row import Array
from sfumato.privacy.mechanisms import (
    Gaussian,
    to_grid,
)
from sfumato.privacy.noise import NoiseSource
from sfumato.publish.generators.features import STEP
from sfumato.publish.method import Calibrated

MERF = "generators.merf"


def half_sensitivity(made: Calibrated) -> Calibrated:
    """Takes the sensitivity of a mean under replace-one for 1 / n."""
    noise = made.run.noise
    less = Gaussian(noise.stddev / 2, noise.contribution, noise.granularity)
    return replace(made, run=replace(made.run, noise=less))


class ByClass(Gaussian):
    """Divides each class's sum by its own exact count before the noise."""

    def release(self, values: Any, source: NoiseSource) -> Array:
        """Means within classes, in the units of a sum over all records."""
        counts = values[:, :1]
        means = values / np.where(counts > 0, counts, 1.0) * counts.sum() / len(values)
        return super().release(to_grid(means, STEP) * STEP, source)


def by_class(made: Calibrated) -> Calibrated:
    noise = made.run.noise
    return replace(
        made,
        run=replace(made.run, noise=ByClass(noise.stddev, noise.contribution, noise.granularity)),
    )
