"""Generators: methods that publish a model to draw from, with a first sample of it."""

from __future__ import annotations

from sfumato.publish.generators.coded import reconstruct
from sfumato.publish.generators.sampling import sample

__all__ = ["reconstruct", "sample"]
