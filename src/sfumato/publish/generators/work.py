"""What one training of a generator is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfumato.publish.generators.steps import PrivateSteps

if TYPE_CHECKING:
    from torch import Tensor

    from sfumato.privacy.noise import NoiseSource


@dataclass(frozen=True)
class Work:
    """One training: what a method's :meth:`GradientTrained.train` is given.

    Args:
        architecture: Of what is trained, as the method gives it.
        images: (n, c, h, w) private.
        labels: (n,) private class numbers.
        steps: What may be drawn from them; the mechanism is to be run, and nothing else.
        prior: (K,) public or noisy shares of the classes.
        seeds: ``"weights"`` and ``"training"``.
        source: Sampling and noise.
        device: As torch names it.
        progress: Told steps done and steps in all.
        workspace: Where checkpoints lie; None keeps none.
        most: So many steps are taken, decided before any private image is looked at; None: all.
        start: What a method made of its first draws, see :meth:`StepTrained.warm_up`.
        prepared: What the method needs beside private images: nothing private.
        part: How much of a warm-up there is time for, in [0, 1].
    """

    architecture: Any
    images: Tensor
    labels: Tensor
    steps: PrivateSteps
    prior: Tensor
    seeds: Mapping[str, int]
    source: NoiseSource
    device: str
    progress: Callable[[int, int], None]
    workspace: Path | None = None
    most: int | None = None
    start: Any = None
    prepared: Any = None
    part: float = 1.0

    @property
    def planned(self) -> int:
        """Steps that were paid for."""
        return self.steps.mechanism.steps
