"""Pictures and people so small that a training takes milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sfumato.data import Categorical, ImageSet, Numeric, Schema, Table


def pictures(records: int = 60, side: int = 4, seed: int = 0) -> ImageSet:
    """Pictures of three classes, each brighter in its own rows."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, records)
    images = rng.random((records, 1, side, side)).astype(np.float32) * 0.5
    for row, label in enumerate(labels):
        images[row, 0, label] += 0.5
    return ImageSet.from_arrays(images, labels, ("a", "b", "c"))


def people(records: int = 60, seed: int = 0) -> Table:
    """Rows whose target follows from one column."""
    rng = np.random.default_rng(seed)
    age, colour = rng.integers(0, 10, records), rng.integers(0, 3, records)
    schema = Schema(
        (
            Numeric("age", 0, 9, 1),
            Categorical("colour", ("red", "green", "blue")),
            Categorical("ill", ("no", "yes")),
        ),
        target="ill",
    )
    codes = {"age": age, "colour": colour, "ill": (age > 4).astype(int)}
    return Table.from_codes(codes, schema)


@pytest.fixture(scope="session")
def small_pictures() -> Callable[..., Any]:
    return pictures


@pytest.fixture(scope="session")
def small_people() -> Callable[..., Any]:
    return people
