"""Defects of ``tables.marginals``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from battery.defects.tables import with_run
from sfumato.data import Table
from sfumato.privacy.mechanisms import NoisyMax
from sfumato.privacy.noise import NoiseSource
from sfumato.publish.method import Calibrated
from sfumato.publish.tables import marginal_trees
from sfumato.publish.tables.forest import forest
from sfumato.publish.tables.marginals import Independent as Estimate
from sfumato.publish.tables.spanning import Expected

PURE = "tables.marginals: pure"
PAIRS = "tables.marginals: pairs"
CYCLES = "tables.marginals: cycles"


def with_spending(made: Calibrated, **parts: Any) -> Calibrated:
    """The same claim, with something else in the place of a mechanism."""
    return replace(made, run=replace(made.run, spending=replace(made.run.spending, **parts)))


def free_choices(made: Calibrated) -> Calibrated:
    """Claims the counts alone."""
    from sfumato.privacy import events

    counts = [
        events.repeat(noise.event, count)
        for noise, count in (
            (made.run.spending.first, made.run.spending.features),
            (made.run.spending.second, made.run.spending.rounds),
        )
    ]
    return replace(made, guarantee=replace(made.guarantee, event=events.compose(*counts)))


def free_cycles(made: Calibrated) -> Calibrated:
    """Claims the rounds of the tree, and goes on beyond it."""
    event = replace(made.run.spending, cycles=0).event
    return replace(made, guarantee=replace(made.guarantee, event=event))


def scored_against_an_exact_tree(made: Calibrated) -> Calibrated:
    """Expects, of pairs beyond the tree, what the tree's exact tables make likely."""
    cls = type(made.run)

    def _beyond(self: Any, tree: Any, pairs: Any, table: Table, chosen: Any, source: Any) -> Any:
        exact = dict(pairs.count(table, [pair for pair in chosen if pair is not None]))
        counted = Estimate.fit(cls._counts(self, table))
        known = forest(counted, pairs.features, exact, 0.0)
        return cls._beyond(self, known, pairs, table, chosen, source)

    return with_run(made, _beyond=_beyond)


class Best(NoisyMax):
    """Takes the best score as it is."""

    def select(self, scores: Any, source: Any = None) -> int:
        """The first of the largest."""
        return max(range(len(scores)), key=lambda i: scores[i])


def exact_choices(made: Calibrated) -> Calibrated:
    """Chooses the best pairs of the private rows."""
    choice = made.run.spending.choice
    return with_spending(made, choice=Best(choice.epsilon, choice.sensitivity))


def half_sensitivity(made: Calibrated) -> Calibrated:
    """Chooses as if a record moved a score by a half."""
    choice = made.run.spending.choice
    return with_spending(made, choice=NoisyMax(choice.epsilon, 0.5))


def scored_against_exact(made: Calibrated) -> Calibrated:
    """Expects, of each pair, what the exact counts of its features make likely."""
    cls = type(made.run)

    def measure(self: Any, table: Table, source: NoiseSource, progress: Any) -> Any:
        exact = Estimate.fit(cls._counts(self, table))

        class Exactly(Expected):
            def scores(self, counted: Any) -> Any:
                return Expected(exact, self.error).scores(counted)

        honest = marginal_trees.Expected
        marginal_trees.Expected = Exactly
        try:
            return cls.measure(self, table, source, progress)
        finally:
            marginal_trees.Expected = honest

    def _groups(self: Any, estimate: Any, spread: float) -> Any:
        from sfumato.publish.tables.groups import Groups

        return tuple(Groups.fine(cells) for cells in self.features)

    return with_run(made, measure=measure, _groups=_groups)


def measured_twice(made: Calibrated) -> Calibrated:
    """Takes the mean of two measurements of each feature."""
    cls = type(made.run)

    def measure(self: Any, table: Table, source: NoiseSource, progress: Any) -> Any:
        for counts in cls._counts(self, table):
            self.spending.first.release(counts, source)
        return cls.measure(self, table, source, progress)

    return with_run(made, measure=measure)
