"""Defects of mechanisms."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np

from battery.row import Array
from sfumato.privacy.budget import Budget
from sfumato.privacy.calibration import calibrate_gaussian
from sfumato.privacy.mechanisms import (
    ExponentialMechanism,
    Laplace,
    LocalNumeric,
    LocalVector,
    to_grid,
)
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import NoiseSource


class BatchClip(LocalVector):
    """Clips all rows by the factor that the longest one needs."""

    def clip(self, vectors: Any) -> Array:
        """One factor for the whole batch."""
        rows = np.asarray(vectors, np.float64)
        longest = float(np.linalg.norm(rows, axis=1).max())
        return super().clip(rows * min(1.0, self.clip_norm / max(longest, 1e-300)))


class CoordinateClip(LocalVector):
    """Clips each coordinate instead of the vector."""

    def clip(self, vectors: Any) -> Array:
        """Of norm up to ``sqrt(k)`` times what is declared."""
        limited = np.clip(np.asarray(vectors, np.float64), -self.clip_norm, self.clip_norm)
        return to_grid(limited, math.ldexp(1.0, math.frexp(self.stddev)[1] - 41))


class HalfNoiseVector(LocalVector):
    """Answers for the ball's radius."""

    def release(self, vectors: Any, source: NoiseSource) -> Array:
        """Half of the noise that the event claims."""
        return LocalVector(self.clip_norm, self.stddev / 2).release(vectors, source)


class RadiusNumeric(LocalNumeric):
    """Answers for the distance to the middle of the grid."""

    def randomise(self, values: Any, source: NoiseSource) -> Array:
        """Half of the noise that the event claims."""
        return LocalNumeric(self.cardinality, epsilon=2 * self.epsilon).randomise(values, source)


class BorderNumeric(LocalNumeric):
    """Never reports the ends of the grid."""

    def randomise(self, values: Any, source: NoiseSource) -> Array:
        """A transformation that stays at zero strength."""
        return np.clip(super().randomise(values, source), 1, self.cardinality - 2)


class PrivateRange(LocalNumeric):
    """Scales its noise to the range of the values that it is given."""

    def randomise(self, values: Any, source: NoiseSource) -> Array:
        """Noise for ``max - min`` of the private values."""
        low = int(np.min(values))
        seen = LocalNumeric(max(2, int(np.ptp(values)) + 1), epsilon=self.epsilon)
        return seen.randomise(np.asarray(values) - low, source) + low


class ScalarNoise(Laplace):
    """One number for a whole array."""

    def release(self, values: Any, source: NoiseSource) -> Array:
        """Broadcast noise."""
        first = np.zeros((1,) * np.ndim(values))
        return np.asarray(values) + super().release(first, source)


class NoFactorTwo(ExponentialMechanism):
    """Weights ``exp(epsilon score / sensitivity)``: the factor for the normaliser is forgotten."""

    def weights(self, scores: Any) -> list[int]:
        """Those of twice the epsilon."""
        return ExponentialMechanism(2 * self.epsilon, self.sensitivity).weights(scores)


def into(cls: type) -> Callable[[Any], Any]:
    """The same mechanism as another class."""
    return lambda made: cls(**{field.name: getattr(made, field.name) for field in fields(made)})


def shrinking(budget: Budget) -> LocalVector:
    return LocalVector(1.0 / calibrate_gaussian(budget, Neighbours.REPLACE_ONE), 1.0)
