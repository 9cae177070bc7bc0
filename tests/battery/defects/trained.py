"""Defects of training by noisy clipped gradients, put in while a check runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np

from sfumato.learn.directional import Directional
from sfumato.learn.engine import engine
from sfumato.learn.mechanism import DpSgd
from sfumato.learn.sampling import PoissonSampling
from sfumato.privacy import events


@contextmanager
def shuffled() -> Iterator[None]:
    """Passes over the records in a random order, in batches of one size."""
    orders: dict[int, np.ndarray] = {}

    def draw(sampling: PoissonSampling, rows: int, source: Any) -> np.ndarray:
        size = max(1, round(sampling.rate * rows))
        left = orders.get(rows, np.zeros(0, np.int64))
        if len(left) < size:
            left = np.argsort(source.uint64(rows))
        orders[rows] = left[size:]
        return np.sort(left[:size])

    with patch.object(PoissonSampling, "draw", draw):
        yield


@contextmanager
def realised_divisor() -> Iterator[None]:
    """Divides by the number of records that were drawn."""
    drawn: list[int] = []
    original = PoissonSampling.draw

    def draw(sampling: PoissonSampling, rows: int, source: Any) -> np.ndarray:
        found = original(sampling, rows, source)
        drawn.append(max(1, len(found)))
        return found

    def size(sampling: PoissonSampling) -> float:
        return drawn[-1] if drawn else sampling.rate * sampling.records

    with ExitStack() as stack:
        stack.enter_context(patch.object(PoissonSampling, "draw", draw))
        stack.enter_context(patch.object(PoissonSampling, "expected_batch_size", property(size)))
        yield


@contextmanager
def partial_norms() -> Iterator[None]:
    """Leaves the first parameter out of each example's norm."""
    original = engine._group_norms

    def norms(found: Any, *args: Any) -> Any:
        first = next(iter(found), None)
        return original({name: c for name, c in found.items() if name != first}, *args)

    with patch.object(engine, "_group_norms", norms):
        yield


@contextmanager
def less_noise() -> Iterator[None]:
    """Draws with four fifths of the multiplier that is accounted."""
    original = DpSgd.gradient_multiplier
    with patch.object(DpSgd, "gradient_multiplier", lambda made: 0.8 * original(made)):
        yield


@contextmanager
def larger_multiplier_accounted() -> Iterator[None]:
    """Accounts the gradients' own multiplier, larger than that of the whole step."""

    def event_after(made: DpSgd, steps: int) -> Any:
        return events.repeat(made.sampling.event(made.gradient_multiplier()), steps)

    with patch.object(DpSgd, "event_after", event_after):
        yield


@contextmanager
def amplified_directions() -> Iterator[None]:
    """Accounts noise on single directions as if the sample that they come from were hidden."""

    def event(made: Directional) -> Any:
        noise = events.GaussianDpEvent(made.size**0.5 / made.kappa)
        step = events.PoissonSampledDpEvent(made.sampling.rate, noise)
        return events.repeat(step, made.steps)

    with patch.object(Directional, "event", property(event)):
        yield
