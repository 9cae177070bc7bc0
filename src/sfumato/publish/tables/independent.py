"""``tables.independent``: noisy counts of each column by class, and rows drawn from them.

One noisy contingency table for each feature and the target. Each holds the target's distribution,
the feature's, and the feature's given the class, so nothing else is measured: separate one-way
counts would take budget from all cells and add little to what the sums already say. The target's
distribution is combined from all tables by inverse variance; every table is then brought to the
nearest non-negative counts that agree with it. A synthetic row draws a class, then each feature
given the class on its own.

What it keeps: every one-way distribution, and every feature's relation to the target. What it
loses: how features go together within a class. It is the honest floor for methods that keep more.

Source: generative.md 4.1 (select, measure, generate); the "Direct" selection of 4.7.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sfumato.data.facts import Fact
from sfumato.errors import InputError
from sfumato.privacy.budget import Budget
from sfumato.privacy.guarantee import Central
from sfumato.privacy.neighbours import Neighbours
from sfumato.publish import checks
from sfumato.publish.method import Calibrated, Progress
from sfumato.publish.tables.bins import check_binning
from sfumato.publish.tables.counted import (
    TARGET_BINS,
    CountedRun,
    features_of,
    target_of,
)
from sfumato.publish.tables.marginals import Independent as Estimate
from sfumato.publish.tables.marginals import total_stddev
from sfumato.publish.tables.rows import number_of
from sfumato.publish.tables.spending import variance
from sfumato.registry import method
from sfumato.release.release import Artefact

if TYPE_CHECKING:
    from sfumato.data import Schema, Table
    from sfumato.privacy.mechanisms import DiscreteGaussian, DiscreteLaplace
    from sfumato.privacy.noise import NoiseSource
    from sfumato.release.release import Release


@method("tables.independent")
@dataclass(frozen=True)
class Independent:
    """Features that are independent given the target.

    Args:
        bins: Bins of a numeric feature.
        target_bins: Equal-width bins of a numeric target.
        binning: How numeric features are cut, from the schema alone: ``"refined"`` (equal widths,
            the first halved down to the lowest value and the highest value set apart),
            ``"equal"``, or ``"log"`` (widths that grow geometrically from the lower bound, for
            values that are declared heavy-tailed).
        rows: How many rows to draw; None: the noisy estimate of how many there are, and at most
            10,000 where noise hides that. Under add/remove the true number is private and never
            used.
        seed: Of the sampling, which is not privacy noise; None draws one. It is recorded.

    Raises:
        InputError: If a value is unknown or out of its range.

    Guaranteed: ``Central``, record, add/remove. A record is in one cell of each of ``m`` tables,
    so it contributes ``m`` in L1; noise is discrete Laplace (delta 0) or discrete Gaussian,
    whichever of the two is less where a delta is given.
    """

    bins: int = 32
    target_bins: int = TARGET_BINS
    binning: str = "refined"
    rows: int | None = None
    seed: int | None = None

    name: ClassVar[str]
    kinds: ClassVar[tuple[str, ...]] = ("table",)
    gives: ClassVar[str] = "table"
    source: ClassVar[str] = "McKenna, Miklau, Sheldon 2021 (arXiv 2108.04978), without selection"
    relation: ClassVar[str] = "central"
    needs_records: ClassVar[bool] = False
    default_delta: ClassVar[float] = 1e-6

    def __post_init__(self) -> None:
        check_binning(self.bins, self.binning)
        check_binning(self.target_bins, "equal")
        for name, least in (("rows", 1), ("seed", 0)):
            if getattr(self, name) is not None:
                checks.whole(name, getattr(self, name), least)

    def calibrate(self, budget: Budget, facts: Schema) -> Calibrated:
        """The run that spends ``budget`` on a table with these public facts.

        Raises:
            InputError: If the facts leave nothing to count, or a table would be too large.
        """
        # Neighbours differ in their number of rows: stating or checking it would tell them apart.
        facts = facts.with_records(None)
        target = target_of(facts, self.target_bins)
        features = features_of(facts, target, self.bins, self.binning)
        noise = _mechanism(budget, len(features))
        run = _Run(self, facts, features, target, noise)
        gaussian = hasattr(noise, "stddev")
        delta = budget.delta if gaussian else 0.0
        return Calibrated(
            method=self,
            budget=budget,
            facts=facts,
            guarantee=Central(run.event, delta, "record", Neighbours.ADD_REMOVE),
            plan=run.plan,
            run=run,
            public=(Fact("bins", {c.column.name: len(c) for c in features}),),
            caveats=(
                "Features are independent given the target: relations between features that the "
                "target does not explain are lost.",
            ),
        )

    def resample(self, release: Release, n: int, seed: int) -> Table:
        """``n`` more rows from a release's noisy counts, which cost nothing."""
        estimate = Estimate.of_tensors(release.artefact.tensors)
        run = CountedRun.of_release(self, release)
        return run.draw(estimate, n, np.random.default_rng(seed))


