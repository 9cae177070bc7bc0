"""Per-example clipping in one backward pass, around any module and without wrapping it."""

from sfumato.learn.engine.engine import ClippedSum, Engine

__all__ = ["ClippedSum", "Engine"]
