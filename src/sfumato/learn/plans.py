"""How noise goes from step to step, chosen before a budget is known.

A plan and a budget give a mechanism: :func:`~sfumato.learn.optimise.make_private` asks for one by
its parameter ``noise``, and what a plan's ``calibrate`` returns is what ``PrivateTrainer`` takes.
Every plan is scaled until all its steps together meet the budget, so plans compare at equal cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from sfumato.errors import InputError
from sfumato.learn import correlated
from sfumato.learn.accounted import Mechanism
from sfumato.learn.adaptive import AdaptiveQuantile
from sfumato.learn.clipping import Clipping
from sfumato.learn.correlated import CorrelatedDpSgd
from sfumato.learn.dynamic import DynamicDpSgd
from sfumato.learn.grouped import GroupedSampling
from sfumato.learn.mechanism import DpSgd
from sfumato.learn.schedules import Schedule
from sfumato.learn.toeplitz import Workload
from sfumato.privacy.neighbours import Neighbours

if TYPE_CHECKING:
    from sfumato.privacy.budget import Budget


class NoisePlan(Protocol):
    """Gives the mechanism of a budget."""

    def calibrate(
        self,
        budget: Budget,
        *,
        records: int,
        expected_batch_size: float,
        steps: int,
        clipping: Clipping | AdaptiveQuantile,
        neighbours: Neighbours = Neighbours.ADD_REMOVE,
        max_batch_size: int | None = None,
        workload: Workload | None = None,
    ) -> Mechanism:
        """The least noise with which all steps together meet the budget.

        Args:
            budget: Its delta must be above 0 and below ``1 / records``.
            records: The public number of records.
            expected_batch_size: Records a step, on average.
            steps: How many there will be.
            clipping: The bound on an example's gradient.
            neighbours: The relation of the budget.
            max_batch_size: Cuts larger samples (truncated Poisson); not under add-remove.
            workload: What the optimiser does with the gradients, plain SGD by default. It is of
                consequence for correlated noise only.

        Raises:
            InputError: If an argument is out of its range, the plan has no guarantee with it, or
                no noise meets the budget.
        """
        ...


@dataclass(frozen=True)
class EvenNoise:
    """As much noise at every step, drawn for itself: DP-SGD."""

    def calibrate(
        self,
        budget: Budget,
        *,
        records: int,
        expected_batch_size: float,
        steps: int,
        clipping: Clipping | AdaptiveQuantile,
        neighbours: Neighbours = Neighbours.ADD_REMOVE,
        max_batch_size: int | None = None,
        workload: Workload | None = None,
    ) -> DpSgd:
        """See :class:`NoisePlan`."""
        return DpSgd.calibrate(
            budget,
            records=records,
            expected_batch_size=expected_batch_size,
            steps=steps,
            clipping=clipping,
            neighbours=neighbours,
            max_batch_size=max_batch_size,
        )


@dataclass(frozen=True)
class ScheduledNoise:
    """Noise, and perhaps a clip norm, that follow public functions of the step.

    Args:
        multipliers: The shape of the noise multipliers: only their proportions count.
        clip_norms: The bound of each step, in place of that of flat clipping; None for a bound that
            stays.
    """

    multipliers: Schedule
    clip_norms: Schedule | None = None

    def calibrate(
        self,
        budget: Budget,
        *,
        records: int,
        expected_batch_size: float,
        steps: int,
        clipping: Clipping | AdaptiveQuantile,
        neighbours: Neighbours = Neighbours.ADD_REMOVE,
        max_batch_size: int | None = None,
        workload: Workload | None = None,
    ) -> DynamicDpSgd:
        """See :class:`NoisePlan`."""
        return DynamicDpSgd.calibrate(
            budget,
            records=records,
            expected_batch_size=expected_batch_size,
            steps=steps,
            clipping=clipping,
            noise_schedule=self.multipliers,
            clip_norms=self.clip_norms,
            neighbours=neighbours,
            max_batch_size=max_batch_size,
        )


@dataclass(frozen=True)
class BandedNoise:
    """Noise that is correlated between steps, so that it cancels in the weights.

    Not under add-remove, nor with a clip norm that moves; see :mod:`sfumato.learn.correlated`.

    Args:
        bands: Over how many steps noise is correlated; 1 is independent noise, None takes the
            number with the least error at the budget. Each costs the memory of the trainable
            parameters, twice.
        workload: In place of the one that :meth:`calibrate` is told: for a loop that changes its
            learning rate by itself.

    Raises:
        InputError: If there is no band.
    """

    bands: int | None = None
    workload: Workload | None = None

    def __post_init__(self) -> None:
        if self.bands is not None and not (isinstance(self.bands, int) and self.bands >= 1):
            raise InputError(
                f"the number of bands is {self.bands!r}", "Give at least 1, or None for the best."
            )

    def calibrate(
        self,
        budget: Budget,
        *,
        records: int,
        expected_batch_size: float,
        steps: int,
        clipping: Clipping | AdaptiveQuantile,
        neighbours: Neighbours = Neighbours.ADD_REMOVE,
        max_batch_size: int | None = None,
        workload: Workload | None = None,
    ) -> CorrelatedDpSgd:
        """See :class:`NoisePlan`."""
        self.check(neighbours)
        if max_batch_size is not None:
            raise InputError(
                f"max_batch_size is {max_batch_size} with correlated noise",
                "Samples that are cut have no analysis with it: leave it out.",
            )
        if isinstance(clipping, AdaptiveQuantile):
            raise InputError(
                "a clip norm that moves has no analysis with correlated noise",
                "Clip with a fixed bound, or draw independent noise.",
            )
        sums = self.workload or workload
        if self.bands is None:
            return correlated.best(
                budget,
                records=records,
                expected_batch_size=expected_batch_size,
                steps=steps,
                clipping=clipping,
                workload=sums,
                neighbours=neighbours,
            )
        return CorrelatedDpSgd.calibrate(
            budget,
            GroupedSampling.of_batches(records, expected_batch_size, self.bands),
            steps=steps,
            clipping=clipping,
            workload=sums,
            neighbours=neighbours,
        )

    def check(self, neighbours: Neighbours) -> None:
        """Refuses a relation under which these bands have no guarantee.

        Raises:
            InputError: If it is add-remove, and there may be more than one band.
        """
        if neighbours is Neighbours.ADD_REMOVE and self.bands != 1:
            raise InputError(
                "correlated noise has no guarantee under add-remove",
                "Set neighbours to zero-out, which costs the same, or replace-one; or bands to 1.",
            )
