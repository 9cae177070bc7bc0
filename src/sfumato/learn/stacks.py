"""Sums of stacks of gradients, each clipped as a whole: what a step that shows B images costs.

A critic that is asked about B generated images answers with B gradients, and one private record may
move all of them. What is released of a step is therefore the *stack*, and its sensitivity is that
of the stack: clipped to a Frobenius norm of C, two stacks are at most 2 C apart. Clipping each of
the B rows to C and charging one row hides a factor sqrt(B); amplifying each row by sampling as if
it had been drawn for itself, and then composing the rows, hides much more (GS-WGAN's accountant:
epsilon 10 in name, some 330 in truth).

Where the stacks of several parties are added up, each on a part of the records of its own, a record
moves one stack; under replace-one it may leave one part and enter another.

Source: Cao et al., NeurIPS 2021 (the stack of one critic); generative.md 2.3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sfumato.errors import InputError
from sfumato.privacy.neighbours import Neighbours

if TYPE_CHECKING:
    from dp_accounting import DpEvent

    from sfumato.privacy.mechanisms import Gaussian
    from sfumato.privacy.noise import NoiseSource

_HAIR = 1 - 2.0**-40


def apart(distance: float, neighbours: Neighbours) -> float:
    """How far sums over disjoint parts are apart, of which one contribution moves ``distance``.

    >>> apart(1.0, Neighbours.ADD_REMOVE)
    1.0
    """
    return distance * (math.sqrt(2) if neighbours is Neighbours.REPLACE_ONE else 1.0)


def gaussian(stddev: float, distance: float, neighbours: Neighbours) -> Gaussian:
    """Exact noise for integers that two neighbours have ``distance`` apart in L2."""
    from sfumato.privacy.mechanisms import Gaussian
    from sfumato.privacy.mechanisms.checks import diameter_factor
    from sfumato.privacy.noise.gaussian import grid_step

    # The house states contributions, of which neighbours under replace-one are two apart.
    contribution = distance / diameter_factor(neighbours)
    return Gaussian(stddev, contribution, min(1.0, grid_step(stddev)))


def check(name: str, value: Any, low: float = 0.0) -> None:
    """Refuses what is no finite number above ``low``."""
    if not (isinstance(value, int | float) and low < value < math.inf):
        raise InputError(f"{name} is {value!r}", f"Give a finite number above {low:g}.")


@dataclass(frozen=True)
class StackSum:
    """The noisy sum of stacks, each clipped to one norm.

    Args:
        clip_norm: Bound on the Frobenius norm of one stack.
        stddev: Of the noise on every entry of the sum.
    """

    clip_norm: float
    stddev: float

    def __post_init__(self) -> None:
        check("the clip norm of a stack", self.clip_norm)
        check("the stddev of the noise on a stack", self.stddev)

    def sensitivity(self, neighbours: Neighbours) -> float:
        """The L2 distance of two sums: a stack becomes another one, whatever the relation."""
        return apart(2 * self.clip_norm, neighbours)

    def event(self, neighbours: Neighbours, rounds: int = 1) -> DpEvent:
        """What ``rounds`` releases draw."""
        from sfumato.privacy import events

        return events.repeat(self._noise(neighbours).event, rounds)

    def clip(self, stacks: Tensor) -> Tensor:
        """(m, ...) float64: each stack shortened to ``clip_norm`` by itself.

        One that is not finite counts as 0.
        """
        wide = stacks.double().flatten(1)
        norms = torch.linalg.vector_norm(wide, dim=1, keepdim=True)
        cut = wide * (self.clip_norm * _HAIR / norms.clamp_min(self.clip_norm * _HAIR))
        cut = torch.where(norms.isfinite(), cut, 0.0)
        return cut.view(stacks.shape)

    def release(self, stacks: Tensor, neighbours: Neighbours, source: NoiseSource) -> Tensor:
        """(...) float64: the noisy sum of (m, ...) stacks, added up exactly on the noise's grid."""
        from sfumato.privacy.mechanisms import to_grid

        noise = self._noise(neighbours)
        steps = to_grid(self.clip(stacks).numpy(), noise.granularity).sum(axis=0)
        return torch.from_numpy(noise.release(steps * noise.granularity, source))

    def _noise(self, neighbours: Neighbours) -> Gaussian:
        return gaussian(self.stddev, self.sensitivity(neighbours), neighbours)
