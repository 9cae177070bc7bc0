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
    "weights": "imagenet",
    "trainable": "last-1",
    "side": 33,
    "sample_rate": 0.5,
    "steps": 4,
    "max_grad_norm": 0.2,
    "learning_rate": 1.0,
    "momentum": 0.5,
    "averaging": 0.0,  # which a decay above a third is not, in so few steps
    "neighbours": "replace-one",
    "device": "cuda",
}


def head(name: str) -> MethodRow:
    """A linear layer on frozen features."""
    return _row(name, SMALL, ALTERNATIVES, runs=30, canaries=25)


def body(name: str) -> MethodRow:
    """And a part of the network."""
    settings = {**SMALL, "trainable": "bias-1"}
    alternatives = {"body_rate": 0.2, "trainable": "norms-1"}
    return _row(name, settings, alternatives, runs=0, one_run=None)


def _row(
    name: str, settings: dict[str, Any], alternatives: dict[str, Any], **more: Any
) -> MethodRow:
    """A network is large and slow beside those of other rows, which share all of the machinery
    that draws: the correlations of its noise are looked at there.
    """
    return trained(
        name,
        FineTuneMethod,
        settings,
        alternatives,
        slow_runs=1000,
        noise=None,
        tolerance=0.2,  # a twentieth of the bound is noise at any budget, on 3,843 numbers or more
        **more,
    )
