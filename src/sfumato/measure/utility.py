"""The utility matrix: what a model learnt from the release is worth on real people.

p1 is the non-private baseline, p2 what a recipient of the release gets, p1 - p2 what privacy
costs; p3 and p4 say whether the release is harder or easier than reality.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InputError
from sfumato.measure import features, metrics
from sfumato.measure.progress import Progress, part, silent
from sfumato.measure.score import SETTINGS, Score, Utility
from sfumato.measure.task import FEWEST, Limits, Part, Task, majority, task_of

if TYPE_CHECKING:
    from sfumato.data.imageset import ImageSet
    from sfumato.data.table import Table

__all__ = ["SETTINGS", "Limits", "Score", "Utility", "utility"]

_HELD_OUT = 0.2  # of the release, for p3 and p4

SOURCES = {
    "train": "real records",
    "released": "released records",
    "test": "real test records",
    "released_test": "held-out released records",
}


def utility(
    release_data: Table | ImageSet,
    train: Table | ImageSet,
    test: Table | ImageSet,
    *,
    seed: int = 0,
    confidence: float = 0.95,
    limits: Limits | None = None,
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
        progress: Told after each model.

    Returns:
        The matrix; a table's target is classified if its values are levels, and regressed if
        they are numbers.

    Raises:
        InputError: If there is no target, the data sets do not fit each other, or one is
            too small.
    """
    limits = limits or Limits()
    rng = np.random.default_rng(seed)
    features.check_alike(release_data, train, "training records")
    features.check_alike(release_data, test, "test records")
    kind = release_data.kind
    task, read = task_of(release_data.schema, kind, seed, limits.epochs)
    cap = limits.train_rows if kind == "table" else limits.train_images
    released_rows, held_rows = _parted(features.size(release_data), cap, limits.test_rows, rng)
    parts = {
        "train": read(train, features.choose(features.size(train), cap, rng)),
        "released": read(release_data, released_rows),
        "test": read(test, features.choose(features.size(test), limits.test_rows, rng)),
        "released_test": read(release_data, held_rows),
    }
    for name, used in parts.items():
        if len(used.y) < (1 if name == "released_test" else FEWEST):
            raise InputError(
                f"{len(used.y)} usable records to measure with ({SOURCES[name]})",
                f"Give at least {FEWEST} with a value of {task.target!r}.",
            )
    judge = metrics.regression if task.kind == "regression" else metrics.classification
    scores = []
    runs = 2 * len(task.fit)
    for done, (family, fit) in enumerate(task.fit.items()):
        cells = {}
        for step, (source, real, released) in enumerate(
            (("train", "p1", "p3"), ("released", "p2", "p4"))
        ):
            inner = part(progress, 2 * done + step, runs)
            inner(0, 1, f"{family} on {SOURCES[source]}")
            predict = fit(parts[source], inner)
            for cell, judged in ((real, parts["test"]), (released, parts["released_test"])):
                cells[cell] = judge(judged.y, predict(judged.x), confidence)
        scores += [
            Score(family, cell, metric, value, interval)
            for cell in SETTINGS
            for metric, (value, interval) in cells[cell].items()
        ]
    progress(100 * runs, 100 * runs, "measured utility")
    return Utility(
        task=task.kind,
        target=task.target,
        scores=tuple(scores),
        majority=majority(task, parts["train"].y, parts["test"].y),
        confidence=confidence,
        records={name: len(used.y) for name, used in parts.items()},
        notes=_notes(task, parts),
    )


def _parted(
    total: int, cap: int, test_cap: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row numbers of the release to train on and to test on, apart from each other."""
    order = rng.permutation(total)
    held = min(test_cap, max(1, round(_HELD_OUT * total)))
    return np.sort(order[held:][:cap]), np.sort(order[:held])


def _notes(task: Task, parts: dict[str, Part]) -> tuple[str, ...]:
    if task.kind == "regression":
        return ()
    real = np.bincount(parts["train"].y, minlength=len(task.classes)) > 0
    released = np.bincount(parts["released"].y, minlength=len(task.classes)) > 0
    notes = []
    lost = [name for name, was, now in zip(task.classes, real, released, strict=True) if was > now]
    if lost:
        shown = ", ".join(lost[:5]) + (f" and {len(lost) - 5} more" if len(lost) > 5 else "")
        notes.append(f"The release holds no record with {task.target} = {shown}.")
    if released.sum() == 1:
        notes.append("The release holds one class only: its models always predict that one.")
    return tuple(notes)
