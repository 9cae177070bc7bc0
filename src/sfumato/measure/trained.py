"""What a released model is worth on real people, beside the same task without privacy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sfumato.errors import InputError
from sfumato.measure import features, metrics
from sfumato.measure.progress import Progress, part, silent
from sfumato.measure.score import Score, Utility
from sfumato.measure.task import FEWEST, Limits, majority, task_of

if TYPE_CHECKING:
    from sfumato.data.imageset import ImageSet
    from sfumato.data.table import Table
    from sfumato.release.model import Model

RELEASED = "released model"


def model_utility(
    model: Model,
    train: Table | ImageSet,
    test: Table | ImageSet,
    *,
    seed: int = 0,
    confidence: float = 0.95,
    limits: Limits | None = None,
    progress: Progress = silent,
) -> Utility:
    """Judges a released model on real records, beside models trained without privacy.

    Args:
        model: What was released.
        train: The real records that it was trained on; the baselines are trained on them.
        test: Real records that it was not trained on.
        seed: Of samples and baselines.
        confidence: Of the intervals, which cover the drawing of the test records.
        limits: How much data is used.
        progress: Told after each model.

    Returns:
        The released model's scores under ``p2``, the baselines' under ``p1``.

    Raises:
        InputError: If the records are not of the model's kind, or too few.
    """
    limits = limits or Limits()
    rng = np.random.default_rng(seed)
    features.check_alike(model, train, "training records")
    features.check_alike(model, test, "test records")
    task, read = task_of(model.schema, model.takes, seed, limits.epochs)
    cap = limits.train_rows if model.takes == "table" else limits.train_images
    known = read(train, features.choose(features.size(train), cap, rng))
    new = read(test, features.choose(features.size(test), limits.test_rows, rng))
    for what, records in (("training", known), ("test", new)):
        if len(records.y) < FEWEST:
            raise InputError(
                f"{len(records.y)} usable {what} records to measure with",
                f"Give at least {FEWEST}.",
            )
    judged: dict[tuple[str, str], Any] = {}
    judged[RELEASED, "p2"] = metrics.classification(
        new.y, model.probabilities_from(new.x), confidence
    )
    for done, (name, fit) in enumerate(task.fit.items()):
        inner = part(progress, done, len(task.fit))
        inner(0, 1, f"{name} on real records")
        judged[name, "p1"] = metrics.classification(new.y, fit(known, inner)(new.x), confidence)
    progress(len(task.fit), len(task.fit), "measured utility")
    return Utility(
        task=task.kind,
        target=task.target,
        scores=tuple(
            Score(name, cell, metric, value, interval)
            for (name, cell), figures in judged.items()
            for metric, (value, interval) in figures.items()
        ),
        majority=majority(task, known.y, new.y),
        confidence=confidence,
        records={"train": len(known.y), "test": len(new.y)},
        of="model",
    )
