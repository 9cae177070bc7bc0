"""What table methods trained by noisy clipped gradients share: settings, calibration, run.

A method adds its networks and its training. What is drawn from private rows, a noisy table for each
column and the steps, is accounted here in one event; rows are drawn from what was trained.

The rows are held in memory, two or four bytes a cell, because every step samples from all of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sfumato.data.facts import Fact
from sfumato.errors import InputError
from sfumato.privacy.guarantee import Central
from sfumato.publish import checks, rehearsal
from sfumato.publish.generators.work import Work
from sfumato.publish.method import Calibrated, Progress
from sfumato.publish.models.run import caveats
from sfumato.publish.seeds import seeds_of
from sfumato.publish.tables.bins import check_binning
from sfumato.publish.tables.counted import (
    TARGET_BINS,
    CountedRun,
    Sampler,
    features_of,
    target_of,
)
from sfumato.publish.tables.first_counts import CountsAndSteps
from sfumato.publish.tables.marginals import spread
from sfumato.release.release import Artefact

if TYPE_CHECKING:
    from torch import Tensor

    from sfumato.data import Schema, Table
    from sfumato.learn.clipping import Clipping
    from sfumato.learn.mechanism import DpSgd
    from sfumato.privacy.budget import Budget
    from sfumato.privacy.noise import NoiseSource
    from sfumato.publish.room import Part
    from sfumato.publish.tables.heads import Heads
    from sfumato.publish.tables.start import Start

WIDEST = 50_000
"""Cells of all columns together, each of which is an input of a network."""
_ROWS = 1 << 16


@dataclass(frozen=True)
class RowWork:
    """One training: what a method's :meth:`TrainedRows.train` is given.

    Args:
        heads: The cells of the columns.
        start: Distributions by class, from noisy counts.
        places: (n, d) private: the cell of each column that a row is in.
        labels: (n,) private class numbers.
        steps: What may be drawn from them; the mechanism is to be run, and nothing else.
        seeds: ``"weights"`` and ``"training"``.
        source: Sampling and noise.
        device: As torch names it.
        progress: Told steps done and steps in all.
        workspace: Where checkpoints lie; None keeps none.
        most: So many steps are taken; None: all.
        prepared: What the method needs beside private rows: nothing private.
    """

    heads: Heads
    start: Start
    places: Tensor
    labels: Tensor
    steps: CountsAndSteps
    seeds: Mapping[str, int]
    source: NoiseSource
    device: str
    progress: Callable[[int, int], None]
    workspace: Path | None = None
    most: int | None = None
    prepared: Any = None

    def within(self, architecture: Any = None) -> Work:
        """The same for the training blocks of generators, which know rows as "images"."""
        steps: Any = self.steps  # they ask for its mechanism alone
        return Work(
            architecture,
            self.places,
            self.labels,
            steps,
            self.start.prior,
            self.seeds,
            self.source,
            self.device,
            self.progress,
            self.workspace,
            self.most,
        )


@dataclass(frozen=True)
class TrainedRows(ABC):
    """Settings of every such method.

    Args:
        epochs: How often a record is seen, on average.
        expected_batch_size: Records a step, on average; None: a hundredth of the records, 64 at
            least.
        max_grad_norm: Bound on one record's gradient.
        counting: Share of the budget (of its squared mu) for the first counts: of every column by
            the target, which training begins at, and which say how often a class occurs.
        bins: Bins of a numeric feature.
        target_bins: Equal-width bins of a numeric target.
        binning: How numeric features are cut, from the schema alone, as in ``tables.independent``.
        rows: How many rows to draw; None: as many as there are records.
        hidden: Width of the networks' layers.
        averaging: Decay of the average of the weights that rows are drawn from.
        max_minutes: Take only as many steps as there is time for, and spend the whole budget all
            the same; None takes all. How many is measured on made-up rows beforehand: a clock
            that ran beside the private ones would tell of them.
        seed: Of weights, training and drawing, none of which is privacy noise; None draws one.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.

    Raises:
        InputError: If a value is unknown or out of its range.

    Guaranteed: ``Central``, (epsilon, delta) for adding or removing one record; the number of
    records is declared public.
    """

    epochs: float = 15
    expected_batch_size: int | None = None
    max_grad_norm: float = 1.0
    counting: float = 0.2
    bins: int = 16
    target_bins: int = TARGET_BINS
    binning: str = "refined"
    rows: int | None = None
    hidden: int = 128
    averaging: float = 0.99
    max_minutes: float | None = None
    seed: int | None = None
    device: str = "auto"

    name: ClassVar[str]
    kinds: ClassVar[tuple[str, ...]] = ("table",)
    gives: ClassVar[str] = "table"
    relation: ClassVar[str] = "central"
    needs_records: ClassVar[bool] = True
    default_delta: ClassVar[float] = 1e-6

    def __post_init__(self) -> None:
        checks.trained(self)
        checks.number("averaging", self.averaging, 0, 1 - 1e-9)
        checks.number("counting", self.counting, 1e-3, 1 - 1e-3)
        checks.whole("hidden", self.hidden, 1)
        check_binning(self.bins, self.binning)
        check_binning(self.target_bins, "equal")
        checks.optional(self, rows=1)

    # -- what a method adds --------------------------------------------------------------------

    @abstractmethod
    def train(self, work: RowWork) -> Sampler:
        """What new rows are drawn from, once it is trained."""

    @property
    def clipping(self) -> Clipping:
        """The bound on one record's gradient."""
        from sfumato.learn.clipping import Automatic

        return Automatic(self.max_grad_norm)

    def prepared(self, facts: Schema) -> tuple[Any, tuple[Fact, ...]]:
        """What a method needs beside the private rows, and the facts that it states of it."""
        return None, ()

    def caveats(self, prepared: Any) -> tuple[str, ...]:
        """What a method says of itself beside what all say."""
        return ()

    def certain(self, heads: Heads, classes: int) -> Iterator[Part]:
        """What settings make large for certain; see :mod:`sfumato.publish.room`."""
        yield from ()

    def released_rows(self, prepared: Any, records: int) -> int:
        """How many rows there will be."""
        return self.rows or records

    # -- what they share -----------------------------------------------------------------------

    def calibrate(self, budget: Budget, facts: Schema) -> Calibrated:
        """The run that spends ``budget`` on a table with these public facts.

        Raises:
            InputError: If the facts are not those of a table, lack the number of records or leave
                nothing to model, the budget lacks a delta, or a setting does not fit them.
        """
        from sfumato.data import Schema
        from sfumato.learn.noise import STREAM

        if not isinstance(facts, Schema):
            raise InputError(f"{self.name} was given images", "It publishes tables.")
        records = checks.records(facts, budget)
        target = target_of(facts, self.target_bins)
        features = features_of(facts, target, self.bins, self.binning)
        width = sum(map(len, features))
        if width > WIDEST:
            raise InputError(
                f"the columns have {width} levels and bins together",
                f"{self.name} takes {WIDEST}: drop columns, declare fewer levels, or use "
                "tables.independent.",
            )
        steps = CountsAndSteps.calibrate(
            budget,
            records=records,
            expected_batch_size=checks.batch_size(self.expected_batch_size, records),
            epochs=self.epochs,
            clipping=self.clipping,
            tables=len(features),
            share=self.counting,
        )
        prepared, public = self.prepared(facts)
        device = checks.device(self.device)
        run = RowRun(self, facts, features, target, records, steps, device, prepared)
        return Calibrated(
            method=self,
            budget=budget,
            facts=facts,
            guarantee=Central(steps.event, budget.delta, "record", steps.mechanism.neighbours),
            plan=run.plan,
            run=run,
            public=(Fact("bins", {c.column.name: len(c) for c in features}), *public),
            caveats=(*caveats(steps.mechanism.neighbours), *self.caveats(prepared)),
            source=STREAM,
        )


