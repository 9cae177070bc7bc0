"""What is predicted, how records are read, and what a model that looks at nothing scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sfumato.data import Categorical, Numeric, Schema, Table
from sfumato.errors import InputError
from sfumato.measure.task import Limits, majority, task_of

COLUMNS = (
    Categorical("town", ("here", "there")),
    Numeric("income", 0, 4, 1, missing=True),
    Categorical("ill", ("no", "yes"), missing=True),
)


def table(target: str) -> Table:
    codes = {
        "town": np.array([0, 1, 1, 0]),
        "income": np.array([3, 5, 0, 4]),
        "ill": np.array([0, 1, 2, 1]),
    }
    return Table.from_codes(codes, Schema(COLUMNS, target=target))


def test_a_categorical_target_is_classified_with_missing_as_a_class() -> None:
    data = table("ill")
    task, read = task_of(data.schema, "table", 0, 1)
    part = read(data, np.arange(4))
    assert (task.kind, task.target) == ("classification", "ill")
    assert task.classes == ("no", "yes", "missing")
    assert list(task.fit) == ["logistic regression", "random forest", "gradient boosting"]
    np.testing.assert_array_equal(part.x, [[0, 3], [1, 5], [1, 0], [0, 4]])
    np.testing.assert_array_equal(part.y, [0, 1, 2, 1])


def test_a_number_is_regressed_on_where_it_is_known() -> None:
    data = table("income")
    task, read = task_of(data.schema, "table", 0, 1)
    part = read(data, np.arange(4))
    assert task.kind == "regression"
    assert "ridge regression" in task.fit
    np.testing.assert_array_equal(part.x, [[0, 0], [1, 2], [0, 1]])
    np.testing.assert_array_equal(part.y, [3.0, 0.0, 4.0])


def test_a_number_of_two_values_is_a_class() -> None:
    schema = Schema((COLUMNS[0], Numeric("owns", 0, 1, 1)), target="owns")
    task, _ = task_of(schema, "table", 0, 1)
    assert task.kind == "classification"
    assert task.classes == ("0", "1")


def test_pictures_are_read_with_their_labels(make_pictures: Any) -> None:
    data = make_pictures(20, 1)
    task, read = task_of(data.schema, "images", 0, 1)
    part = read(data, np.array([3, 1]))
    np.testing.assert_array_equal(part.x, data.images[[3, 1]])
    np.testing.assert_array_equal(part.y, data.labels[[3, 1]])
    assert task.classes == ("left", "middle", "right")
    assert task.target == "label"


def test_the_majority_is_that_of_the_training_records() -> None:
    task, _ = task_of(table("ill").schema, "table", 0, 1)
    found = majority(task, np.array([1, 1, 0]), np.array([0, 0, 0, 1]))
    assert found["accuracy"] == 0.25
    number, _ = task_of(table("income").schema, "table", 0, 1)
    assert majority(number, np.array([1.0, 3.0]), np.array([2.0, 4.0]))["MAE"] == 1.0


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (Schema(COLUMNS), "no target is declared"),
        (Schema(COLUMNS[2:], target="ill"), "the target is the only column"),
    ],
)
def test_a_table_with_nothing_to_predict_is_refused(schema: Schema, message: str) -> None:
    with pytest.raises(InputError, match=message):
        task_of(schema, "table", 0, 1)


@pytest.mark.parametrize("name", ["train_rows", "test_rows", "train_images", "epochs"])
@pytest.mark.parametrize("value", [0, -1, 2.5, True, None])
def test_limits_are_whole_numbers(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"{name} is"):
        Limits(**{name: value})
