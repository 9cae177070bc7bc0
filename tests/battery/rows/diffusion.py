"""Rows of ``generators.diffusion``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from battery import data
from battery.accountant import Parts
from battery.row import MethodRow
from battery.rows import gradient_trained
from battery.rows.common import noise_of
from battery.rows.trained import RECORDS, trained
from sfumato.publish.generators.diffusion import Diffusion

KEYS = (
    "epochs",
    "expected_batch_size",
    "max_grad_norm",
    "class_prior",
    "samples",
    "averaging",
    "seed",
    "device",
)
SETTINGS: dict[str, Any] = {key: gradient_trained.SMALL[key] for key in KEYS} | {
    "width": 2,
    "levels": 2,
    "learning_rate": 0.05,
    "centre_share": 0.5,
    "parts": 2,
    "embedding_share": 0.5,
    "features": 20,
    "warm_steps": 2,
    "warm_batch": 4,
    "warm_rate": 0.05,
    "warm_pictures": 6,
    "generator_steps": 2,
    "label_dropout": 0.5,
    "sampling_steps": 2,
}


def parts(plan: Mapping[str, Any], facts: Any) -> Parts:
    """Steps, counts, and the two draws before them."""
    found = gradient_trained.with_counts(plan, facts)
    for key in ("centres_noise_multiplier", "embedding_noise_multiplier"):
        if key in plan:
            found = found.gaussian(1.0, plan[key])
    return found


def diffusion(name: str, **settings: Any) -> MethodRow:
    """A denoiser by DP-SGD, from central images and an embedding."""
    changed = {key: gradient_trained.ALTERNATIVES[key] for key in (*KEYS, "max_minutes")} | {
        "width": 3,
        "levels": 3,
        "learning_rate": 0.02,
        "centre_share": 0.4,
        "parts": 3,
        "embedding_share": 0.4,
        "features": 30,
        "warm_steps": 4,
        "warm_batch": 5,
        "warm_rate": 0.02,
        "warm_pictures": 7,
        "generator_steps": 3,
        "label_dropout": 0.2,
        "sampling_steps": 3,
        "churn": 0.2,
        "guidance": 1.0,
    }
    return trained(
        name,
        Diffusion,
        SETTINGS | settings,
        changed,
        parts=parts,
        numbers=gradient_trained.generator_of,
        paid_for=frozenset({"class_prior"}),
        reach=None,  # where steps begin hangs on the draws before
        runs=0,
        slow_runs=400,
        canaries=40,
        noise=noise_of(data.pictures(0, RECORDS), 200, 2),  # the draws before the loop
        tolerance=0.15,
    )
