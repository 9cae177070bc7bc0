"""Faults of published code for noise by relevance, put into the method while a check runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest.mock import patch

from torch import Tensor

from sfumato.learn import relevance
from sfumato.learn.adlm import CalibratedAdLm
from sfumato.learn.mechanism import DpSgd
from sfumato.privacy import events

ADLM = "learn.adlm"


def charged_once() -> AbstractContextManager[Any]:
    """Noise is drawn in every step and paid for in one."""
    event = property(lambda made: events.compose(made.mean.event, made.dp_sgd.event_after(1)))
    return patch.object(CalibratedAdLm, "event", event)


@contextmanager
def over_the_batch() -> Iterator[None]:
    """Noise for a batch's sum is divided by its size, and added to the sum."""
    original = DpSgd.gradient_multiplier

    def less(made: DpSgd) -> float:
        return original(made) / made.sampling.expected_batch_size

    with patch.object(DpSgd, "gradient_multiplier", less):
        yield


def private_extremes() -> AbstractContextManager[Any]:
    """Relevance is brought to [0, 1] by its least and its largest value over all records."""

    def scaled(relevances: Tensor) -> Tensor:
        magnitudes = relevances.double().abs()
        least, most = magnitudes.min(), magnitudes.max()
        return (magnitudes - least) / (most - least).clamp(min=1e-30)

    return patch.object(relevance, "unit", scaled)
