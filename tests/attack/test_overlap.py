"""Records on both sides are told; records that are merely alike are not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from sfumato.api.telling import doubts
from sfumato.attack.overlap import known, repeated, shared
from sfumato.data import Categorical, ImageSet, Schema, Table

FILES = "in.csv", "out.csv"
FINE = Schema(tuple(Categorical(name, tuple(map(str, range(50)))) for name in "abcd"))
COARSE = Schema((Categorical("a", ("x", "y")), Categorical("b", tuple(map(str, range(300))))))


def table(schema: Schema, codes: NDArray[np.int64]) -> Table:
    return Table.from_codes({c.name: codes[:, i] for i, c in enumerate(schema.columns)}, schema)


def drawn(schema: Schema, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return np.stack([rng.integers(0, column.size, count) for column in schema.columns], axis=1)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_records_on_both_sides_are_counted(share: float, rng: np.random.Generator) -> None:
    inside, outside = drawn(FINE, 400, rng), drawn(FINE, 300, rng)
    same = int(share * 300)
    outside[:same] = inside[rng.permutation(400)[:same]]
    assert shared(table(FINE, inside), table(FINE, rng.permutation(outside))) == (same, 300)


def test_parts_of_one_source_whose_records_repeat_are_not_told(
    rng: np.random.Generator,
) -> None:
    """60 splits in which most records have an equal on the other side; wrong below 1e-5."""
    for _ in range(60):
        size = int(rng.integers(20, 600))
        inside, outside = drawn(COARSE, 300, rng), drawn(COARSE, size, rng)
        parts = table(COARSE, inside), table(COARSE, outside)
        assert shared(*parts) is None
        assert repeated(*parts) is None
        assert repeated(*parts[::-1]) is None
        assert known(table(COARSE, drawn(COARSE, 200, rng)), *parts) is None


def test_records_that_a_side_has_several_times_are_told(rng: np.random.Generator) -> None:
    once, others = drawn(FINE, 100, rng), table(FINE, drawn(FINE, 300, rng))
    thrice = table(FINE, rng.permutation(np.concatenate([once] * 3)))
    assert repeated(thrice, others) == (300, 300)
    assert repeated(others, thrice) is None
    assert not doubts(FILES, table(FINE, once), others)
    (told,) = doubts(FILES, others, thrice)
    assert "300 of 300 non-members that were compared equal another" in told


def test_pictures_on_both_sides_are_told(rng: np.random.Generator) -> None:
    images = rng.random((80, 1, 4, 4), dtype=np.float32)
    half = [
        ImageSet.from_arrays(images[at], np.zeros(len(at), np.int64), ("a", "b"))
        for at in (np.arange(40), np.arange(10, 50), np.arange(40, 80))
    ]
    assert not doubts(FILES, half[0], half[2])
    (told,) = doubts(FILES, half[0], half[1])
    assert "30 of 40 non-members" in told
