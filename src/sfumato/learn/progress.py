"""How far a private training is; nothing in it depends on the private records but the time."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from sfumato.learn.accounted import Mechanism


@dataclass(frozen=True)
class Progress:
    """Where a training stands after a step.

    There is no loss: those of private records are private.

    Args:
        step: Steps taken, including those before a resumption.
        steps: Steps there will be.
        seconds: Since this process began to train.
        seconds_left: At the mean pace so far.
        mechanism: What is accounted.
    """

    step: int
    steps: int
    seconds: float
    seconds_left: float
    mechanism: Mechanism = field(repr=False)

    @cached_property
    def epsilon(self) -> float:
        """Spent so far, at the mechanism's delta; accounted when it is asked for.

        A figure to watch. What is proven of a training that someone stopped because of what it had
        released is the epsilon of all its steps.
        """
        return self.mechanism.epsilon(self.step)

    @property
    def delta(self) -> float:
        """Where epsilon is read off."""
        return self.mechanism.delta
