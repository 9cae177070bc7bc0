"""What the shared tests need to know about one mechanism or method."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from battery.accountant import Parts
from sfumato.privacy.budget import Budget
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import NoiseSource, SeededSource
from sfumato.publish.method import Calibrated, silent
from sfumato.release.release import Artefact

Array = NDArray[Any]
BUDGETS = (Budget(0.25, 1e-6), Budget(1.0, 1e-6), Budget(4.0, 1e-6))
"""The grid over which noise, calibration and bounds are compared."""
ONE, TWO, HUGE = Budget(1.0, 1e-6), Budget(2.0, 1e-6), Budget(60.0, 0.5)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One mechanism. A hook that is None says that a test has no meaning here.

    Args:
        name: Of the row.
        subject: The mechanism or method that it exercises.
        make: ``(budget)``, and ``(budget, facts)`` for a method: calibrates it, from public
            facts alone.
        neighbours: The relation that its epsilon is claimed under.
        extremes: Two neighbouring private inputs, as far apart as the declared domain allows.
        samples: ``(made, input, runs, source)``: independent runs on one input, as (runs,) numbers
            or (runs, k) codes.
        budget: What most checks run it at.
        audit_budget: What it is audited at: more than 1, where few runs tell more.
        pure: Whether its claim is at delta 0.
        runs: Runs a side of the two-point audit; 0 where that takes too long for every day.
        slow_runs: The same in the slow tests; 0 for none beyond ``runs``.
        error: ``(made, source)``: how far releases are from the truth on average.
        reach: ``made``: what moving from one extreme to the other adds to the release, noise
            aside: a property of the clip norm or the domain, not of the budget.
        noise: ``(made, source)``: (repeats, coordinates) of what should be independent draws.
        reports: ``(made, records, source)``: one report a record, (n, ...).
        records: (n, ...) for ``reports``.
        stretch: ``(records, i)``: the same with record ``i`` as extreme as an input can be.
        norms: ``made``: the norms of extreme records' contributions, and their declared bound.
        identity: ``(made, source)``: releases under ``huge`` and the truth, equal up to
            ``tolerance`` times the largest truth.
        huge: A budget that asks for next to no noise.
        tolerance: See ``identity``.
        one_run: ``(row, included, source)``: a score for each canary, from one run in which those
            included are present (or changed).
        canaries: How many.
        everyday: False for a further setting of a method: its checks are slow tests.
        long: Names of checks that are slow tests for this row alone: another row's daily one draws
            the same noise.
    """

    name: str
    subject: type
    make: Callable[..., Any]
    neighbours: Neighbours
    extremes: tuple[Any, Any]
    samples: Callable[[Any, Any, int, NoiseSource], Array]
    budget: Budget = ONE
    audit_budget: Budget = TWO
    pure: bool = False
    runs: int = 20_000
    slow_runs: int = 0
    error: Callable[[Any, NoiseSource], float] | None = None
    reach: Callable[[Any], Array] | None = None
    noise: Callable[[Any, NoiseSource], Array] | None = None
    reports: Callable[[Any, Any, NoiseSource], Array] | None = None
    records: Array | None = None
    stretch: Callable[[Any, int], Any] | None = None
    norms: Callable[[Any], tuple[Array, float]] | None = None
    identity: Callable[[Any, NoiseSource], tuple[Array, Array]] | None = None
    huge: Budget = HUGE
    tolerance: float = 0.0
    everyday: bool = True
    long: frozenset[str] = frozenset()
    one_run: Callable[[Any, NDArray[np.bool_], NoiseSource], Array] | None = None
    canaries: int = 4000

    def __str__(self) -> str:
        return self.name

    def event(self, made: Any) -> Any:
        """What it claims to draw."""
        return made.event

    def delta(self, made: Any) -> float:
        """Where its epsilon is read off."""
        return 0.0 if self.pure else self.budget.delta

    def epsilon(self, made: Any, delta: float | None = None) -> float:
        """The claim."""
        from sfumato.privacy import accounting

        at = self.delta(made) if delta is None else delta
        return accounting.epsilon(self.event(made), at, self.neighbours)

    def ceiling(self, made: Any) -> Callable[[float], float]:
        """The best true positive rate at a false positive rate that the claim allows."""
        from sfumato.privacy import accounting

        event = self.event(made)
        return lambda fpr: accounting.max_tpr(event, fpr, self.neighbours)


@dataclass(frozen=True, kw_only=True)
class PublicAudit:
    """How a method is audited through its public contract, by ``sfumato.audit``.

    Args:
        settings: Of the method, beside those of its row: such that what is released shows much.
        budget: What it is audited at.
        runs: On each of two data sets.
        records: In each of them.
    """

    settings: Mapping[str, Any]
    budget: Budget
    runs: int
    records: int


@dataclass(frozen=True, kw_only=True)
class MethodRow(Row):
    """One way of running a registered method.

    Args:
        settings: The method's settings.
        facts: The public facts.
        data: ``seed``: a private data set; another seed gives other people, the same facts.
        neighbour: ``(data, rng)``: a random neighbour under the row's relation.
        numbers: What of an artefact is compared, to the last bit.
        parts: ``(plan, facts)``: the losses that a card's plan comes to.
        paid_for: Keys of a card's plan that are learnt from noisy output.
        telling: Settings under which two runs release the same by chance once in a billion times.
        alternatives: For each setting that matters here another value, which must change something.
        adaptive: Whether earlier outputs decide what is measured later.
        sampled: Whether steps see samples of the records.
        least: The part of the claim that some of the neighbours tried must cost, for a check of
            neighbours to have been one.
        examples: How many neighbours are tried.
        batched: ``(made, source)``: reports on equal records by batch, (batches, n) numbers.
        public_audit: How it is audited from outside; None where the audits of its sums say more.
    """

    settings: Mapping[str, Any]
    facts: Any
    data: Callable[[int], Any]
    neighbour: Callable[[Any, np.random.Generator], Any]
    numbers: Callable[[Artefact], dict[str, Array]]
    parts: Callable[[Mapping[str, Any], Any], Parts]
    paid_for: frozenset[str] = frozenset()
    telling: Mapping[str, Any] = field(default_factory=dict)
    alternatives: Mapping[str, Any] = field(default_factory=dict)
    adaptive: bool = False
    sampled: bool = False
    least: float = 0.5
    examples: int = 25
    batched: Callable[[Calibrated, NoiseSource], Array] | None = None
    public_audit: PublicAudit | None = None

    def event(self, made: Calibrated) -> Any:
        """What its guarantee claims to draw; of a metric one, between any two values."""
        return getattr(made.guarantee, "worst_case", made.guarantee).event

    def delta(self, made: Calibrated) -> float:
        """The guarantee's own."""
        return made.guarantee.delta

    def run(self, made: Calibrated, data: Any, seed: int = 0) -> Artefact:
        """One run with seeded noise."""
        return made.run(data, SeededSource(seed), silent)

    def calibrate(self, **settings: Any) -> Calibrated:
        """The method with other settings, at the row's budget and facts."""
        return self.subject(**{**self.settings, **settings}).calibrate(self.budget, self.facts)