def _mechanism(budget: Budget, tables: int) -> DiscreteGaussian | DiscreteLaplace:
    """The less noisy of the mechanisms that the budget allows, for one cell of each table."""
    from sfumato.privacy import events
    from sfumato.privacy.calibration import calibrate, calibrate_gaussian
    from sfumato.privacy.mechanisms import DiscreteGaussian, DiscreteLaplace
    from sfumato.privacy.noise.laplace import MIN_SCALE

    laplace = DiscreteLaplace.calibrate(Budget(budget.epsilon), tables, Neighbours.ADD_REMOVE)
    if budget.delta == 0 or laplace.scale == MIN_SCALE:
        return laplace
    guess = calibrate_gaussian(budget, Neighbours.ADD_REMOVE, steps=tables)
    try:
        stddev = calibrate(
            lambda value: events.repeat(events.DiscreteGaussianDpEvent(value, 1, "cell"), tables),
            budget,
            Neighbours.ADD_REMOVE,
            (guess / 4, guess * 4),
        )
    except InputError:  # so small a budget that the accountant's grid tells no noise from another
        return laplace
    # The variance of Laplace noise is twice its squared scale.
    if 2 * laplace.scale**2 < stddev**2:
        return laplace
    return DiscreteGaussian(stddev, 1, "cell")


@dataclass(frozen=True)
class _Run(CountedRun):
    """Counts, noise, estimate, rows.

    Args:
        noise: Of every cell.
    """

    noise: DiscreteGaussian | DiscreteLaplace

    @property
    def event(self) -> Any:
        """All tables: one Laplace sum of contribution ``m``, or ``m`` Gaussian histograms."""
        from sfumato.privacy import events
        from sfumato.privacy.mechanisms import DiscreteLaplace

        if isinstance(self.noise, DiscreteLaplace):
            return self.noise.event
        return events.repeat(self.noise.event, len(self.features))

    @property
    def records_stddev(self) -> float:
        """Of the noise in the estimated number of records."""
        cells = [len(feature) for feature in self.features]
        return total_stddev(cells, self.classes, variance(self.noise))

    @property
    def plan(self) -> dict[str, Any]:
        """Tables and noise, as JSON values."""
        from sfumato.privacy.mechanisms import DiscreteLaplace

        laplace = isinstance(self.noise, DiscreteLaplace)
        return {
            "tables": len(self.features),
            "cells": sum(map(len, self.features)) * self.classes,
            "classes": self.classes,
            "noise": "discrete Laplace" if laplace else "discrete Gaussian",
            ("scale" if laplace else "stddev"): getattr(
                self.noise, "scale" if laplace else "stddev"
            ),
        }

    def __call__(self, table: Table, source: NoiseSource, progress: Progress) -> Artefact:
        """Measures with noise, then draws rows from what was measured."""
        progress(0, 2, "counts")
        estimate = self.measure(table, source)
        progress(1, 2, "rows")
        seed = secrets.randbits(63) if self.method.seed is None else self.method.seed
        rows, notes = number_of(self.method.rows, estimate.records, self.records_stddev)
        released = self.draw(estimate, rows, np.random.default_rng(seed))
        progress(2, 2, "rows")
        return Artefact(released, estimate.tensors, seeds={"sampling": seed}, notes=notes)

    def measure(self, table: Table, source: NoiseSource) -> Estimate:
        """All that is drawn from the private rows: noisy counts, made consistent."""
        return Estimate.fit([self.noise.release(counts, source) for counts in self._counts(table)])
