"""Private steps and a paid class prior under one budget: what gradient-trained generators spend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from sfumato.privacy.neighbours import Neighbours
from sfumato.publish import checks
from sfumato.publish.generators.priors import Counted

if TYPE_CHECKING:
    from dp_accounting import DpEvent

    from sfumato.learn.clipping import Clipping
    from sfumato.learn.mechanism import DpSgd
    from sfumato.privacy.budget import Budget

PRIOR_SHARE = 0.1
"""Share of the budget's mu that class counts cost: about half a percent of the steps' noise."""
_BRACKET = (0.05, 1e4)


class FirstDraws(Protocol):
    """What is measured of the private images before the steps."""

    @property
    def event(self) -> DpEvent:
        """All that is drawn, for adding or removing one record."""
        ...

    @property
    def plan(self) -> dict[str, Any]:
        """Its noise, as JSON values for a card."""
        ...

    def release(self, data: Any, work: Any, progress: Any) -> Any:
        """Draws, from ``data`` and the noise of ``work.source``; JSON values."""
        ...


@dataclass(frozen=True)
class PrivateSteps:
    """Everything that is drawn from the private images.

    Args:
        mechanism: Poisson-sampled steps with clipped and noised gradients.
        counted: Noisy class counts; None where the shares of the classes are declared.
        first: What else is measured before the steps; None for nothing.
    """

    mechanism: DpSgd
    counted: Counted | None
    first: FirstDraws | None = None

    @property
    def records(self) -> int:
        """The public number of records."""
        return self.mechanism.sampling.records

    @classmethod
    def calibrate(
        cls,
        budget: Budget,
        *,
        records: int,
        expected_batch_size: int,
        epochs: float,
        clipping: Clipping,
        counted_classes: int | None,
        first: FirstDraws | None = None,
    ) -> PrivateSteps:
        """The least noise with which steps and counts together meet the budget (add-remove).

        Args:
            budget: Its delta must be above 0.
            records: The public number of records.
            expected_batch_size: Records a step, on average.
            epochs: How often a record is seen, on average.
            clipping: The bound on one record's gradient.
            counted_classes: K, if the classes are to be counted; else None.
            first: What else is measured.
        """
        from sfumato.learn.mechanism import DpSgd
        from sfumato.learn.sampling import PoissonSampling
        from sfumato.privacy import calibration, events

        relation = Neighbours.ADD_REMOVE
        sampling = PoissonSampling.of_batches(records, expected_batch_size)
        steps = checks.steps(epochs, records, expected_batch_size)
        counted = None
        if counted_classes is not None:
            mu = PRIOR_SHARE * calibration.analytic_gaussian_mu(budget)
            counted = Counted(counted_classes, 1 / mu)
        beside = [part.event for part in (counted, first) if part is not None]
        if not beside:
            multiplier = calibration.calibrate_gaussian(budget, relation, sampling.rate, steps)
        else:

            def joint(value: float) -> DpEvent:
                return events.compose(*beside, events.repeat(sampling.event(value), steps))

            multiplier = calibration.calibrate(joint, budget, relation, _BRACKET)
        mechanism = DpSgd(sampling, clipping, multiplier, steps, budget.delta, relation)
        return cls(mechanism, counted, first)

    @property
    def event(self) -> DpEvent:
        """Counts, first draws and steps together."""
        from sfumato.privacy import events

        beside = [part.event for part in (self.counted, self.first) if part is not None]
        steps = self.mechanism.event
        return events.compose(*beside, steps) if beside else steps

    @property
    def plan(self) -> dict[str, Any]:
        """As JSON values for a card."""
        plan = self.mechanism.to_dict()
        del plan["event"], plan["delta"], plan["neighbours"]  # the guarantee's own
        if self.counted is not None:
            plan["class_counts_stddev"] = self.counted.stddev
        if self.first is not None:
            plan.update(self.first.plan)
        return plan
