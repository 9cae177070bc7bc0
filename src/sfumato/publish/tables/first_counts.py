"""Noisy counts by the target, then private steps, under one budget.

A network that begins at the columns' own distributions, given the class, has to learn only how they
go together. Those distributions cost little: a noisy table for each column, from a share of the
budget, which also says how often each class occurs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sfumato.errors import InputError
from sfumato.privacy.neighbours import Neighbours
from sfumato.publish import checks

if TYPE_CHECKING:
    from dp_accounting import DpEvent

    from sfumato.learn.clipping import Clipping
    from sfumato.learn.mechanism import DpSgd
    from sfumato.privacy.budget import Budget
    from sfumato.privacy.mechanisms import DiscreteGaussian

_BRACKET = (0.05, 1e4)


@dataclass(frozen=True)
class CountsAndSteps:
    """Everything that is drawn from the private rows.

    Args:
        mechanism: Poisson-sampled steps with clipped and noised gradients.
        counts: The noise of every cell of every column's table.
        tables: How many columns are counted by the target.
    """

    mechanism: DpSgd
    counts: DiscreteGaussian
    tables: int

    @classmethod
    def calibrate(
        cls,
        budget: Budget,
        *,
        records: int,
        expected_batch_size: int,
        epochs: float,
        clipping: Clipping,
        tables: int,
        share: float,
    ) -> CountsAndSteps:
        """The least noise with which counts and steps together meet the budget (add-remove).

        Args:
            budget: Its delta must be above 0.
            records: The public number of records.
            expected_batch_size: Records a step, on average.
            epochs: How often a record is seen, on average.
            clipping: The bound on one record's gradient.
            tables: How many columns are counted by the target.
            share: Of the budget's squared mu, for the counts; between 0 and 1.

        Raises:
            InputError: If the budget is so small that no noise meets it.
        """
        from sfumato.learn.mechanism import DpSgd
        from sfumato.learn.sampling import PoissonSampling
        from sfumato.privacy import calibration, events
        from sfumato.privacy.mechanisms import DiscreteGaussian
        from sfumato.privacy.noise.gaussian import MIN_STDDEV

        relation = Neighbours.ADD_REMOVE
        sampling = PoissonSampling.of_batches(records, expected_batch_size)
        steps = checks.steps(epochs, records, expected_batch_size)
        mu = math.sqrt(share) * calibration.analytic_gaussian_mu(budget)
        # Never below what can be drawn: there, epsilon is simply smaller than asked for.
        counts = DiscreteGaussian(max(math.sqrt(tables) / mu, MIN_STDDEV), 1, "cell")
        counted = events.repeat(counts.event, tables)

        def joint(multiplier: float) -> DpEvent:
            return events.compose(counted, events.repeat(sampling.event(multiplier), steps))

        try:
            multiplier = calibration.calibrate(joint, budget, relation, _BRACKET)
        except InputError as error:
            raise InputError(
                f"epsilon is {budget.epsilon:g}: of private steps {error.problem}",
                "Give a larger one; tables.marginals meets smaller ones.",
            ) from None
        mechanism = DpSgd(sampling, clipping, multiplier, steps, budget.delta, relation)
        return cls(mechanism, counts, tables)

    @property
    def event(self) -> DpEvent:
        """Counts and steps together."""
        from sfumato.privacy import events

        counted = events.repeat(self.counts.event, self.tables)
        return events.compose(counted, self.mechanism.event)

    @property
    def plan(self) -> dict[str, Any]:
        """As JSON values for a card."""
        plan = self.mechanism.to_dict()
        del plan["event"], plan["delta"], plan["neighbours"]  # the guarantee's own
        return {**plan, "counted_tables": self.tables, "counts_stddev": self.counts.stddev}
