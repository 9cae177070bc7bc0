"""``tables.marginals``: counts of features by class, and of the pairs that are worth it.

Select, measure, generate, once through. Every feature is counted by the target, with noise. What
that leaves out is how features go together within a class; so for every pair of features the
distance between its exact table and the one expected without it is scored, and one pair a round
is chosen by the exponential mechanism's better, report-noisy-max, such that the pairs form a
tree. The chosen pairs are counted by the target, with noise. A synthetic row draws a class, then
each feature given the class and its neighbour in the tree.

The target is in every table: that is how the workload is weighted towards the task.

Source: McKenna, Miklau, Sheldon 2021 (MST); McKenna, Mullins, Sheldon, Miklau, VLDB 2022 (AIM),
whose scores are used; Friedman, Geiger, Goldszmidt 1997 for trees given a class.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from sfumato.data.facts import Fact
from sfumato.errors import InputError
from sfumato.privacy.guarantee import Central
from sfumato.privacy.neighbours import Neighbours
from sfumato.publish import checks
from sfumato.publish.method import Calibrated, Progress
from sfumato.publish.tables.bayesian_network import BayesianNetwork
from sfumato.publish.tables.bins import check_binning
from sfumato.publish.tables.counted import (
    LARGEST_TABLE,
    TARGET_BINS,
    CountedRun,
    features_of,
    target_of,
)
from sfumato.publish.tables.cycles import ExpectedByTree, fitting
from sfumato.publish.tables.forest import forest, grouped
from sfumato.publish.tables.graphical import graph, library
from sfumato.publish.tables.groups import Groups
from sfumato.publish.tables.marginals import Independent as Estimate
from sfumato.publish.tables.marginals import total_stddev
from sfumato.publish.tables.pairs import Pair, Pairs
from sfumato.publish.tables.rows import number_of
from sfumato.publish.tables.spanning import Expected, choose, joining, mean_error
from sfumato.publish.tables.spending import Spending, divide, variance
from sfumato.registry import method
from sfumato.release.release import Artefact

if TYPE_CHECKING:
    from sfumato.data import Schema, Table
    from sfumato.privacy.budget import Budget
    from sfumato.privacy.noise import NoiseSource
    from sfumato.release.release import Release


@method("tables.marginals")
@dataclass(frozen=True)
class Marginals:
    """Features that form a tree given the target, chosen and measured with noise.

    Args:
        bins: Bins of a numeric feature.
        target_bins: Equal-width bins of a numeric target.
        binning: How numeric features are cut, from the schema alone, as in ``tables.independent``.
        pairs: Share of the budget for the counts of pairs.
        choosing: Share of the budget for the choice of pairs; the rest is for the first counts.
        groups: At most so many groups of a feature's cells are told apart in a pair's table.
        cycles: Rounds for pairs beyond the tree, each by a choice of its own. With any, everything
            measured is put together by the library mbi (extra ``graph``) in place of a closed form.
        rows: How many rows to draw; None: the noisy estimate of how many there are, and at most
            10,000 where noise hides that. Under add/remove the true number is private and never
            used.
        seed: Of the sampling, which is not privacy noise; None draws one. It is recorded.

    Raises:
        InputError: If a value is unknown or out of its range.

    Guaranteed: ``Central``, record, add/remove. A record is in one cell of each table and moves
    each score by at most 1. Always as many choices and tables as were accounted: where no pair is
    worth measuring, features are measured again.
    """

    bins: int = 16
    target_bins: int = TARGET_BINS
    binning: str = "refined"
    pairs: float = 0.55
    choosing: float = 0.05
    groups: int = 64
    cycles: int = 0
    rows: int | None = None
    seed: int | None = None

    name: ClassVar[str]
    kinds: ClassVar[tuple[str, ...]] = ("table",)
    gives: ClassVar[str] = "table"
    source: ClassVar[str] = "McKenna, Mullins, Sheldon, Miklau, VLDB 2022; trees given the target"
    relation: ClassVar[str] = "central"
    needs_records: ClassVar[bool] = False
    default_delta: ClassVar[float] = 1e-6

    def __post_init__(self) -> None:
        check_binning(self.bins, self.binning)
        check_binning(self.target_bins, "equal")
        for name, least in (("rows", 1), ("seed", 0)):
            if getattr(self, name) is not None:
                checks.whole(name, getattr(self, name), least)
        checks.whole("groups", self.groups, 3)
        checks.whole("cycles", self.cycles, 0)
        for name in ("pairs", "choosing"):
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not (number and 0 < value < 1):
                raise InputError(f"{name} is {value!r}", "Give a share between 0 and 1.")
        if self.pairs + self.choosing >= 1:
            raise InputError(
                f"pairs and choosing take {self.pairs + self.choosing:g} of the budget",
                "Leave a share for the first counts.",
            )

    def calibrate(self, budget: Budget, facts: Schema) -> Calibrated:
        """The run that spends ``budget`` on a table with these public facts.

        Raises:
            InputError: If the facts leave nothing to count, or a table would be too large.
            MissingExtraError: If cycles are asked for and the library for them is not installed.
        """
        # Neighbours differ in their number of rows: stating or checking it would tell them apart.
        facts = facts.with_records(None)
        target = target_of(facts, self.target_bins)
        features = features_of(facts, target, self.bins, self.binning)
        classes = 1 if target is None else len(target)
        widest = sorted((min(len(cells), self.groups) for cells in features), reverse=True)[:2]
        if len(features) > 1 and widest[0] * widest[1] * classes > LARGEST_TABLE:
            raise InputError(
                f"two features by target have {widest[0] * widest[1] * classes} cells",
                "Set groups lower, or predict another target.",
            )
        if self.cycles:
            self._check_cycles(len(features))
        spending = divide(budget, len(features), self.choosing, self.pairs, self.cycles)
        run = _Run(self, facts, features, target, spending)
        gaussian = hasattr(spending.first, "stddev")
        return Calibrated(
            method=self,
            budget=budget,
            facts=facts,
            guarantee=Central(
                spending.event, budget.delta if gaussian else 0.0, "record", Neighbours.ADD_REMOVE
            ),
            plan={**spending.plan, "classes": classes, "cells": sum(map(len, features)) * classes},
            run=run,
            public=(Fact("bins", {c.column.name: len(c) for c in features}),),
            caveats=(
                f"Of the relations between features, those {self._kept} are kept; what others add "
                "to them is lost.",
            ),
        )

    @property
    def _kept(self) -> str:
        return "of the pairs measured" if self.cycles else "along one tree"

    def _check_cycles(self, features: int) -> None:
        most = (features - 1) * (features - 2) // 2
        if self.cycles > most:
            raise InputError(
                f"cycles is {self.cycles}, and {features} features have {most} pairs beyond a tree",
                f"Give at most {most}.",
            )
        library()

    def resample(self, release: Release, n: int, seed: int) -> Table:
        """``n`` more rows from a release's noisy counts, which cost nothing."""
        run = CountedRun.of_release(self, release)
        network = BayesianNetwork.of_tensors(release.artefact.tensors, run.features)
        return run.draw(network, n, np.random.default_rng(seed))


