"""Sampler, clipping, noise, steps and event as one object.

A :class:`DpSgd` is public choices and the noise that they need; its event is computed from the
fields that also run it. A :class:`Run` takes its steps: it draws the sample, asks for the clipped
sum over it, adds noise once, divides by the expected size and counts. There is no way to hand it a
batch of one's own, to draw noise for another multiplier, or to take one step more than accounted.

Source: Abadi et al., CCS 2016, Algorithm 1, with Poisson sampling as its analysis needs it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import BudgetError, InputError
from sfumato.learn.adaptive import AdaptiveQuantile
from sfumato.learn.clipping import Automatic, Clipping, Flat, PerGroup
from sfumato.learn.sampling import PoissonSampling, Sampling, TruncatedPoissonSampling
from sfumato.privacy.neighbours import Neighbours

if TYPE_CHECKING:
    from dp_accounting import DpEvent
    from torch import Tensor

    from sfumato.privacy.budget import Budget
    from sfumato.privacy.guarantee import Central
    from sfumato.privacy.noise import NoiseSource

_BRACKET = (0.05, 1e4)
"""Noise multipliers among which truncated sampling is calibrated."""


class Summed(Protocol):
    """The clipped sum over a sample, as the engine gives it."""

    @property
    def gradients(self) -> dict[str, Tensor]:
        """The sum of the examples' clipped gradients, by parameter; it may be overwritten."""
        ...

    @property
    def norms(self) -> Tensor:
        """(groups, n) norms before clipping."""
        ...


@dataclass(frozen=True)
class DpSgd:
    """Training by noisy sums of clipped gradients; knows its cost before it runs.

    Make one with :meth:`calibrate`, or with a known noise multiplier.

    Args:
        sampling: Which records a step sees.
        clipping: The bound on an example's gradient; an ``AdaptiveQuantile`` moves it privately.
        noise_multiplier: Noise over the bound of one record's contribution.
        steps: The most that can be taken.
        delta: Where epsilon is read off.
        neighbours: The relation that is accounted.

    Raises:
        InputError: If a value is out of its range, or the sampling has no guarantee under the
            relation.

    >>> dp_sgd = DpSgd(PoissonSampling(60_000, 0.01), Flat(1.0), 4.0, 10_000, delta=1e-5)
    >>> round(dp_sgd.epsilon(), 3)
    0.947
    """

    sampling: Sampling
    clipping: Clipping | AdaptiveQuantile
    noise_multiplier: float
    steps: int
    delta: float
    neighbours: Neighbours = Neighbours.ADD_REMOVE

    def __post_init__(self) -> None:
        if not 0 < self.noise_multiplier < math.inf:
            raise InputError(
                f"noise_multiplier is {self.noise_multiplier!r}", "Give a finite number above 0."
            )
        if not (isinstance(self.steps, int) and self.steps >= 1):
            raise InputError(f"the number of steps is {self.steps!r}", "Give at least 1.")
        if not 0 < self.delta < 1:
            raise InputError(f"delta is {self.delta!r}", "Give a number above 0 and below 1.")
        self.sampling.check(self.neighbours)
        self.gradient_multiplier()

    @classmethod
    def calibrate(
        cls,
        budget: Budget,
        *,
        records: int,
        expected_batch_size: float,
        steps: int,
        clipping: Clipping | AdaptiveQuantile,
        neighbours: Neighbours = Neighbours.ADD_REMOVE,
        max_batch_size: int | None = None,
    ) -> DpSgd:
        """The least noise with which all steps together meet the budget.

        Args:
            budget: Its delta must be above 0 and below ``1 / records``.
            records: The public number of records.
            expected_batch_size: Records a step, on average.
            steps: How many there will be.
            clipping: See the class.
            neighbours: The relation of the budget.
            max_batch_size: Cuts larger samples (truncated Poisson); not under add-remove.

        Raises:
            InputError: If an argument is out of its range, or no noise meets the budget.
        """
        from sfumato.privacy import calibration, events

        budget.check_records(records)
        sampling: Sampling = PoissonSampling.of_batches(records, expected_batch_size)
        if max_batch_size is None:
            sampling.check(neighbours)
            multiplier = calibration.calibrate_gaussian(budget, neighbours, sampling.rate, steps)
        else:
            sampling = TruncatedPoissonSampling.of_batches(
                records, expected_batch_size, max_batch_size
            )
            sampling.check(neighbours)
            multiplier = calibration.calibrate(
                lambda sigma: events.repeat(sampling.event(sigma), steps),
                budget,
                neighbours,
                _BRACKET,
            )
        return cls(sampling, clipping, multiplier, steps, budget.delta, neighbours)

    @property
    def event(self) -> DpEvent:
        """What all steps draw."""
        return self.event_after(self.steps)

    def event_after(self, steps: int) -> DpEvent:
        """What the first ``steps`` steps draw."""
        from sfumato.privacy import events

        return events.repeat(self.sampling.event(self.noise_multiplier), steps)

    def epsilon(self, steps: int | None = None) -> float:
        """The epsilon at ``delta`` of ``steps`` steps, of all by default."""
        return self.guarantee(steps).epsilon()

    def guarantee(self, steps: int | None = None, *, unit: str = "record") -> Central:
        """What ``steps`` steps prove; of all by default."""
        from sfumato.privacy.guarantee import Central

        event = self.event_after(self.steps if steps is None else steps)
        return Central(event, self.delta, unit, self.neighbours)

    def gradient_multiplier(self) -> float:
        """What the gradients' noise is drawn with: more than ``noise_multiplier`` where the clip
        norm takes a part of the step.
        """
        if isinstance(self.clipping, AdaptiveQuantile):
            expected = self.sampling.expected_batch_size
            return self.clipping.gradient_multiplier(self.noise_multiplier, expected)
        return self.noise_multiplier

    def to_dict(self) -> dict[str, Any]:
        """Everything that the guarantee rests on, as plain JSON values."""
        from sfumato.privacy import events

        return {
            "sampling": self.sampling.to_dict(),
            "clipping": _plain(self.clipping),
            "noise_multiplier": self.noise_multiplier,
            "steps": self.steps,
            "delta": self.delta,
            "neighbours": self.neighbours.value,
            "event": events.to_dict(self.event),
        }


