"""What is predicted: the records as models take them, and the models that anybody would train."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.data.columns import Numeric
from sfumato.errors import InputError
from sfumato.measure import cnn, features, metrics, models
from sfumato.measure.progress import Progress

if TYPE_CHECKING:
    from sfumato.data.columns import Column
    from sfumato.data.image_schema import ImageSchema
    from sfumato.data.schema import Schema
    from sfumato.data.table import Table

FEWEST = 10

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
            value, least = getattr(self, name), 1 if name == "epochs" else FEWEST
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise InputError(f"{name} is {value!r}", f"Give a whole number from {least}.")


@dataclass(frozen=True)
class Part:
    """Records ready for models: codes without the target or images, and what to predict.

    Args:
        x: Codes or images.
        y: What to predict; what predictions are judged by.
        soft: (n, K) labels of images to learn from instead, where a release has them.
    """

    x: Any
    y: NDArray[Any]
    soft: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Task:
    """What is predicted, and with which models."""

    kind: str
    target: str
    fit: dict[str, Callable[[Part, Progress], Predict]]
    classes: tuple[str, ...] = ()


Reader = Callable[[Any, NDArray[np.int64]], Part]


def task_of(facts: Any, kind: str, seed: int, epochs: int) -> tuple[Task, Reader]:
    """What is predicted from records of a kind, and how they are read.

    Args:
        facts: The public facts, a ``Schema`` or an ``ImageSchema``.
        kind: ``"table"`` or ``"images"``.
        seed: Of the models.
        epochs: Passes over images.

    Raises:
        InputError: If there is nothing to predict.
    """
    if kind == "table":
        return _table_task(facts, seed), _table_reader(facts)
    return _image_task(facts, seed, epochs), _read_images


def _table_task(schema: Schema, seed: int) -> Task:
    if schema.target is None:
        raise InputError("no target is declared, so there is nothing to predict", "Name one.")
    if len(schema) < 2:
        raise InputError("the target is the only column", "Declare columns to predict it from.")
    goal, known = schema[schema.target], schema.features
    families = (models.LINEAR, models.FOREST, models.BOOSTING)
    if isinstance(goal, Numeric) and goal.cardinality > 2:

        def regress(family: str) -> Callable[[Part, Progress], Predict]:
            return lambda rows, _: models.regressor(family, known, rows.x, rows.y, seed).predict

        names = {models.LINEAR: "ridge regression"}
        return Task("regression", goal.name, {names.get(f, f): regress(f) for f in families})

    def classify(family: str) -> Callable[[Part, Progress], Predict]:
        return lambda rows, _: (
            models.classifier(family, known, rows.x, rows.y, goal.size, seed).predict
        )

    names = {models.LINEAR: "logistic regression"}
    fits = {names.get(f, f): classify(f) for f in families}
    return Task("classification", goal.name, fits, _levels(goal))


def _levels(column: Column) -> tuple[str, ...]:
    if isinstance(column, Numeric):
        named = tuple(f"{value:g}" for value in column.values(np.arange(column.cardinality)))
    else:
        named = column.levels
    return (*named, "missing") if column.missing else named


def _table_reader(schema: Schema) -> Callable[[Any, NDArray[np.int64]], Part]:
    at = schema.names.index(str(schema.target))
    goal = schema.columns[at]

    def read(table: Table, rows: NDArray[np.int64]) -> Part:
        codes = features.codes(table, rows)
        y = codes[:, at].astype(np.int64)
        x = np.delete(codes, at, axis=1)
        if isinstance(goal, Numeric) and goal.cardinality > 2:
            known = y < goal.cardinality  # a number that is missing cannot be regressed on
            return Part(x[known], goal.values(y[known]))
        return Part(x, y)

    return read


def _image_task(schema: ImageSchema, seed: int, epochs: int) -> Task:
    def fit(family: str) -> Callable[[Part, Progress], Predict]:
        return lambda part, progress: (
            cnn.classifier(
                family,
                part.x,
                part.y if part.soft is None else part.soft,
                len(schema.classes),
                seed=seed,
                epochs=epochs,
                progress=progress,
            ).predict
        )

    families = (cnn.CONVOLUTIONAL, cnn.DENSE, cnn.LINEAR)
    return Task("classification", "label", {f: fit(f) for f in families}, tuple(schema.classes))


def _read_images(data: Any, rows: NDArray[np.int64]) -> Part:
    chosen = data.select(rows)
    return Part(chosen.images, np.asarray(chosen.labels, dtype=np.int64), chosen.soft_labels)


def majority(task: Task, train: NDArray[Any], test: NDArray[Any]) -> dict[str, float | None]:
    """What a model that looks at nothing scores on real test records."""
    if task.kind == "regression":
        figures = metrics.regression(test, np.full(len(test), train.mean()))
    else:
        counts = np.bincount(train, minlength=len(task.classes))
        guess = np.zeros((len(test), len(task.classes)))
        guess[:, counts.argmax()] = 1.0
        figures = metrics.classification(test, guess)
    return {metric: value for metric, (value, _) in figures.items()}