@dataclass(frozen=True)
class _Run(CountedRun):
    """Counts, choices, counts, estimate, rows.

    Args:
        spending: The noise of everything.
    """

    spending: Spending

    @property
    def records_stddev(self) -> float:
        """Of the noise in the estimated number of records, by the first counts alone."""
        cells = [len(feature) for feature in self.features]
        return total_stddev(cells, self.classes, variance(self.spending.first))

    def __call__(self, table: Table, source: NoiseSource, progress: Progress) -> Artefact:
        """Measures with noise, then draws rows from what was measured."""
        network, chosen = self.measure(table, source, progress)
        progress(3, 4, "rows")
        seed = secrets.randbits(63) if self.method.seed is None else self.method.seed
        rows, notes = number_of(self.method.rows, network.records, self.records_stddev)
        released = self.draw(network, rows, np.random.default_rng(seed))
        progress(4, 4, "rows")
        names = [cells.column.name for cells in self.features]
        notes |= {
            "pairs": [[names[i], names[j]] for i, j in chosen],
            "groups": {g.cells.column.name: len(g) for g in network.groups},
        }
        return Artefact(released, network.tensors, seeds={"sampling": seed}, notes=notes)

    def measure(
        self, table: Table, source: NoiseSource, progress: Progress
    ) -> tuple[BayesianNetwork, list[Pair]]:
        """All that is drawn from the private rows: noisy counts and noisy choices."""
        progress(0, 4, "counts")
        exact = self._counts(table)
        noisy = [self.spending.first.release(counts, source) for counts in exact]
        estimate = Estimate.fit(noisy)
        if self.spending.choice is None or self.spending.second is None:
            return self._alone(estimate), []
        spread = variance(self.spending.second)
        groups = self._groups(estimate, spread)
        pairs = Pairs(groups, self.target)
        progress(1, 4, "pairs")
        scores = Expected(grouped(estimate, groups), mean_error(spread)).scores(
            pairs.count(table, pairs.all())
        )
        joined = partial(joining, scores)
        choice = self.spending.choice
        chosen = choose(len(groups) - 1, scores, joined, self._again(), choice, source)
        progress(2, 4, "pairs")
        measured = self._measured(pairs, table, chosen, source)
        tree = list(measured)
        if self.spending.cycles:
            network = forest(estimate, groups, measured, spread)
            more = self._beyond(network, pairs, table, chosen, source)
            measured |= self._measured(pairs, table, more, source)
            chosen += more
        again = [i % len(exact) for i in range(chosen.count(None))]
        repeated = [self.spending.second.release(exact[j], source) for j in again]
        estimate = _refined(noisy, variance(self.spending.first), again, repeated, spread)
        network = forest(estimate, groups, {pair: measured[pair] for pair in tree}, spread)
        if len(measured) > len(tree):  # else the closed form is the estimate
            progress(3, 4, "estimate")
            network = self._estimated(network, measured)
        return network, list(measured)

    def _estimated(
        self, tree: BayesianNetwork, measured: dict[Pair, NDArray[np.int64]]
    ) -> BayesianNetwork:
        """All that was measured in one distribution."""
        assert self.spending.second is not None
        return graph(tree, measured, variance(self.spending.second), variance(self.spending.first))

    def _beyond(
        self,
        tree: BayesianNetwork,
        pairs: Pairs,
        table: Table,
        chosen: list[Pair | None],
        source: NoiseSource,
    ) -> list[Pair | None]:
        """Choices of what is measured beyond a tree."""
        assert self.spending.choice is not None
        assert self.spending.second is not None
        expected = ExpectedByTree(tree, mean_error(variance(self.spending.second)))
        scores = expected.scores(pairs.count(table, pairs.all()))
        sizes = [len(groups) for groups in pairs.features]
        fit = partial(fitting, scores, sizes, self.classes)
        again, choice = self._again(), self.spending.choice
        return choose(self.spending.cycles, scores, fit, again, choice, source, chosen)

    def _measured(
        self, pairs: Pairs, table: Table, chosen: list[Pair | None], source: NoiseSource
    ) -> dict[Pair, NDArray[np.int64]]:
        """Noisy tables of the chosen pairs."""
        assert self.spending.second is not None
        return {
            pair: self.spending.second.release(counts, source)
            for pair, counts in pairs.count(table, [pair for pair in chosen if pair is not None])
        }

    def _groups(self, estimate: Estimate, spread: float) -> tuple[Groups, ...]:
        least = _STANDS_OUT * float(np.sqrt(spread))
        return tuple(
            Groups.merged(cells, counts.sum(axis=1), least, self.method.groups)
            for cells, counts in zip(self.features, estimate.conditionals, strict=True)
        )

    def _again(self) -> list[float]:
        """What a second measurement of each feature by the target takes off its error."""
        first = variance(self.spending.first)
        assert self.spending.second is not None
        both = 1 / (1 / first + 1 / variance(self.spending.second))
        gain = mean_error(first) - mean_error(both)
        return [gain * len(cells) * self.classes for cells in self.features]

    def _alone(self, estimate: Estimate) -> BayesianNetwork:
        return forest(estimate, [Groups.fine(cells) for cells in self.features], {}, 0.0)


_STANDS_OUT = 1.0
"""Standard deviations of a pair's noise that a group of cells should hold."""


def _refined(
    noisy: list[NDArray[np.int64]],
    first: float,
    again: list[int],
    repeated: list[NDArray[np.int64]],
    second: float,
) -> Estimate:
    """Counts by feature from one or more measurements of each, by inverse variance."""
    weight = [1 / first] * len(noisy)
    total = [counts / first for counts in noisy]
    for j, counts in zip(again, repeated, strict=True):
        weight[j] += 1 / second
        total[j] = total[j] + counts / second
    means = [counts / w for counts, w in zip(total, weight, strict=True)]
    return Estimate.fit(means, [1 / w for w in weight])
