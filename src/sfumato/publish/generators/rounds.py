"""Rounds of noisy answers and a paid class prior under one budget: what taught students spend."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from sfumato.privacy.neighbours import Neighbours
from sfumato.publish.generators.priors import Counted
from sfumato.publish.generators.steps import PRIOR_SHARE

if TYPE_CHECKING:
    from dp_accounting import DpEvent

    from sfumato.privacy.budget import Budget

RELATION = Neighbours.ADD_REMOVE
_BRACKET = (1e-3, 1e9)


class Aggregation(Protocol):
    """A noisy aggregate of teachers' answers that knows its sensitivity and its event."""

    @property
    def stddev(self) -> float:
        """Of the noise on every number."""
        ...

    def sensitivity(self, neighbours: Neighbours) -> float:
        """The L2 distance of one round's numbers between neighbours."""
        ...

    def event(self, neighbours: Neighbours, rounds: int = 1) -> DpEvent:
        """What ``rounds`` rounds draw at most."""
        ...


@dataclass(frozen=True)
class Rounds:
    """Everything that is drawn from the private images.

    In a round every class is asked about, by an aggregation of its own. A record is of one class,
    so what it can move in a round is one aggregate, and one is what a round is charged.

    Args:
        aggregation: Of the teachers' answers on one class in one round.
        count: How many rounds there are.
        counted: Noisy class counts; None where the shares of the classes are declared.
    """

    aggregation: Aggregation
    count: int
    counted: Counted | None

    @classmethod
    def calibrate(
        cls,
        budget: Budget,
        make: Callable[[float], Aggregation],
        count: int,
        counted_classes: int | None,
    ) -> Rounds:
        """The least noise with which rounds and counts together meet the budget (add-remove).

        Args:
            budget: Its delta must be above 0.
            make: The aggregation with so much noise.
            count: How many rounds there are.
            counted_classes: K, if the classes are to be counted; else None.
        """
        from sfumato.privacy import calibration

        counted = None
        if counted_classes is not None:
            mu = PRIOR_SHARE * calibration.analytic_gaussian_mu(budget)
            counted = Counted(counted_classes, 1 / mu)

        def made(stddev: float) -> Rounds:
            return cls(make(stddev), count, counted)

        stddev = calibration.calibrate(lambda value: made(value).event, budget, RELATION, _BRACKET)
        return made(stddev)

    @property
    def event(self) -> DpEvent:
        """Counts and rounds together."""
        from sfumato.privacy import events

        rounds = self.aggregation.event(RELATION, self.count)
        return rounds if self.counted is None else events.compose(self.counted.event, rounds)

    @property
    def plan(self) -> dict[str, Any]:
        """As JSON values for a card."""
        plan: dict[str, Any] = {
            "rounds": self.count,
            "stddev": self.aggregation.stddev,
            "sensitivity": self.aggregation.sensitivity(RELATION),
        }
        if (tests := getattr(self.aggregation, "test_stddev", None)) is not None:
            plan["test_stddev"] = tests
        if self.counted is not None:
            plan["class_counts_stddev"] = self.counted.stddev
        return plan
