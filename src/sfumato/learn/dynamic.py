"""Noise and clip norm that change from step to step, by a schedule that knows only the step.

Less noise late, when gradients are small and the weights settle, more of it early. What is
accounted is the composition of the steps that run, each with its own multiplier: decay is no trick
that saves budget, it only moves it.

The multipliers are rounded to a grid of 2 %, *before* they are used, so that ten thousand steps
have some sixty different ones and the event stays an exact account of what ran.

Source: Wei and Liu, "Gradient Leakage Attack Resilient Deep Learning", IEEE TIFS 2022. Not taken
over from its code: a clip norm read off the private gradients (use ``AdaptiveQuantile``, which pays
for it), and noise of ``sigma C`` in each of ``m`` separately clipped layers, which is a multiplier
of ``sigma / sqrt(m)``.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sfumato.errors import InputError
from sfumato.learn.accounted import Mechanism, check_multiplier
from sfumato.learn.adaptive import AdaptiveQuantile
from sfumato.learn.clipping import Clipping, Flat
from sfumato.learn.mechanism import DpSgd
from sfumato.learn.sampling import Sampling
from sfumato.learn.schedules import Schedule
from sfumato.privacy.neighbours import Neighbours

if TYPE_CHECKING:
    from dp_accounting import DpEvent

    from sfumato.privacy.budget import Budget

GRID = 1.02
"""Neighbouring multipliers are this factor apart."""


@dataclass(frozen=True)
class DynamicDpSgd(Mechanism):
    """Poisson-sampled steps with a noise multiplier, and perhaps a clip norm, for each.

    Make one with :meth:`calibrate`, or with multipliers that are known (``scale`` 1).

    Args:
        sampling: Which records a step sees.
        clipping: The bound on an example's gradient. ``AdaptiveQuantile`` moves it privately;
            ``Flat(1.0)`` with ``clip_norms`` has another bound at every step.
        noise_schedule: The multipliers, up to a factor: noise over the bound of one record's
            contribution.
        steps: The most that can be taken.
        delta: Where epsilon is read off.
        neighbours: The relation that is accounted.
        scale: The factor on all multipliers.
        clip_norms: The bound of each step; noise is relative to it. Only with flat clipping, whose
            own bound is then replaced.

    Raises:
        InputError: If a value is out of its range, the sampling has no guarantee under the
            relation, or ``clip_norms`` meets a clipping that has several bounds or its own.

    >>> from sfumato.learn.sampling import PoissonSampling
    >>> from sfumato.learn.schedules import NOISE
    >>> sampling = PoissonSampling(60_000, 0.01)
    >>> round(DynamicDpSgd(sampling, Flat(4.0), NOISE["linear"], 10_000, 1e-5).epsilon(), 3)
    0.409
    """

    sampling: Sampling
    clipping: Clipping | AdaptiveQuantile
    noise_schedule: Schedule
    steps: int
    delta: float
    neighbours: Neighbours = Neighbours.ADD_REMOVE
    scale: float = 1.0
    clip_norms: Schedule | None = None

    def __post_init__(self) -> None:
        check_multiplier("the factor on the noise multipliers", self.scale)
        self._check()
        if self.clip_norms is not None and not isinstance(self.clipping, Flat):
            raise InputError(
                f"clip norms are scheduled, and the clipping is {type(self.clipping).__name__}",
                "Schedule the bound of flat clipping, or leave clip_norms out.",
            )
        for step in range(self.steps):
            multiplier = self.noise_schedule.at(step, self.steps)
            check_multiplier(f"the noise multiplier of step {step}", multiplier)
            norm = self.clip_norm_at(step)
            if norm is not None:
                check_multiplier(f"the clip norm of step {step}", norm)
        loudest = max(range(self.steps), key=self.multiplier_at)
        self.gradient_multiplier(loudest)

    @classmethod
    def calibrate(
        cls,
        budget: Budget,
        *,
        records: int,
        expected_batch_size: float,
        steps: int,
        clipping: Clipping | AdaptiveQuantile,
        noise_schedule: Schedule,
        clip_norms: Schedule | None = None,
        neighbours: Neighbours = Neighbours.ADD_REMOVE,
        max_batch_size: int | None = None,
    ) -> DynamicDpSgd:
        """The whole schedule, scaled to the least noise with which all steps meet the budget.

        Args:
            budget: Its delta must be above 0 and below ``1 / records``.
            records: The public number of records.
            expected_batch_size: Records a step, on average.
            steps: How many there will be.
            clipping: See the class.
            noise: The shape of the multipliers: only their proportions count.
            clip_norms: See the class.
            neighbours: The relation of the budget.
            max_batch_size: Cuts larger samples (truncated Poisson); not under add-remove.

        Raises:
            InputError: If an argument is out of its range, or no noise meets the budget.
        """
        from sfumato.privacy import calibration

        even = DpSgd.calibrate(
            budget,
            records=records,
            expected_batch_size=expected_batch_size,
            steps=steps,
            clipping=Flat(1.0),
            neighbours=neighbours,
            max_batch_size=max_batch_size,
        )
        counts = _counts(noise_schedule, steps, steps)
        # With all multipliers at least the even one the budget is met, with all at most it is
        # not; twice that, because the search begins on a coarse grid.
        low = even.noise_multiplier / max(counts) / 2
        high = even.noise_multiplier / min(counts) * 2
        scale = calibration.calibrate(
            lambda factor: _event(even.sampling, counts, factor), budget, neighbours, (low, high)
        )
        return cls(
            even.sampling,
            clipping,
            noise_schedule,
            steps,
            budget.delta,
            neighbours,
            scale,
            clip_norms,
        )

    @cached_property
    def _all(self) -> dict[float, int]:
        return _counts(self.noise_schedule, self.steps, self.steps)

    def event_after(self, steps: int) -> DpEvent:
        """What the first ``steps`` steps draw; equal ones together, the most noise first."""
        whole = steps == self.steps
        counts = self._all if whole else _counts(self.noise_schedule, steps, self.steps)
        return _event(self.sampling, counts, self.scale)

    def multiplier_at(self, step: int) -> float:
        """The schedule's value on the grid, scaled."""
        return _rounded(self.noise_schedule.at(step, self.steps)) * self.scale

    def clip_norm_at(self, step: int) -> float | None:
        """The schedule's value."""
        return None if self.clip_norms is None else self.clip_norms.at(step, self.steps)

    def _settings(self) -> dict[str, Any]:
        return {
            "noise_schedule": self.noise_schedule.to_dict(),
            "scale": self.scale,
            "clip_norms": self.clip_norms.to_dict() if self.clip_norms else None,
        }


def _rounded(value: float) -> float:
    """The nearest number of the grid, which 1 is on."""
    return math.pow(GRID, round(math.log(value) / math.log(GRID)))


def _counts(noise: Schedule, taken: int, steps: int) -> dict[float, int]:
    """How often each multiplier, before it is scaled, is among the first ``taken`` steps."""
    found = Counter(_rounded(noise.at(step, steps)) for step in range(taken))
    return dict(sorted(found.items(), reverse=True))


def _event(sampling: Sampling, counts: dict[float, int], scale: float) -> DpEvent:
    from sfumato.privacy import events

    return events.compose(
        *(events.repeat(sampling.event(value * scale), count) for value, count in counts.items())
    )
