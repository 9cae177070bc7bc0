"""The utility matrix: what a model learnt from the release is worth on real people.

p1 is the non-private baseline, p2 what a recipient of the release gets, p1 - p2 what privacy
costs; p3 and p4 say whether the release is harder or easier than reality.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.data.columns import Numeric
from sfumato.errors import InputError
from sfumato.measure import cnn, features, metrics, models
from sfumato.measure.progress import Progress, part, silent
from sfumato.measure.score import SETTINGS, Score, Utility

if TYPE_CHECKING:
    from sfumato.data.columns import Column
    from sfumato.data.image_schema import ImageSchema
    from sfumato.data.imageset import ImageSet
    from sfumato.data.schema import Schema
    from sfumato.data.table import Table

__all__ = ["SETTINGS", "Limits", "Score", "Utility", "utility"]

_FEWEST = 10
_HELD_OUT = 0.2  # of the release, for p3 and p4

SOURCES = {
    "train": "real records",
    "released": "released records",
    "test": "real test records",
    "released_test": "held-out released records",
}

Predict = Callable[[Any], NDArray[np.float64]]


@dataclass(frozen=True)
class Limits:
    """How much data the models are trained and tested on; public, drawn by the seed.

    Args:
        train_rows: Rows of a table to train on.
        test_rows: Rows or images to test on.
        train_images: Images to train on.
        epochs: Passes over the images.

    Raises:
        InputError: If a limit is below 10 (below 1 for ``epochs``).
    """

    train_rows: int = 50_000
    test_rows: int = 20_000
    train_images: int = 60_000
    epochs: int = 3

    def __post_init__(self) -> None:
        for name in ("train_rows", "test_rows", "train_images", "epochs"):
            value, least = getattr(self, name), 1 if name == "epochs" else _FEWEST
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise InputError(f"{name} is {value!r}", f"Give a whole number from {least}.")


@dataclass(frozen=True)
class _Part:
    """Records ready for models: codes without the target or images, and what to predict."""

    x: Any
    y: NDArray[Any]


@dataclass(frozen=True)
class _Task:
    """What is predicted, and with which models."""

    kind: str
    target: str
    fit: dict[str, Callable[[_Part, Progress], Predict]]
    classes: tuple[str, ...] = ()


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
    facts: Any = release_data.schema  # which of the two schemas, the kind says
    read: Callable[[Any, NDArray[np.int64]], _Part]
    if release_data.kind == "table":
        task, cap, read = _table_task(facts, seed), limits.train_rows, _table_reader(facts)
    else:
        task, cap, read = _image_task(facts, seed, limits.epochs), limits.train_images, _read_images
    released_rows, held_rows = _parted(features.size(release_data), cap, limits.test_rows, rng)
    parts = {
        "train": read(train, features.choose(features.size(train), cap, rng)),
        "released": read(release_data, released_rows),
        "test": read(test, features.choose(features.size(test), limits.test_rows, rng)),
        "released_test": read(release_data, held_rows),
    }
    for name, used in parts.items():
        if len(used.y) < (1 if name == "released_test" else _FEWEST):
            raise InputError(
                f"{len(used.y)} usable records to measure with ({SOURCES[name]})",
                f"Give at least {_FEWEST} with a value of {task.target!r}.",
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
        majority=_majority(task, parts["train"].y, parts["test"].y),
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


def _table_task(schema: Schema, seed: int) -> _Task:
    if schema.target is None:
        raise InputError("no target is declared, so there is nothing to predict", "Name one.")
    if len(schema) < 2:
        raise InputError("the target is the only column", "Declare columns to predict it from.")
    goal, known = schema[schema.target], schema.features
    families = (models.LINEAR, models.FOREST, models.BOOSTING)
    if isinstance(goal, Numeric) and goal.cardinality > 2:

        def regress(family: str) -> Callable[[_Part, Progress], Predict]:
            return lambda rows, _: models.regressor(family, known, rows.x, rows.y, seed).predict

        names = {models.LINEAR: "ridge regression"}
        return _Task("regression", goal.name, {names.get(f, f): regress(f) for f in families})

    def classify(family: str) -> Callable[[_Part, Progress], Predict]:
        return lambda rows, _: (
            models.classifier(family, known, rows.x, rows.y, goal.size, seed).predict
        )

    names = {models.LINEAR: "logistic regression"}
    fits = {names.get(f, f): classify(f) for f in families}
    return _Task("classification", goal.name, fits, _levels(goal))


def _levels(column: Column) -> tuple[str, ...]:
    if isinstance(column, Numeric):
        named = tuple(f"{value:g}" for value in column.values(np.arange(column.cardinality)))
    else:
        named = column.levels
    return (*named, "missing") if column.missing else named


def _table_reader(schema: Schema) -> Callable[[Any, NDArray[np.int64]], _Part]:
    at = schema.names.index(str(schema.target))
    goal = schema.columns[at]

    def read(table: Table, rows: NDArray[np.int64]) -> _Part:
        codes = features.codes(table, rows)
        y = codes[:, at].astype(np.int64)
        x = np.delete(codes, at, axis=1)
        if isinstance(goal, Numeric) and goal.cardinality > 2:
            known = y < goal.cardinality  # a number that is missing cannot be regressed on
            return _Part(x[known], goal.values(y[known]))
        return _Part(x, y)

    return read


def _image_task(schema: ImageSchema, seed: int, epochs: int) -> _Task:
    def fit(family: str) -> Callable[[_Part, Progress], Predict]:
        return lambda part, progress: (
            cnn.classifier(
                family,
                part.x,
                part.y,
                len(schema.classes),
                seed=seed,
                epochs=epochs,
                progress=progress,
            ).predict
        )

    families = (cnn.CONVOLUTIONAL, cnn.LINEAR)
    return _Task("classification", "label", {f: fit(f) for f in families}, tuple(schema.classes))


def _read_images(data: Any, rows: NDArray[np.int64]) -> _Part:
    return _Part(data.select(rows).images, np.asarray(data.labels[rows], dtype=np.int64))


def _majority(task: _Task, train: NDArray[Any], test: NDArray[Any]) -> dict[str, float | None]:
    """What a model that looks at nothing scores on real test records."""
    if task.kind == "regression":
        figures = metrics.regression(test, np.full(len(test), train.mean()))
    else:
        counts = np.bincount(train, minlength=len(task.classes))
        guess = np.zeros((len(test), len(task.classes)))
        guess[:, counts.argmax()] = 1.0
        figures = metrics.classification(test, guess)
    return {metric: value for metric, (value, _) in figures.items()}


def _notes(task: _Task, parts: dict[str, _Part]) -> tuple[str, ...]:
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