class Run:
    """One training under a :class:`DpSgd`: takes its steps and counts them.

    Processes that share one training take their steps by a ``SharedRun`` of
    :mod:`sfumato.learn.distributed`, of which one draws.

    Args:
        mechanism: What is accounted.
        rows: How many records there are to sample from.
        source: Sampling and noise; anything but the default is for tests.

    Raises:
        InputError: If the number of rows contradicts what the mechanism says is public, or the
            clipping asks for less noise than is accounted.
    """

    def __init__(
        self,
        mechanism: DpSgd,
        rows: int,
        *,
        source: NoiseSource | None = None,
    ) -> None:
        from sfumato.learn.noise import STREAM

        mechanism.sampling.check(mechanism.neighbours, rows)
        self.mechanism = mechanism
        self.rows = rows
        self.source = STREAM if source is None else source
        self._taken = 0
        if isinstance(mechanism.clipping, AdaptiveQuantile):
            self._bound: MovingBound | None = MovingBound(mechanism.clipping.initial)
            self.clipping: Clipping = self._bound
        else:
            self._bound = None
            self.clipping = mechanism.clipping
            check_joint(self.clipping, mechanism.noise_multiplier)

    @property
    def taken(self) -> int:
        """Steps begun so far: a step counts from before its noise is drawn."""
        return self._taken

    @property
    def left(self) -> int:
        """Steps that can still be taken."""
        return self.mechanism.steps - self._taken

    @property
    def clip_norm(self) -> float | None:
        """The present adaptive clip norm, which is released with every step; else None."""
        return self._bound.max_grad_norm if self._bound else None

    def restore(self, taken: int, clip_norm: float | None) -> None:
        """Continues a run that took this many steps.

        Args:
            taken: Steps begun; never fewer than this run has begun itself.
            clip_norm: Where an adaptive clip norm had moved to.

        Raises:
            InputError: If there are not as many steps, or fewer than were taken.
        """
        if not self._taken <= taken <= self.mechanism.steps:
            raise InputError(
                f"{taken} steps were taken before",
                f"There are {self.mechanism.steps} in all, of which {self._taken} are taken.",
            )
        self._taken = taken
        if self._bound is not None and clip_norm is not None:
            self._bound.max_grad_norm = clip_norm

    def step(
        self,
        clipped_sum: Callable[[NDArray[np.int64]], Summed],
        *,
        begun: Callable[[int], None] | None = None,
    ) -> dict[str, Tensor]:
        """One step: the noisy mean gradient, float32, by parameter.

        Args:
            clipped_sum: Gives the clipped sum over these rows (there may be none), clipped as
                ``self.clipping`` says.
            begun: Told the number of the step before anything is drawn.

        Raises:
            BudgetError: If all steps have been taken. Nothing was drawn.
            InputError: If something other than single records was clipped.
        """
        from sfumato.learn.noise import add_gaussian

        mechanism = self.mechanism
        if self._taken >= mechanism.steps:
            raise BudgetError(
                f"all {mechanism.steps} steps of this training have been taken",
                "Calibrate a mechanism for more steps; it needs more noise in each.",
            )
        self._taken += 1
        if begun is not None:
            begun(self._taken)
        rows = mechanism.sampling.draw(self.rows, self.source)
        total = clipped_sum(rows)
        check_unit(total, rows)
        names = list(total.gradients)
        noise = self.clipping.noise_stddevs(mechanism.gradient_multiplier())
        stddevs = [noise[group] for group in self.clipping.groups(names)]
        expected = mechanism.sampling.expected_batch_size
        sums = [total.gradients[name] for name in names]
        means = add_gaussian(sums, stddevs, self.source, divisor=expected, reuse=True)
        if self._bound is not None and isinstance(mechanism.clipping, AdaptiveQuantile):
            self._bound.max_grad_norm = mechanism.clipping.update(
                self._bound.max_grad_norm, total.norms, expected, self.source
            )
        return dict(zip(names, means, strict=True))


