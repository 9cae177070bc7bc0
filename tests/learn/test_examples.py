"""Private records as tensors, and what a network has to know of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sfumato.data import Categorical, ImageSchema, ImageSet, Numeric, Ordinal, Schema, Table
from sfumato.errors import InputError
from sfumato.learn.examples import classes_of, input_values, labelled

COLUMNS = (
    Numeric("age", 0, 9, 1),
    Numeric("income", 0, 4, 1, missing=True),
    Categorical("ill", ("no", "yes"), missing=True),
    Ordinal("rank", ("low", "high")),
)
SCHEMA = Schema(COLUMNS, target="ill")


def test_images_come_as_they_are_with_their_class_numbers() -> None:
    pixels = np.random.default_rng(0).random((5, 3, 3, 4)).astype(np.float32)
    data = ImageSet.from_arrays(pixels, np.array([0, 1, 2, 1, 0]), ("a", "b", "c"))
    inputs, targets = labelled(data)
    np.testing.assert_array_equal(inputs.numpy(), data.images)
    assert inputs.dtype == torch.float32
    assert targets.dtype == torch.int64
    assert targets.tolist() == [0, 1, 2, 1, 0]


def test_rows_come_as_codes_without_the_target_wherever_it_stands() -> None:
    codes = {"age": [3, 9], "income": [5, 0], "ill": [2, 1], "rank": [1, 0]}
    table = Table.from_codes({k: np.array(v) for k, v in codes.items()}, SCHEMA)
    inputs, targets = labelled(table)
    assert inputs.tolist() == [[3, 5, 1], [9, 0, 0]]
    assert inputs.dtype == torch.int32
    assert targets.tolist() == [2, 1]  # a missing target is the last class


def test_classes_have_the_names_of_their_levels() -> None:
    assert classes_of(SCHEMA) == ("no", "yes", "missing")
    assert classes_of(ImageSchema(1, 2, 2, ("x", "y"))) == ("x", "y")
    assert classes_of(Schema(COLUMNS, target="rank")) == ("low", "high")
    binary = Schema((*COLUMNS, Numeric("owns", 0, 1, 1)), target="owns")
    assert classes_of(binary) == ("0", "1")


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (Schema(COLUMNS), "no target is declared"),
        (Schema(COLUMNS[2:3], target="ill"), "the target is the only column"),
        (Schema(COLUMNS, target="age"), "the target 'age' is a number"),
    ],
)
def test_what_has_no_classes_is_refused(schema: Schema, message: str) -> None:
    with pytest.raises(InputError, match=message):
        classes_of(schema)


def test_a_network_is_told_shapes_alone() -> None:
    assert input_values(ImageSchema(3, 5, 4, ("a", "b"))) == {"shape": [3, 5, 4]}
    assert input_values(SCHEMA) == {
        "columns": [
            {"size": 10, "grid": 10},
            {"size": 6, "grid": 5},
            {"size": 2, "grid": None},
        ]
    }
