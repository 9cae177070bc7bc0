"""Rows of ``learn.dpsgd``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from battery import data
from battery.accountant import Parts
from battery.row import MethodRow, PublicAudit
from battery.rows.trained import steps_of_plan, trained
from sfumato.privacy.budget import Budget
from sfumato.privacy.neighbours import Neighbours
from sfumato.publish.models.dpsgd import DpSgdMethod

SMALL: dict[str, Any] = {
    "network": "dense",
    "epochs": 1.0,
    "expected_batch_size": 10,
    "max_grad_norm": 1.0,
    "learning_rate": 0.5,
    "averaging": None,
    "seed": 1,
    "device": "cpu",
}
ALTERNATIVES: dict[str, Any] = {
    "network": "small-cnn",
    "hidden": (4,),
    "epochs": 2.0,
    "expected_batch_size": 8,
    "clipping": "automatic",
    "max_grad_norm": 0.5,
    "layer_weights": {"1": 1.0},
    "components": 2,
    "optimizer": "adam",
    "learning_rate": 0.25,
    "momentum": 0.5,
    "schedule": "linear",
    "averaging": 0.5,
    "neighbours": "replace-one",
    "seed": 2,
    "device": "cuda",
}


FROM_OUTSIDE = PublicAudit(
    # Small steps, so that a record pulls the same way in all of them; half of the records a step.
    settings={"epochs": 4.0, "expected_batch_size": 6, "learning_rate": 0.02, "momentum": 0.0},
    budget=Budget(8.0, 1e-5),
    runs=100,
    records=12,
)


def dpsgd(name: str, **settings: Any) -> MethodRow:
    """Flat clipping."""
    return trained(
        name, DpSgdMethod, SMALL | settings, ALTERNATIVES, public_audit=FROM_OUTSIDE, runs=120
    )


def viewed(name: str) -> MethodRow:
    """Each picture's gradient is the mean of those of some views."""
    return trained(
        name,
        DpSgdMethod,
        SMALL | {"views": 3, "shift": 1},
        {"views": 2, "shift": 2, "mirror": True},
        runs=0,
        slow_runs=500,
    )


def replaced(name: str) -> MethodRow:
    """Under replace-one."""

    def parts(plan: Mapping[str, Any], facts: Any) -> Parts:
        return Parts().sampled(
            plan["sampling"]["rate"], 1.0, plan["noise_multiplier"], plan["steps"], "replace-one"
        )

    return trained(
        name,
        DpSgdMethod,
        {**SMALL, "neighbours": "replace-one"},
        {"physical_batch_size": 7},
        parts=parts,
        neighbours=Neighbours.REPLACE_ONE,
        norms=None,  # a data set of one record contradicts the public number
    )


def correlated(name: str) -> MethodRow:
    """Noise correlated over three steps, under replace-one."""
    bands = 3

    def parts(plan: Mapping[str, Any], facts: Any) -> Parts:
        participations = math.ceil(plan["steps"] / bands)
        rate = plan["sampling"]["rate"]
        return Parts().sampled(rate, 1.0, plan["noise_multiplier"], participations, "replace-one")

    def neighbour(private: Any, rng: np.random.Generator) -> Any:
        """Replaces a picture of the first group, whose turns the recorder knows."""
        other = data.replace_picture(private, rng)
        changed = np.flatnonzero((other.images != private.images).any(axis=(1, 2, 3)))
        return other if not (changed % bands).any() else neighbour(private, rng)

    return trained(
        name,
        DpSgdMethod,
        {**SMALL, "epochs": 1.5, "bands": bands, "neighbours": "replace-one"},
        {"bands": 2},
        parts=parts,
        neighbours=Neighbours.REPLACE_ONE,
        neighbour=neighbour,
        norms=None,  # a data set of one record contradicts the public number
        tolerance=0.15,
        sampled=False,  # groups take turns: see tests/learn/test_grouped.py
    )


def layered(name: str) -> MethodRow:
    """A bound and a budget for each layer."""
    return trained(
        name,
        DpSgdMethod,
        {
            **SMALL,
            "hidden": (4,),
            "clipping": "layer-budgets",
            "layer_weights": {"1": 1.0, "3": 2.0},
        },
        {"layer_weights": {"1": 2.0, "3": 1.0}},
        bound=lambda plan: math.hypot(*plan["clipping"]["max_grad_norms"]),
    )


def adaptive(name: str) -> MethodRow:
    """A bound that follows a noisy median."""
    return trained(
        name,
        DpSgdMethod,
        {**SMALL, "clipping": "adaptive", "expected_batch_size": 20, "epochs": 2.0},
        {},
        bound=lambda plan: plan["clipping"]["initial"],
        runs=0,
        slow_runs=2000,
    )


def projected(name: str) -> MethodRow:
    """Noisy principal directions first."""

    def parts(plan: Mapping[str, Any], facts: Any) -> Parts:
        return steps_of_plan(plan, facts).gaussian(1.0, plan["directions_noise_multiplier"])

    return trained(
        name,
        DpSgdMethod,
        {**SMALL, "components": 3},
        {"components": 2, "components_share": 0.5},
        parts=parts,
        reach=None,  # it moves with the directions, which are noisy
    )
