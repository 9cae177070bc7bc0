"""Rows of ``generators.psg``."""

from __future__ import annotations

from typing import Any

from battery.row import MethodRow
from battery.rows import gradient_trained
from battery.rows.diffusion import parts
from battery.rows.trained import trained
from sfumato.publish.generators.psg import Psg

KEYS = ("epochs", "expected_batch_size", "max_grad_norm", "class_prior", "seed", "device")


def psg(name: str) -> MethodRow:
    """A small set of images that matches noisy gradients."""
    settings: dict[str, Any] = {key: gradient_trained.SMALL[key] for key in KEYS} | {
        "images_per_class": 2,
        "width": 2,
        "depth": 2,
        "rate": 0.1,
        "turn_steps": 1,
        "network_steps": 1,
        "network_rate": 0.5,
        "centre_share": 0.5,
    }
    changed = {key: gradient_trained.ALTERNATIVES[key] for key in (*KEYS, "max_minutes")} | {
        "images_per_class": 3,
        "width": 3,
        "depth": 1,
        "rate": 0.05,
        "moves": 2,
        "turn_steps": 2,
        "turns": 1,
        "network_steps": 2,
        "network_rate": 0.2,
        "centre_share": 0.4,
    }
    return trained(
        name,
        Psg,
        settings,
        changed,
        parts=parts,
        numbers=lambda artefact: {
            "images": artefact.data.images,  # type: ignore[union-attr]
            "labels": artefact.data.labels,  # type: ignore[union-attr]
        },
        paid_for=frozenset({"class_prior"}),
        tolerance=0.08,
        runs=0,
        slow_runs=400,
        canaries=40,
    )