def check_unit(total: Summed, rows: NDArray[np.int64]) -> None:
    """Refuses a sum of anything but single records.

    Raises:
        InputError: If there is not one norm a record.
    """
    if total.norms.shape[-1] != len(rows):
        raise InputError(
            f"{total.norms.shape[-1]} gradients were clipped for {len(rows)} records",
            "Clip the gradient of every record by itself.",
        )


class MovingBound:
    """Flat clipping whose bound is another at every step.

    Args:
        max_grad_norm: The present bound.
    """

    def __init__(self, max_grad_norm: float) -> None:
        self._flat = Flat(max_grad_norm)

    @property
    def max_grad_norm(self) -> float:
        """The present bound."""
        return self._flat.max_grad_norm

    @max_grad_norm.setter
    def max_grad_norm(self, bound: float) -> None:
        self._flat = Flat(bound)

    def groups(self, names: Sequence[str]) -> list[int]:
        """All parameters are one group."""
        return self._flat.groups(names)

    def factors(self, norms: Tensor) -> Tensor:
        """(1, n) factors for (1, n) norms."""
        return self._flat.factors(norms)

    def sensitivity(self, neighbours: Neighbours) -> float:
        """Of the present bound."""
        return self._flat.sensitivity(neighbours)

    def noise_stddevs(self, noise_multiplier: float) -> list[float]:
        """Of the present bound."""
        return self._flat.noise_stddevs(noise_multiplier)


def check_joint(clipping: Clipping, noise_multiplier: float) -> None:
    """Refuses a clipping whose noise, over all groups together, is less than it claims.

    How far each group lets a gradient reach is tried out, not asked for.

    Raises:
        InputError: If ``sum (C_k / s_k)^2`` is above ``1 / noise_multiplier^2``.
    """
    import torch

    stddevs = torch.tensor(clipping.noise_stddevs(noise_multiplier), dtype=torch.float64)
    norms = torch.logspace(-9, 30, 391, dtype=torch.float64).repeat(len(stddevs), 1)
    reached = (norms * clipping.factors(norms)).amax(dim=1)
    real = 1 / float((reached / stddevs).norm())
    if not real >= noise_multiplier * (1 - 1e-6):
        raise InputError(
            f"{type(clipping).__name__} gives all groups together a noise multiplier of {real:.4g} "
            f"where {noise_multiplier:.4g} is accounted",
            "Group k needs noise C_k * multiplier / sqrt(w_k), with sum w_k = 1.",
        )


def _plain(clipping: Clipping | AdaptiveQuantile) -> dict[str, Any]:
    """The settings of a clipping; one that is not ours is named by its ``repr``."""
    if isinstance(clipping, Flat | Automatic | PerGroup | AdaptiveQuantile):
        values: Mapping[str, Any] = dataclasses.asdict(clipping)
    else:
        values = {"repr": repr(clipping)}
    return {"type": type(clipping).__name__} | {
        name: _lists(value) for name, value in values.items()
    }


def _lists(value: Any) -> Any:
    """Tuples as the lists that JSON makes of them."""
    return [_lists(part) for part in value] if isinstance(value, tuple | list) else value
