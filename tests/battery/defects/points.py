"""Defects of noise on inputs, on the loss and on weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np

from sfumato.learn import convex, objective
from sfumato.learn.objective import ObjectivePerturbation
from sfumato.privacy import noise
from sfumato.privacy.mechanisms import Gaussian, LocalVector
from sfumato.privacy.noise.gaussian import grid_step
from sfumato.publish.method import Calibrated

OUTPUT, OBJECTIVE, INPUT = "learn.output", "learn.objective", "learn.input"


class ScalarGaussian(Gaussian):
    """One draw for all weights."""

    def release(self, values: Any, source: Any = noise.SECURE) -> Any:
        return values + Gaussian.release(self._plain, values, source).flat[0] - values.flat[0]

    @property
    def _plain(self) -> Gaussian:
        return Gaussian(self.stddev, self.contribution, self.granularity, self.rounded_coordinates)


class ScalarVector(LocalVector):
    """One draw for all coordinates of all records."""

    def release(self, vectors: Any, source: Any = noise.SECURE) -> Any:
        made = LocalVector(self.clip_norm, self.stddev)
        clipped = made.clip(vectors) * grid_step(self.stddev)
        return clipped + noise.gaussian(self.stddev, 1, source)


def scalar_on_weights(made: Calibrated) -> Calibrated:
    ready = made.run.perturbation
    plain = ready.noise
    scalar = ScalarGaussian(
        plain.stddev, plain.contribution, plain.granularity, plain.rounded_coordinates
    )
    return replace(made, run=replace(made.run, perturbation=replace(ready, noise=scalar)))


def scalar_on_records(made: Calibrated) -> Calibrated:
    vector = made.run.ready.vector
    ready = replace(made.run.ready, vector=ScalarVector(vector.clip_norm, vector.stddev))
    return replace(made, run=replace(made.run, ready=ready))


def root_of_the_noise(made: Calibrated) -> Calibrated:
    """The root of the standard deviation that was calibrated."""
    vector = made.run.ready.vector
    quiet = LocalVector(vector.clip_norm, float(np.sqrt(vector.stddev)))
    return replace(made, run=replace(made.run, ready=replace(made.run.ready, vector=quiet)))


@contextmanager
def scalar_in_the_loss() -> Iterator[None]:
    """The linear term is one number for all weights."""

    def minimise(made: ObjectivePerturbation, problem: Any, source: Any) -> Any:
        one = noise.gaussian(made.stddev, 1, source)
        tilted = replace(problem, tilt=np.full(problem.shape, one / made.records))
        return objective.minimise(tilted, made.tolerance / 2)

    with patch.object(ObjectivePerturbation, "minimise", minimise):
        yield


def unclipped() -> AbstractContextManager[Any]:
    """Features are divided by the bound, and not shortened to it."""

    def unit_rows(features: Any, bound: float) -> Any:
        made = np.empty((len(features), features.shape[1] + 1))
        made[:, :-1] = features / bound / np.sqrt(2)
        made[:, -1] = 1 / np.sqrt(2)
        return made

    return patch.object(convex, "unit_rows", unit_rows)


def label_in_the_clear(made: Calibrated) -> Calibrated:
    """Labels are reported as they are."""

    class Clear(type(made.run.ready)):  # type: ignore[misc]
        def release(self, features: Any, labels: Any, source: Any) -> Any:
            reports, _ = super().release(features, labels, source)
            return reports, labels

    ready = Clear(made.run.ready.vector, made.run.ready.response)
    return replace(made, run=replace(made.run, ready=ready))
