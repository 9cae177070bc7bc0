"""The utility matrix: what a model learnt from the release is worth on real people.

p1 is the non-private baseline, p2 what a recipient of the release gets, p1 - p2 what privacy
costs; p3 and p4 say whether the release is harder or easier than reality.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sfumato.measure import features
from sfumato.measure.baseline import Baseline, enough, training_cap
from sfumato.measure.progress import Progress, part, silent
from sfumato.measure.score import SETTINGS, Score, Utility
from sfumato.measure.task import FEWEST, Limits, Part, Task

if TYPE_CHECKING:
    from sfumato.data.imageset import ImageSet
    from sfumato.data.table import Table

__all__ = ["SETTINGS", "Limits", "Score", "Utility", "utility"]

_HELD_OUT = 0.2  # of the release, for p3 and p4


def utility(
    release_data: Table | ImageSet,
    train: Table | ImageSet,
    test: Table | ImageSet,
    *,
    seed: int = 0,
    confidence: float = 0.95,
    limits: Limits | None = None,
    baseline: Baseline | None = None,
    progress: Progress = silent,
) -> Utility:
    """Trains on real and on released records and tests on both.

    Args:
        release_data: The released table or image set.
        train: The real records that it was made from.
        test: Real records that it was not made from.
        seed: Of samples and models.
        confidence: Of the intervals.
        limits: How much data is used; the defaults keep a large table under a minute.
        baseline: Models of the real records, fitted before; its seed and limits are then used.
            None fits them.
        progress: Told after each model.

    Returns:
        The matrix; a table's target is classified if its values are levels, and regressed if
        they are numbers.

    Raises:
        InputError: If there is no target, the data sets do not fit each other, or one is
            too small.
    """
    features.check_alike(release_data, train, "training records")
    features.check_alike(release_data, test, "test records")
    rest = progress
    if baseline is None:
        baseline = Baseline.fit(
            release_data.schema,
            train,
            test,
            seed=seed,
            limits=limits,
            progress=part(progress, 0, 2),
        )
        rest = part(progress, 1, 2)
    baseline.check(release_data.schema, release_data.kind)
    task = baseline.task
    used, held = _parted(release_data, baseline)
    for records, what, fewest in (
        (used, "released records", FEWEST),
        (held, "held-out released records", 1),
    ):
        enough(records, what, fewest, task)
    scores: list[Score] = []
    for done, (family, fit) in enumerate(task.fit.items()):
        inner = part(rest, done, len(task.fit))
        inner(0, 1, f"{family} on released records")
        released, real = fit(used, inner), baseline.models[family]
        judged = {
            "p1": (real, baseline.test),
            "p2": (released, baseline.test),
            "p3": (real, held),
            "p4": (released, held),
        }
        scores += [
            Score(family, cell, metric, value, interval)
            for cell, (predict, records) in judged.items()
            for metric, (value, interval) in baseline.judge(predict, records, confidence).items()
        ]
    rest(100 * len(task.fit), 100 * len(task.fit), "measured utility")
    return Utility(
        task=task.kind,
        target=task.target,
        scores=tuple(scores),
        majority=baseline.majority,
        confidence=confidence,
        records={
            "train": len(baseline.train.y),
            "released": len(used.y),
            "test": len(baseline.test.y),
            "released_test": len(held.y),
        },
        notes=_notes(task, baseline.train, used),
    )


def _parted(release: Table | ImageSet, baseline: Baseline) -> tuple[Part, Part]:
    """Released records to train on and to test on, apart from each other."""
    total, limits = features.size(release), baseline.limits
    order = np.random.default_rng([baseline.seed, 1]).permutation(total)
    held = min(limits.test_rows, max(1, round(_HELD_OUT * total)))
    rest = order[held:][: training_cap(limits, baseline.kind)]
    return baseline.read(release, np.sort(rest)), baseline.read(release, np.sort(order[:held]))


def _notes(task: Task, train: Part, used: Part) -> tuple[str, ...]:
    if task.kind == "regression":
        return ()
    real = np.bincount(train.y, minlength=len(task.classes)) > 0
    released = np.bincount(used.y, minlength=len(task.classes)) > 0
    notes = []
    lost = [name for name, was, now in zip(task.classes, real, released, strict=True) if was > now]
    if lost:
        shown = ", ".join(lost[:5]) + (f" and {len(lost) - 5} more" if len(lost) > 5 else "")
        notes.append(f"The release holds no record with {task.target} = {shown}.")
    if released.sum() == 1:
        notes.append("The release holds one class only: its models always predict that one.")
    return tuple(notes)
