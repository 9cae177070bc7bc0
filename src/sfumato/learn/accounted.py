"""What every training mechanism answers: its event, its cost, and what one of its steps does.

A mechanism is public choices and the noise that they need. :class:`sfumato.learn.mechanism.Run`
takes its steps, asking for each what is asked here and nothing else, so that a new kind of step is
a new mechanism and not another case in the loop.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InputError
from sfumato.learn.adaptive import AdaptiveQuantile
from sfumato.learn.clipping import Automatic, Clipping, Flat, PerGroup, Stacked
from sfumato.learn.sampling import Sampling
from sfumato.privacy.neighbours import Neighbours

if TYPE_CHECKING:
    from dp_accounting import DpEvent

    from sfumato.learn.noise import Noise
    from sfumato.privacy.guarantee import Central
    from sfumato.privacy.noise import NoiseSource


class Mechanism:
    """Training by noisy sums of clipped gradients; knows its cost before it runs.

    Subclasses are frozen dataclasses with these fields, and give :meth:`event_after`,
    :meth:`multiplier_at` and :meth:`_settings`.

    Attributes:
        sampling: Which records a step sees.
        clipping: The bound on an example's gradient.
        steps: The most that can be taken.
        delta: Where epsilon is read off.
        neighbours: The relation that is accounted.
    """

    sampling: Sampling
    clipping: Clipping | AdaptiveQuantile
    steps: int
    delta: float
    neighbours: Neighbours

    def event_after(self, steps: int) -> DpEvent:
        """What the first ``steps`` steps draw."""
        raise NotImplementedError

    def multiplier_at(self, step: int) -> float:
        """The accounted noise multiplier of the step after ``step`` others."""
        raise NotImplementedError

    def _settings(self) -> dict[str, Any]:
        """What this kind of mechanism has of its own, as plain JSON values."""
        raise NotImplementedError

    @property
    def event(self) -> DpEvent:
        """What all steps draw."""
        return self.event_after(self.steps)

    def epsilon(self, steps: int | None = None) -> float:
        """The epsilon at ``delta`` of ``steps`` steps, of all by default."""
        return self.guarantee(steps).epsilon()

    def guarantee(self, steps: int | None = None, *, unit: str = "record") -> Central:
        """What ``steps`` steps prove; of all by default."""
        from sfumato.privacy.guarantee import Central

        event = self.event_after(self.steps if steps is None else steps)
        return Central(event, self.delta, unit, self.neighbours)

    def gradient_multiplier(self, step: int = 0) -> float:
        """What the gradients' noise is drawn with: more than :meth:`multiplier_at` where the clip
        norm takes a part of the step.
        """
        multiplier = self.multiplier_at(step)
        if isinstance(self.clipping, AdaptiveQuantile):
            expected = self.sampling.expected_batch_size
            return self.clipping.gradient_multiplier(multiplier, expected)
        return multiplier

    def clip_norm_at(self, step: int) -> float | None:
        """The clip norm of a step where it is a public function of it, else None."""
        return None

    def sample(self, rows: int, source: NoiseSource, step: int) -> NDArray[np.int64]:
        """The rows of a step, ascending; there may be none."""
        return self.sampling.draw(rows, source)

    def noise(self) -> Noise:
        """The noise of one training, from its first step on."""
        from sfumato.learn.noise import Independent

        return Independent()

    def to_dict(self) -> dict[str, Any]:
        """Everything that the guarantee rests on, as plain JSON values."""
        from sfumato.privacy import events

        return {
            "sampling": self.sampling.to_dict(),
            "clipping": plain(self.clipping),
            **self._settings(),
            "steps": self.steps,
            "delta": self.delta,
            "neighbours": self.neighbours.value,
            "event": events.to_dict(self.event),
        }

    def _check(self) -> None:
        """Refuses what no mechanism can have."""
        if not (isinstance(self.steps, int) and self.steps >= 1):
            raise InputError(f"the number of steps is {self.steps!r}", "Give at least 1.")
        if not 0 < self.delta < 1:
            raise InputError(f"delta is {self.delta!r}", "Give a number above 0 and below 1.")
        self.sampling.check(self.neighbours)


def check_multiplier(name: str, value: float) -> None:
    """Refuses a noise multiplier that is no positive number.

    Raises:
        InputError: If it is not.
    """
    if not 0 < value < math.inf:
        raise InputError(f"{name} is {value!r}", "Give a finite number above 0.")


def plain(clipping: Clipping | AdaptiveQuantile) -> dict[str, Any]:
    """The settings of a clipping; one that is not ours is named by its ``repr``."""
    if isinstance(clipping, Flat | Automatic | PerGroup | Stacked | AdaptiveQuantile):
        values: Mapping[str, Any] = dataclasses.asdict(clipping)
    else:
        values = {"repr": repr(clipping)}
    return {"type": type(clipping).__name__} | {
        name: _lists(value) for name, value in values.items()
    }


def _lists(value: Any) -> Any:
    """Tuples as the lists that JSON makes of them."""
    return [_lists(part) for part in value] if isinstance(value, tuple | list) else value
