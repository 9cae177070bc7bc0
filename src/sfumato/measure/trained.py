"""What a released model is worth on real people, beside the same task without privacy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sfumato.measure import features
from sfumato.measure.baseline import Baseline
from sfumato.measure.progress import Progress, silent
from sfumato.measure.score import Score, Utility
from sfumato.measure.task import Limits

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
    baseline: Baseline | None = None,
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
        baseline: Models of the real records, fitted before; its seed and limits are then used.
            None fits them.
        progress: Told after each model.

    Returns:
        The released model's scores under ``p2``, the baselines' under ``p1``.

    Raises:
        InputError: If the records are not of the model's kind, or too few.
    """
    features.check_alike(model, train, "training records")
    features.check_alike(model, test, "test records")
    if baseline is None:
        baseline = Baseline.fit(
            model.schema, train, test, seed=seed, limits=limits, progress=progress
        )
    baseline.check(model.schema, model.takes)
    test_records = baseline.test
    judged = {(RELEASED, "p2"): baseline.judge(model.probabilities_from, test_records, confidence)}
    for name, predict in baseline.models.items():
        judged[name, "p1"] = baseline.judge(predict, test_records, confidence)
    return Utility(
        task=baseline.task.kind,
        target=baseline.task.target,
        scores=tuple(
            Score(name, cell, metric, value, interval)
            for (name, cell), figures in judged.items()
            for metric, (value, interval) in figures.items()
        ),
        majority=baseline.majority,
        confidence=confidence,
        records={"train": len(baseline.train.y), "test": len(test_records.y)},
        of="model",
    )
