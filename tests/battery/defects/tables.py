"""Defects of methods that publish tables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np

from battery.data import PEOPLE, Batched
from battery.row import MethodRow
from battery.rows.adaptive import adaptive
from battery.table import ROWS
from sfumato.data import Table
from sfumato.privacy import accounting
from sfumato.privacy.budget import Budget
from sfumato.privacy.guarantee import Local
from sfumato.privacy.mechanisms import (
    DiscreteLaplace,
)
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import NoiseSource, SeededSource
from sfumato.publish.method import Calibrated
from sfumato.publish.tables import importance
from sfumato.publish.tables.adaptive import Adaptive
from sfumato.publish.tables.independent import Independent
from sfumato.release.release import Artefact

HONEST = {row.name: row for row in ROWS}


PUBLIC = "tables.adaptive: public"


def largest_part(made: Calibrated) -> Calibrated:
    """Prints the largest attribute's epsilon as the row's."""
    parts = made.guarantee.event.events
    largest = max(parts, key=lambda event: accounting.epsilon(event, 0.0, Neighbours.REPLACE_ONE))
    return replace(made, guarantee=Local(largest, 0.0))


def label_on_top(made: Calibrated) -> Calibrated:
    """Gives the label a budget of its own, beside the whole one for the attributes."""
    label = {**made.plan["label"], "epsilon": made.budget.epsilon}
    return replace(made, plan={**made.plan, "label": label})


def private_bounds(made: Calibrated) -> Calibrated:
    """Clamps reports to percentiles of the private ages."""

    def run(table: Table, source: NoiseSource, progress: Any) -> Artefact:
        low, high = np.quantile(table.codes()["age"], [0.1, 0.9], method="nearest")
        codes = made.run(table, source, progress).data.codes()
        codes["age"] = np.clip(codes["age"], low, high)
        return Artefact(Table.from_codes(codes, PEOPLE))

    return replace(made, run=run)


def free_importance(made: Calibrated) -> Calibrated:
    """Takes public weights from the rows: how well each attribute goes with the label."""

    def run(table: Table, source: NoiseSource, progress: Any) -> Artefact:
        codes = table.codes()
        label = codes["ill"] - codes["ill"].mean()
        weights = {
            column.name: float(np.abs((codes[column.name] * label).mean()) + 1e-3)
            for column in PEOPLE.features
        }
        learnt = replace(made.method, weights=weights).calibrate(made.budget, made.facts)
        artefact = learnt.run(table, source, progress)
        return replace(artefact, notes={"attributes": learnt.plan["attributes"]})

    return replace(made, run=run)


def seed_a_batch(made: Calibrated) -> Calibrated:
    """Starts every batch with the same seed."""

    class Reseeded(Batched):
        def codes_batches(self, rows: int = 0, columns: Any = None) -> Iterator[Any]:
            for batch in super().codes_batches(rows, columns):
                source.__init__(0)
                yield batch

    source = SeededSource(0)

    def run(table: Any, _: NoiseSource, progress: Any) -> Artefact:
        return made.run(Reseeded(table, getattr(table, "_rows", 1000)), source, progress)

    return replace(made, run=run)


def batch_statistic(made: Calibrated) -> Calibrated:
    """Measures ages from the youngest of each batch."""

    class Centred(Batched):
        def codes_batches(self, rows: int = 0, columns: Any = None) -> Iterator[Any]:
            for batch in super().codes_batches(rows, columns):
                yield {**batch, "age": batch["age"] - batch["age"].min()}

    def run(table: Any, source: NoiseSource, progress: Any) -> Artefact:
        return made.run(Centred(table, getattr(table, "_rows", 1000)), source, progress)

    return replace(made, run=run)


def own_seed(made: Calibrated) -> Calibrated:
    """Draws noise from a generator with a default seed, whatever source it is given."""
    return replace(made, run=lambda table, _, progress: made.run(table, SeededSource(0), progress))


class IgnoresShare(Adaptive):
    """Accepts a label share and goes on without."""

    def calibrate(self, budget: Budget, facts: Any) -> Calibrated:
        """As if none were given."""
        return Adaptive.calibrate(replace(self, label_share=None), budget, facts)


class Unchecked(Independent):
    """Takes any binning, and cuts equal widths if it does not know it."""

    def __post_init__(self) -> None:
        if self.binning not in ("refined", "log"):
            object.__setattr__(self, "binning", "equal")
        super().__post_init__()


PAID = "tables.adaptive: paid"


def mostly_importance() -> MethodRow:
    """A row that spends nearly all of its budget on the model and the attributions."""
    shares = {"model_share": 0.45, "importance_share": 0.45}
    return adaptive(PAID, importance="paid", **shares)


def uncharged_steps(made: Calibrated) -> Calibrated:
    """Noise is drawn anew in nine times as many steps as are charged."""
    model = made.run.learner.model
    regression = replace(model.regression, steps=9 * model.regression.steps)
    learner = replace(made.run.learner, model=replace(model, regression=regression))
    return replace(made, run=replace(made.run, learner=learner))


def another_count(made: Calibrated) -> Calibrated:
    """The mean is over few records, its noise that of a mean over thirty times as many."""
    learner = made.run.learner
    noise = DiscreteLaplace(learner.noise.scale / 30, learner.noise.contribution)
    return replace(made, run=replace(made.run, learner=replace(learner, noise=noise)))


SPLIT = "tables.adaptive: split"
SAMPLED = "tables.adaptive: public, sampled"


def taught_by_all(made: Calibrated) -> Calibrated:
    """Learns importance from all rows, and goes on as if they were in two parts."""

    class Whole:
        def __init__(self, table: Table) -> None:
            self._table = table

        def __getattr__(self, name: str) -> Any:
            return getattr(self._table, name)

        def split(self, fraction: float, seed: int) -> tuple[Any, Any]:
            rest, _ = self._table.split(fraction, seed)
            return rest, self._table

    return replace(
        made, run=lambda table, source, progress: made.run(Whole(table), source, progress)
    )


def parted_by_value(made: Calibrated) -> Calibrated:
    """Puts the ill among the records that are held out: the part depends on the record."""

    class ByValue:
        def __init__(self, table: Table) -> None:
            self._table = table

        def __getattr__(self, name: str) -> Any:
            return getattr(self._table, name)

        def split(self, fraction: float, seed: int) -> tuple[Any, Any]:
            codes = self._table.codes()
            facts = PEOPLE.with_records(None)
            order = np.argsort(codes["ill"], kind="stable")
            parts = order[: len(order) // 2], order[len(order) // 2 :]
            return tuple(
                Table.from_codes({n: c[rows] for n, c in codes.items()}, facts) for rows in parts
            )

    return replace(
        made, run=lambda table, source, progress: made.run(ByValue(table), source, progress)
    )


def whole_budget_for_each_sampled(made: Calibrated) -> Calibrated:
    """Gives every attribute that a row reports the whole budget, not its part."""
    row = made.run.row
    spent = replace(row, pure=row.label + row.sampled * (row.pure - row.label))
    return replace(made, run=replace(made.run, row=spent))


@contextmanager
def mean_of_one() -> Iterator[None]:
    """Attributions brought to a mean of 1, with the noise of a sum of 1."""
    honest = importance.whole_units

    def units(attributions: Any) -> Any:
        return honest(attributions) * attributions.shape[1]

    with patch.object(importance, "whole_units", units):
        yield


MCGEN = "tables.mcgen"


def published_sensitivity(made: Calibrated) -> Calibrated:
    """Divides the scale of the noise by the number of records, as the published code does."""

    def run(table: Table, source: NoiseSource, progress: Any) -> Artefact:
        noise = replace(
            made.run.noise,
            stddev=made.run.noise.stddev / table.num_rows,
            granularity=made.run.noise.granularity / 2**8,
        )
        return replace(made.run, noise=noise)(table, source, progress)

    return replace(made, run=run)


def clusters_of_the_rows(made: Calibrated) -> Calibrated:
    """Cuts clusters through the rows' own mean, for nothing."""
    from sfumato.publish.tables import mcgen

    def run(table: Table, source: NoiseSource, progress: Any) -> Artefact:
        codes = table.codes()
        means = {one: one.vectors(codes).mean(axis=0) for one in made.run.sets}

        def sides(one: Any, vectors: Any, planes: Any) -> Any:
            return ((vectors - means[one]) @ planes > 0) @ (1 << np.arange(planes.shape[1]))

        with patch.object(mcgen, "sides", sides):
            return made.run(table, source, progress)

    return replace(made, run=run)


