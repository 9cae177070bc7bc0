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
    return _row(name, SMALL, ALTERNATIVES, runs=30)


def body(name: str) -> MethodRow:
    """And a part of the network."""
    settings = {**SMALL, "trainable": "bias-1"}
    return _row(name, settings, {"body_rate": 0.2, "trainable": "norms-1"}, runs=0)


def _row(
    name: str, settings: dict[str, Any], alternatives: dict[str, Any], *, runs: int
) -> MethodRow:
    """A network is large and slow beside those of other rows, which share all of the machinery
    that draws: the correlations of its noise are looked at there.
    """
    return trained(
        name,
        FineTuneMethod,
        settings,
        alternatives,
        runs=runs,
        slow_runs=1000,
        noise=None,
        one_run=None,
    )
