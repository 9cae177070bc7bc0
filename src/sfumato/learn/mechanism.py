"""Sampler, clipping, noise, steps and event as one object.

A mechanism, such as :class:`DpSgd`, is public choices and the noise that they need; its event is
computed from the fields that also run it. A :class:`Run` takes its steps: it draws the sample, asks
for the clipped sum over it, adds noise once, divides by the expected size and counts. There is no
way to hand it a batch of one's own, to draw noise for another multiplier, or to take one step more
than accounted.

Source: Abadi et al., CCS 2016, Algorithm 1, with Poisson sampling as its analysis needs it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import BudgetError, InputError
from sfumato.learn.accounted import Mechanism, check_multiplier
from sfumato.learn.adaptive import AdaptiveQuantile
from sfumato.learn.bounds import MovingBound, check_joint
from sfumato.learn.clipping import Clipping
from sfumato.learn.sampling import PoissonSampling, Sampling, TruncatedPoissonSampling
from sfumato.learn.single import Single
from sfumato.privacy.neighbours import Neighbours

if TYPE_CHECKING:
    from dp_accounting import DpEvent
    from torch import Tensor

    from sfumato.privacy.budget import Budget
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
class DpSgd(Mechanism):
    """Every step samples alike and draws its noise alike, for itself.

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

    >>> from sfumato.learn.clipping import Flat
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
        check_multiplier("noise_multiplier", self.noise_multiplier)
        self._check()
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

    def event_after(self, steps: int) -> DpEvent:
        """What the first ``steps`` steps draw."""
        from sfumato.privacy import events

        return events.repeat(self.sampling.event(self.noise_multiplier), steps)

    def multiplier_at(self, step: int) -> float:
        """``noise_multiplier``, whatever the step."""
        return self.noise_multiplier

    def _settings(self) -> dict[str, Any]:
        return {"noise_multiplier": self.noise_multiplier}


class Run(Single):
    """One training under a mechanism: takes its steps and counts them.

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
        mechanism: Mechanism,
        rows: int,
        *,
        source: NoiseSource | None = None,
    ) -> None:
        from sfumato.learn.noise import STREAM

        super().__init__()
        mechanism.sampling.check(mechanism.neighbours, rows)
        self.mechanism = mechanism
        self.rows = rows
        self.source = STREAM if source is None else source
        self._taken = 0
        self._noise = mechanism.noise()
        scheduled = mechanism.clip_norm_at(0)
        if isinstance(mechanism.clipping, AdaptiveQuantile):
            self._bound: MovingBound | None = MovingBound(mechanism.clipping.initial)
            self.clipping: Clipping = self._bound
        elif scheduled is not None:
            self._bound = MovingBound(scheduled)
            self.clipping = self._bound
        else:
            self._bound = None
            self.clipping = mechanism.clipping
            check_joint(self.clipping, mechanism.multiplier_at(0))

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
        """The present clip norm where it moves, which is public after every step; else None."""
        return self._bound.max_grad_norm if self._bound else None

    def restore(self, taken: int, clip_norm: float | None) -> None:
        """Continues a run that took this many steps. Noise is never restored: it is fresh.

        Args:
            taken: Steps begun; never fewer than this run has begun itself.
            clip_norm: Where a clip norm that moves had moved to.

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
            InputError: If something other than single records was clipped, or the training was
                forked.
        """
        with self.a_step():
            return self._step(clipped_sum, begun)

    def _step(
        self,
        clipped_sum: Callable[[NDArray[np.int64]], Summed],
        begun: Callable[[int], None] | None,
    ) -> dict[str, Tensor]:
        mechanism, step = self.mechanism, self._taken
        if self._taken >= mechanism.steps:
            raise BudgetError(
                f"all {mechanism.steps} steps of this training have been taken",
                "Calibrate a mechanism for more steps; it needs more noise in each.",
            )
        self._taken += 1
        if begun is not None:
            begun(self._taken)
        scheduled = mechanism.clip_norm_at(step)
        if self._bound is not None and scheduled is not None:
            self._bound.max_grad_norm = scheduled
        rows = mechanism.sample(self.rows, self.source, step)
        total = clipped_sum(rows)
        check_unit(total, rows)
        names = list(total.gradients)
        noise = self.clipping.noise_stddevs(mechanism.gradient_multiplier(step))
        stddevs = [noise[group] for group in self.clipping.groups(names)]
        expected = mechanism.sampling.expected_batch_size
        sums = [total.gradients[name] for name in names]
        means = self._noise.add(step, sums, stddevs, self.source, divisor=expected)
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