@dataclass(frozen=True)
class RowRun(CountedRun):
    """First counts, training, rows.

    Args:
        records: The public number of rows.
        steps: What is drawn from them.
        device: As torch names it.
        prepared: What the method needs beside them.
    """

    records: int
    steps: CountsAndSteps
    device: str
    prepared: Any = None
    resumable: bool = field(default=True, init=False)

    @property
    def heads(self) -> Heads:
        """The cells of the features."""
        from sfumato.publish.tables.heads import Heads

        return Heads(tuple(map(len, self.features)))

    @property
    def certain(self) -> Iterator[Part]:
        """What is in memory for certain; see :mod:`sfumato.publish.room`."""
        yield from self.method.certain(self.heads, self.classes)

    @property
    def plan(self) -> dict[str, Any]:
        """As JSON values for a card."""
        return {
            **self.steps.plan,
            "cells": self.heads.width,
            "classes": self.classes,
            "rows": self.method.released_rows(self.prepared, self.records),
        }

    def __call__(
        self,
        table: Table,
        source: NoiseSource,
        progress: Progress,
        workspace: Path | None = None,
    ) -> Artefact:
        """Counts and trains on private rows; what it has drawn is kept in ``workspace``."""
        from sfumato.publish.tables.start import Start
        from sfumato.publish.workspace import once

        method = self.method
        seeds = once(
            workspace, "seeds", lambda: seeds_of(method.seed, "weights", "training", "drawing")
        )
        most = None
        if method.max_minutes is not None:
            most = once(workspace, "most_steps", lambda: self._affordable(seeds))
        progress(0, self.steps.mechanism.steps, "counts")
        noisy = once(
            workspace,
            "counts",
            lambda: [self.steps.counts.release(c, source).tolist() for c in self._counts(table)],
            drawn=True,
        )
        start = Start.of([np.asarray(counts) for counts in noisy])
        places, labels = self._rows(table)
        work = RowWork(
            self.heads,
            start,
            places,
            labels,
            self.steps,
            seeds,
            source,
            self.device,
            lambda done, total: progress(done, total, "training"),
            workspace,
            most,
            self.prepared,
        )
        sampler = method.train(work)
        del work, places, labels
        # No private row below this line.
        count = method.released_rows(self.prepared, self.records)
        released = self.draw(sampler, count, np.random.default_rng(seeds["drawing"]))
        return Artefact(
            released,
            seeds=dict(seeds),
            notes={"steps_taken": most or self.steps.mechanism.steps},
        )

    def _rows(self, table: Table) -> tuple[Tensor, Tensor]:
        """(n, d) places and (n,) classes of all rows: private."""
        import torch

        kind: Any = np.int16 if max(map(len, self.features)) < 1 << 15 else np.int32
        places = np.empty((table.num_rows, len(self.features)), kind)
        labels = np.zeros(table.num_rows, np.int64)
        at = 0
        for codes in table.codes_batches(_ROWS):
            end = at + len(next(iter(codes.values())))
            for j, cells in enumerate(self.features):
                places[at:end, j] = cells.place(codes[cells.column.name])
            if self.target is not None:
                labels[at:end] = self.target.place(codes[self.target.column.name])
            at = end
        return torch.from_numpy(places), torch.from_numpy(labels)

    def _affordable(self, seeds: Mapping[str, int]) -> int:
        """How many steps there is time for."""
        mechanism = self.steps.mechanism
        each = rehearsal.seconds(mechanism, partial(self._rehearse, seeds))
        return rehearsal.within(self.method.max_minutes, each, mechanism.steps)

    def _rehearse(self, seeds: Mapping[str, int], mechanism: DpSgd, size: int) -> None:
        """A training on rows of noise."""
        import torch

        from sfumato.learn.noise import STREAM
        from sfumato.publish.tables.start import Start

        generator = torch.Generator().manual_seed(seeds["training"])
        heads = self.heads
        start = Start.uniform(self.classes, heads.sizes)
        uniform = torch.rand(size, len(heads.sizes), generator=generator)
        labels = torch.randint(self.classes, (size,), generator=generator)
        self.method.train(
            RowWork(
                heads,
                start,
                heads.at(start.shares[labels], uniform),
                labels,
                replace(self.steps, mechanism=mechanism),
                seeds,
                STREAM,
                self.device,
                lambda done, total: None,
                prepared=self.prepared,
            )
        )


def classes_drawn(start: Start, rows: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """(rows,) classes in the noisy proportions, in random order."""
    return rng.permutation(spread(start.prior.numpy(), rows, rng))
