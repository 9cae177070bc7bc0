"""Private steps and a paid class prior under one budget: what gradient-trained generators spend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sfumato.privacy.neighbours import Neighbours
from sfumato.publish.generators.priors import Counted

if TYPE_CHECKING:
    from dp_accounting import DpEvent

    from sfumato.learn.clipping import Clipping
    from sfumato.learn.mechanism import DpSgd
    from sfumato.privacy.budget import Budget

PRIOR_SHARE = 0.1
"""Share of the budget's mu that class counts cost: about half a percent of the steps' noise."""
_BRACKET = (0.05, 1e4)


@dataclass(frozen=True)
class PrivateSteps:
    """Everything that is drawn from the private images.

    Args:
        mechanism: Poisson-sampled steps with clipped and noised gradients.
        counted: Noisy class counts; None where the shares of the classes are declared.
    """

    mechanism: DpSgd
    counted: Counted | None

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
    ) -> PrivateSteps:
        """The least noise with which steps and counts together meet the budget (add-remove).

        Args:
            budget: Its delta must be above 0.
            records: The public number of records.
            expected_batch_size: Records a step, on average.
            epochs: How often a record is seen, on average.
            clipping: The bound on one record's gradient.
            counted_classes: K, if the classes are to be counted; else None.
        """
        from sfumato.learn.mechanism import DpSgd
        from sfumato.learn.sampling import PoissonSampling
        from sfumato.privacy import calibration, events

        relation = Neighbours.ADD_REMOVE
        sampling = PoissonSampling.of_batches(records, expected_batch_size)
        steps = max(1, round(epochs * records / expected_batch_size))
        counted = None
        if counted_classes is None:
            multiplier = calibration.calibrate_gaussian(budget, relation, sampling.rate, steps)
        else:
            mu = PRIOR_SHARE * calibration.analytic_gaussian_mu(budget)
            counted = Counted(counted_classes, 1 / mu)
            event = counted.event

            def joint(value: float) -> DpEvent:
                return events.compose(event, events.repeat(sampling.event(value), steps))

            multiplier = calibration.calibrate(joint, budget, relation, _BRACKET)
        return cls(DpSgd(sampling, clipping, multiplier, steps, budget.delta, relation), counted)

    @property
    def event(self) -> DpEvent:
        """Counts and steps together."""
        from sfumato.privacy import events

        steps = self.mechanism.event
        return steps if self.counted is None else events.compose(self.counted.event, steps)

    @property
    def plan(self) -> dict[str, Any]:
        """As JSON values for a card."""
        plan = self.mechanism.to_dict()
        del plan["event"], plan["delta"], plan["neighbours"]  # the guarantee's own
        if self.counted is not None:
            plan["class_counts_stddev"] = self.counted.stddev
        return plan