def until_positive(made: Calibrated) -> Calibrated:
    """Draws noise again until the variances are positive, and charges the last draw."""
    cls = type(made.run)

    def measure(self: Any, table: Table, source: NoiseSource, seed: int) -> Any:
        for _ in range(9):
            measured = cls.measure(self, table, source, seed)
            if (measured[0][:, 1 + self.sets[0].width] > 0).all():
                break
        return measured

    return with_run(made, measure=measure)


COUNTS = "tables.independent: pure"


def with_run(made: Calibrated, **methods: Any) -> Calibrated:
    """The same run with some of its methods replaced."""
    cls = type(made.run)
    run = type("Planted", (cls,), methods)(
        **{name: getattr(made.run, name) for name in made.run.__dataclass_fields__}
    )
    return replace(made, run=run)


def forgets_noise(made: Calibrated) -> Calibrated:
    """Publishes the first marginal as it is."""
    cls = type(made.run)

    def measure(self: Any, table: Table, source: NoiseSource) -> Any:
        from sfumato.publish.tables.marginals import Independent as Estimate

        first, *others = cls._counts(self, table)
        noisy = [self.noise.release(counts, source) for counts in others]
        return Estimate.fit([first, *noisy])

    return with_run(made, measure=measure)


def realised_count(made: Calibrated) -> Calibrated:
    """Scales counts to a public number of records by the private one."""
    cls = type(made.run)

    def _counts(self: Any, table: Table) -> Any:
        return [counts * 60 // table.num_rows for counts in cls._counts(self, table)]

    return with_run(made, _counts=_counts)


def exact_rows(made: Calibrated) -> Calibrated:
    """Draws as many rows as there are records, which is private under add/remove."""
    cls = type(made.run)

    def measure(self: Any, table: Table, source: NoiseSource) -> Any:
        object.__setattr__(self, "method", replace(self.method, rows=table.num_rows))
        return cls.measure(self, table, source)

    return with_run(made, measure=measure)


def count_on_the_card(made: Calibrated) -> Calibrated:
    """Writes the number of records into the plan."""

    def run(table: Table, source: NoiseSource, progress: Any) -> Artefact:
        artefact = made.run(table, source, progress)
        return replace(artefact, notes={**artefact.notes, "records": table.num_rows})

    return replace(made, run=run)


def no_split(budget: Budget, facts: Any = None) -> Calibrated:
    """Calibrates each marginal for the whole budget, without dividing it."""
    honest = HONEST[COUNTS]
    marginals = len(PEOPLE.features)
    return honest.make(Budget(budget.epsilon * marginals), facts or PEOPLE)


def bins_by_budget(budget: Budget, facts: Any = None) -> Calibrated:
    """Chooses the number of bins by epsilon."""
    settings = {**HONEST[COUNTS].settings, "bins": 2 if budget.epsilon < 2 else 5}
    return Independent(**settings).calibrate(Budget(budget.epsilon), facts or PEOPLE)
