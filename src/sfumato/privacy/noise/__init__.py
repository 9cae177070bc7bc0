"""Noise: integers on a public grid, drawn exactly from cryptographic bits."""

from __future__ import annotations

from sfumato.privacy.noise.gaussian import discrete_gaussian, gaussian
from sfumato.privacy.noise.laplace import discrete_laplace
from sfumato.privacy.noise.sources import SECURE, NoiseSource, SecureSource, SeededSource

__all__ = [
    "SECURE",
    "NoiseSource",
    "SecureSource",
    "SeededSource",
    "discrete_gaussian",
    "discrete_laplace",
    "gaussian",
]
