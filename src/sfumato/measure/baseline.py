"""Models trained on real records without privacy: what every release is measured against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from sfumato.errors import InputError
from sfumato.measure import features, metrics
from sfumato.measure.metrics import Figure
from sfumato.measure.progress import Progress, part, silent
from sfumato.measure.task import FEWEST, Limits, Part, Predict, Reader, Task, majority, task_of

if TYPE_CHECKING:
    from sfumato.data.image_schema import ImageSchema
    from sfumato.data.imageset import ImageSet
    from sfumato.data.schema import Schema
    from sfumato.data.table import Table


@dataclass(frozen=True)
class Baseline:
    """The task, its real records, and the models that need no release.

    Fitted once, it serves every release of the same task: a comparison of many releases trains
    the models of real records once a seed.

    Args:
        schema: The public facts that the records are read by.
        kind: ``"table"`` or ``"images"``.
        task: What is predicted, and with which models.
        read: Records as the models take them.
        train: The real records that a release was made from, or a sample of them.
        test: Real records that it was not made from.
        models: By family, trained on ``train``.
        limits: How much data is used.
        seed: Of samples and models.
    """

    schema: Schema | ImageSchema
    kind: str
    task: Task = field(repr=False)
    read: Reader = field(repr=False)
    train: Part = field(repr=False)
    test: Part = field(repr=False)
    models: Mapping[str, Predict] = field(repr=False)
    limits: Limits
    seed: int

    @classmethod
    def fit(
        cls,
        schema: Schema | ImageSchema,
        train: Table | ImageSet,
        test: Table | ImageSet,
        *,
        seed: int = 0,
        limits: Limits | None = None,
        progress: Progress = silent,
    ) -> Baseline:
        """Trains every family of models on real records.

        Args:
            schema: Of the release: its target is what is predicted.
            train: The real records that releases are made from.
            test: Real records that they are not made from.
            seed: Of samples and models.
            limits: How much data is used; the defaults keep a large table under a minute.
            progress: Told after each model.

        Raises:
            InputError: If there is no target, or records are too few.
        """
        limits = limits or Limits()
        kind = train.kind
        rng = np.random.default_rng([seed, 0])
        task, read = task_of(schema, kind, seed, limits.epochs)
        chosen = features.choose(features.size(train), training_cap(limits, kind), rng)
        known = read(train, chosen)
        new = read(test, features.choose(features.size(test), limits.test_rows, rng))
        for what, records in (("real records", known), ("real test records", new)):
            enough(records, what, FEWEST, task)
        models: dict[str, Predict] = {}
        for done, (family, train_one) in enumerate(task.fit.items()):
            inner = part(progress, done, len(task.fit))
            inner(0, 1, f"{family} on real records")
            models[family] = train_one(known, inner)
        progress(100 * len(models), 100 * len(models), "trained on real records")
        return cls(schema, kind, task, read, known, new, models, limits, seed)

    def check(self, schema: Any, kind: str) -> None:
        """Refuses a release of another task than this baseline's.

        Raises:
            InputError: If kinds, targets, columns, levels, bounds or shapes differ.
        """
        facts: Any = self.schema
        alike = self.kind == kind and (
            facts.encodes_like(schema) and facts.target == schema.target
            if kind == "table"
            else facts.looks_like(schema)
        )
        if not alike:
            raise InputError(
                "the baseline was trained for another task than the release's",
                "Fit one for the release's schema.",
            )

    def judge(self, predict: Predict, records: Part, confidence: float) -> dict[str, Figure]:
        """Figures of a model on records of this task, by metric."""
        measure = metrics.regression if self.task.kind == "regression" else metrics.classification
        return measure(records.y, predict(records.x), confidence)

    @property
    def majority(self) -> dict[str, float | None]:
        """What a model that looks at nothing scores on the real test records."""
        return majority(self.task, self.train.y, self.test.y)


def training_cap(limits: Limits, kind: str) -> int:
    """The most records that a model is trained on."""
    return limits.train_rows if kind == "table" else limits.train_images


def enough(records: Part, what: str, fewest: int, task: Task) -> None:
    """Refuses too few usable records.

    Raises:
        InputError: If there are fewer than ``fewest``.
    """
    if len(records.y) < fewest:
        raise InputError(
            f"{len(records.y)} usable records to measure with ({what})",
            f"Give at least {FEWEST} with a value of {task.target!r}.",
        )
