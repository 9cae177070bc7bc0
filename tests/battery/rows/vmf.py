"""Rows of ``learn.vmf``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from battery.accountant import Parts
from battery.data import PICTURES
from battery.row import Array, MethodRow
from battery.rows.trained import RECORDS, first, trained
from sfumato.data import ImageSet
from sfumato.privacy.budget import Budget
from sfumato.privacy.neighbours import Neighbours
from sfumato.publish.method import Calibrated
from sfumato.publish.models.vmf import VonMisesFisher

SMALL: dict[str, Any] = {
    "network": "dense",
    "steps": 4,
    "expected_batch_size": 10,
    "learning_rate": 0.5,
    "seed": 1,
    "device": "cpu",
}
ALTERNATIVES: dict[str, Any] = {
    "network": "small-cnn",
    "hidden": (4,),
    "steps": 3,
    "expected_batch_size": 8,
    "optimizer": "adam",
    "learning_rate": 0.25,
    "momentum": 0.5,
    "schedule": "linear",
    "averaging": 0.5,
    "block": 7,
    "seed": 2,
    "device": "cuda",
}


def vmf(name: str) -> MethodRow:
    """Noise on the direction of every gradient."""

    def parts(plan: Mapping[str, Any], facts: Any) -> Parts:
        rate = plan["sampling"]["rate"]
        return Parts().direction(plan["kappa"], plan["size"], 2.0, rate, plan["steps"])

    def norms(made: Calibrated) -> tuple[Array, float]:
        """Of one record's direction: as many equal records as were declared, over their number."""
        rng = np.random.default_rng(3)
        images = [rng.random((1, 4, 4)) ** power for power in np.geomspace(0.01, 100, 12)]
        images += [np.full((1, 4, 4), value) for value in (0.0, 0.5, 1.0)]
        found = []
        for i, image in enumerate(images):
            alike = np.repeat(image[None].astype(np.float32), RECORDS, axis=0)
            labels = np.full(RECORDS, i % 3)
            step = first(made, ImageSet.from_arrays(alike, labels, PICTURES.classes))
            found.append(np.linalg.norm(step.values) / RECORDS)
        return np.array(found), made.plan["length"]

    return trained(
        name,
        VonMisesFisher,
        SMALL,
        ALTERNATIVES,
        parts=parts,
        neighbours=Neighbours.REPLACE_ONE,
        norms=norms,
        huge=Budget(1e7),
    )
