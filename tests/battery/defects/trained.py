"""Defects of training by noisy clipped gradients, put in while a check runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np

import sfumato.learn.noise
from sfumato.learn import mechanism
from sfumato.learn.clipping import PerGroup
from sfumato.learn.directional import Directional
from sfumato.learn.dynamic import DynamicDpSgd
from sfumato.learn.engine import engine
from sfumato.learn.mechanism import DpSgd, Run
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
    with patch.object(
        DpSgd, "gradient_multiplier", lambda made, step=0: 0.8 * original(made, step)
    ):
        yield


@contextmanager
def larger_multiplier_accounted() -> Iterator[None]:
    """Accounts the gradients' own multiplier, larger than that of the whole step."""

    def event_after(made: DpSgd, steps: int) -> Any:
        return events.repeat(made.sampling.event(made.gradient_multiplier()), steps)

    with patch.object(DpSgd, "event_after", event_after):
        yield


@contextmanager
def bound_of_the_batch() -> Iterator[None]:
    """Clips at the largest norm of the step's own batch, within limits."""
    original = Run.step

    def step(run: Run, clipped_sum: Any, *, begun: Any = None) -> Any:
        def bounded(rows: np.ndarray) -> Any:
            norms = clipped_sum(rows).norms
            if run._bound is not None and norms.numel():
                run._bound.max_grad_norm = min(max(float(norms.max()), 0.1), 32.0)
            return clipped_sum(rows)

        return original(run, bounded, begun=begun)

    with patch.object(Run, "step", step):
        yield


@contextmanager
def last_of_the_schedule() -> Iterator[None]:
    """Draws every step with the last multiplier, the smallest, and accounts the schedule."""
    original = DynamicDpSgd.multiplier_at

    def last(made: DynamicDpSgd, step: int) -> float:
        return original(made, made.steps - 1)

    with patch.object(DynamicDpSgd, "multiplier_at", last):
        yield


@contextmanager
def each_layer_alone() -> Iterator[None]:
    """Noise for the bound of each layer, as if it were the only one."""

    def stddevs(clipping: PerGroup, multiplier: float) -> list[float]:
        return [multiplier * norm for norm in clipping.max_grad_norms]

    with ExitStack() as stack:
        stack.enter_context(patch.object(PerGroup, "noise_stddevs", stddevs))
        stack.enter_context(patch.object(mechanism, "check_joint", lambda *given: None))
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


@contextmanager
def no_noise() -> Iterator[None]:
    """Gradients that are clipped, averaged and published as they are."""

    def silent(
        tensors: Any, stddevs: Any, source: Any, *, divisor: float = 1.0, reuse: bool = False
    ) -> Any:
        return [tensor.detach().float() / divisor for tensor in tensors]

    with patch.object(sfumato.learn.noise, "add_gaussian", silent):
        yield


@contextmanager
def no_clip() -> Iterator[None]:
    """Every gradient as long as it is."""
    original = engine._group_norms

    def norms(found: Any, *args: Any) -> Any:
        return 1e-6 * original(found, *args)

    with patch.object(engine, "_group_norms", norms):
        yield


@contextmanager
def half_the_batch_accounted() -> Iterator[None]:
    """Draws every record twice as often as the accountant is told."""
    original = PoissonSampling.draw

    def draw(sampling: PoissonSampling, rows: int, source: Any) -> np.ndarray:
        twice = replace(sampling, rate=min(1.0, 2 * sampling.rate))
        return original(twice, rows, source)

    with patch.object(PoissonSampling, "draw", draw):
        yield
