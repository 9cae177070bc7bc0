"""Rows of ``generators.taught``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from battery.accountant import Parts
from battery.row import Array, MethodRow
from battery.rows.recipe import FACTS, pictures
from battery.rows.trained import RECORDS, steps_of_plan, trained
from sfumato.publish.generators.taught import Taught
from sfumato.release.release import Artefact

SMALL: dict[str, Any] = {
    "samples": 6,
    "candidates": 2,
    "class_shares": "estimated",
    "drawings": 1.0,
    "silhouettes": 1.0,
    "textured": 1.0,
    "outlines": 1.0,
    "description_share": 0.4,
    "coefficients": 4,
    "sample_rate": 0.25,
    "steps": 4,
    "seed": 1,
}


def taught(name: str, **settings: Any) -> MethodRow:
    """A noisy description, a linear teacher, and pictures that it labels."""

    def parts(plan: Mapping[str, Any], facts: Any) -> Parts:
        found = steps_of_plan(plan, facts)
        for key in ("mean_noise_multiplier", "description_noise_multiplier"):
            if plan[key] is not None:
                found = found.gaussian(1.0, plan[key])
        return found

    return trained(
        name,
        Taught,
        SMALL | settings,
        {
            "samples": 7,
            "candidates": 3,
            "repeats": 2,
            "class_shares": {"a": 0.8, "b": 0.1, "c": 0.1},
            "temperature": 2.0,
            "labels": "hard",
            "drawings": 5.0,
            "silhouettes": 5.0,
            "textured": 5.0,
            "outlines": 5.0,
            "description_share": 0.5,
            "coefficients": 9,
            "brightness": 0.2,
            "sample_rate": 0.5,
            "steps": 5,
            "max_grad_norm": 0.2,
            "learning_rate": 1.0,
            "momentum": 0.5,
            "averaged": 0.5,
            "centre_share": 0.2,
            "neighbours": "replace-one",
            "max_minutes": 1e-9,
            "seed": 2,
        },
        parts=parts,
        pictures=pictures,
        facts=FACTS.with_records(RECORDS),
        numbers=numbers,
        paid_for=frozenset({"class_shares", "directions"}),
        reach=None,  # it moves with the mean, which is noisy
        tolerance=0.25,  # the steps keep a part of the bound as noise at any budget
    )


def numbers(artefact: Artefact) -> dict[str, Array]:
    """All that is published."""
    images: Any = artefact.data
    found = {"images": images.images, "labels": images.labels}
    return found if images.soft_labels is None else found | {"soft": images.soft_labels}
