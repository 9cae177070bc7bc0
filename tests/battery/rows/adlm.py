"""Rows of ``learn.adlm``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from battery.accountant import Parts
from battery.row import MethodRow
from battery.rows.trained import steps_of_plan, trained
from sfumato.publish.models.adlm import AdLmMethod

SMALL: dict[str, Any] = {
    "network": "dense",
    "hidden": (3,),
    "epochs": 1.0,
    "expected_batch_size": 10,
    "warmup": 0.25,
    "relevance_share": 0.5,
    "max_grad_norm": 1.0,
    "learning_rate": 0.5,
    "averaging": None,
    "seed": 1,
    "device": "cpu",
}


def adlm(name: str) -> MethodRow:
    """Steps, the relevance of the inputs, more steps."""

    def parts(plan: Mapping[str, Any], facts: Any) -> Parts:
        return steps_of_plan(plan, facts).gaussian(1.0, plan["relevance_noise_multiplier"])

    return trained(
        name,
        AdLmMethod,
        SMALL,
        {
            "network": "small-cnn",
            "hidden": (4,),
            "epochs": 2.0,
            "expected_batch_size": 8,
            "warmup": 0.5,
            "relevance_share": 0.3,
            "floor": 0.5,
            "max_grad_norm": 0.5,
            "learning_rate": 0.25,
            "momentum": 0.5,
            "averaging": 0.5,
            "neighbours": "replace-one",
            "physical_batch_size": 7,
            "seed": 2,
            "device": "cuda",
        },
        parts=parts,
    )
