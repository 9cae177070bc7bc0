"""Rows of ``learn.finetune``."""

from __future__ import annotations

from typing import Any

from battery.row import MethodRow
from battery.rows.trained import trained
from sfumato.publish.models.finetune import FineTuneMethod

SMALL: dict[str, Any] = {
    "weights": "random",
    "trainable": "head",
    "side": 32,
    "sample_rate": 0.25,
    "steps": 3,
    "device": "cpu",
}


ALTERNATIVES: dict[str, Any] = {
    "trainable": "last-1",
    "side": 33,
    "sample_rate": 0.5,
    "steps": 4,
    "max_grad_norm": 0.2,
    "learning_rate": 1.0,
    "momentum": 0.5,
    "averaging": 0.5,
    "neighbours": "replace-one",
    "device": "cuda",
}


def head(name: str) -> MethodRow:
    """A linear layer on frozen features."""
    return trained(name, FineTuneMethod, SMALL, ALTERNATIVES, runs=40, slow_runs=1000)


def body(name: str) -> MethodRow:
    """And a part of the network."""
    return trained(
        name,
        FineTuneMethod,
        {**SMALL, "trainable": "bias-1", "body_rate": 1.0},
        {"body_rate": 0.2, "trainable": "norms-1"},
        runs=0,
        slow_runs=1000,
        noise=None,  # one of 250 runs, as of the head
        one_run=None,
    )
