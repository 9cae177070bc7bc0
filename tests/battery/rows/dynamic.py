"""The row of ``learn.dynamic``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from battery.accountant import Parts
from battery.row import MethodRow
from battery.rows.trained import trained
from sfumato.publish.models.dynamic import Dynamic

SMALL: dict[str, Any] = {
    "network": "dense",
    "epochs": 1.0,
    "expected_batch_size": 10,
    "noise_schedule": "linear",
    "noise_fall": 2.0,
    "max_grad_norm": 1.0,
    "clip_schedule": "exponential",
    "clip_fall": 2.0,
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
    "noise_schedule": "cyclic",
    "noise_fall": 3.0,
    "clipping": "automatic",
    "max_grad_norm": 0.5,
    "clip_schedule": "linear",
    "clip_fall": 3.0,
    "optimizer": "adam",
    "learning_rate": 0.25,
    "momentum": 0.5,
    "schedule": "linear",
    "averaging": 0.5,
    "neighbours": "replace-one",
    "physical_batch_size": 3,
    "seed": 2,
    "device": "cuda",
}


def steps_of_line(plan: Mapping[str, Any], facts: Any) -> Parts:
    """What the printed line of multipliers comes to: its formula, step by step."""
    line, steps = plan["noise_schedule"], plan["steps"]
    assert line["kind"] == "linear"
    parts = Parts()
    for step in range(steps):
        value = line["first"] + (line["last"] - line["first"]) * step / steps
        on_grid = 1.02 ** round(math.log(value, 1.02))
        parts = parts.sampled(plan["sampling"]["rate"], 1.0, on_grid * plan["scale"], 1)
    return parts


def dynamic(name: str) -> MethodRow:
    """Noise that falls on a line, and a bound that falls with it."""
    # The first step, of which the truth is asked, has the most noise.
    return trained(name, Dynamic, SMALL, ALTERNATIVES, parts=steps_of_line, tolerance=0.1)
