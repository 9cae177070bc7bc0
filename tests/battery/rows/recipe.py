"""Rows of ``learn.recipe``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from battery.accountant import Parts
from battery.row import MethodRow
from battery.rows.trained import RECORDS, steps_of_plan, trained
from sfumato.data import ImageSchema, ImageSet
from sfumato.publish.models.recipe import Recipe

FACTS = ImageSchema(1, 8, 8, ("a", "b", "c"))
SMALL: dict[str, Any] = {"sample_rate": 0.25, "steps": 4}


def recipe(name: str) -> MethodRow:
    """Noisy mean, then a linear layer on scattering features."""

    def parts(plan: Mapping[str, Any], facts: Any) -> Parts:
        return steps_of_plan(plan, facts).gaussian(1.0, plan["mean_noise_multiplier"])

    return trained(
        name,
        Recipe,
        SMALL,
        {
            "sample_rate": 0.5,
            "steps": 5,
            "max_grad_norm": 0.2,
            "learning_rate": 1.0,
            "momentum": 0.5,
            "averaged": 0.5,
            "centre_share": 0.2,
            "drawings": 50,
            "upright": True,
            "neighbours": "replace-one",
        },
        parts=parts,
        pictures=pictures,
        facts=FACTS.with_records(RECORDS),
        reach=None,  # it moves with the mean, which is noisy
        tolerance=0.25,  # the steps keep a twentieth of the bound as noise at any budget
    )


def pictures(seed: int, n: int) -> ImageSet:
    """Pictures large enough for scattering."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, n, p=rng.dirichlet(np.ones(3)))
    images = (rng.random((n, 1, 8, 8)) ** rng.uniform(0.3, 3)).astype(np.float32)
    return ImageSet.from_arrays(images, labels, FACTS.classes)
