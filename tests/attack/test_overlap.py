"""Records on both sides are told; records that are merely alike are not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from sfumato.api.telling import doubts
from sfumato.attack import overlap
from sfumato.attack.overlap import known, repeated, shared
from sfumato.data import Categorical, ImageSet, Schema, Table

FILES = "in.csv", "out.csv"
FINE = Schema(tuple(Categorical(name, tuple(map(str, range(50)))) for name in "abcd"))
WIDE = Schema(tuple(Categorical(name, tuple(map(str, range(50)))) for name in "abcdefg"))
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


def test_few_copies_among_many_records_are_all_counted(rng: np.random.Generator) -> None:
    """One in 200: of 10,000 drawn on either side, 8 would have their original beside them."""
    inside, outside = drawn(WIDE, 60_000, rng), drawn(WIDE, 60_000, rng)
    outside[:300] = inside[:300]
    assert shared(table(WIDE, inside), table(WIDE, rng.permutation(outside))) == (300, 60_000)
    inside[30_000:30_300] = inside[:300]
    assert repeated(table(WIDE, inside), table(WIDE, outside)) == (600, 60_000)


def test_of_very_many_records_equal_ones_are_chosen_together(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overlap, "MOST", 1000)
    inside, outside = drawn(WIDE, 20_000, rng), drawn(WIDE, 10_000, rng)
    outside[:1000] = inside[:1000]
    found = shared(table(WIDE, inside), table(WIDE, outside))
    assert found is not None
    assert 350 < found[1] < 650  # one in 20 of 10,000
    assert 0.03 < found[0] / found[1] < 0.2
    two = np.repeat(np.arange(2), 3000)[:, None] * np.ones((1, 7), np.int64)
    assert shared(table(WIDE, two), table(WIDE, two)) is None  # maybe none of two values is chosen


def test_marks_are_of_all_values(rng: np.random.Generator) -> None:
    codes = drawn(FINE, 2000, rng)
    marks = overlap.marks(table(FINE, codes))
    assert len(np.unique(marks)) == len(np.unique(codes, axis=0))
    np.testing.assert_array_equal(marks, overlap.marks(table(FINE, codes)))
    for column in range(4):
        moved = codes.copy()
        moved[:, column] = (moved[:, column] + 1) % 50
        assert not (overlap.marks(table(FINE, moved)) == marks).any()
    assert not (overlap.marks(table(FINE, codes[:, ::-1])) == marks)[
        codes[:, 0] != codes[:, 3]
    ].any()
    images = rng.random((50, 1, 4, 4), dtype=np.float32)
    pictures = ImageSet.from_arrays(images, np.zeros(50, np.int64), ("a", "b"))
    assert len(np.unique(overlap.marks(pictures))) == 50


def test_an_attacker_who_holds_both_sides_is_told(rng: np.random.Generator) -> None:
    """Of a file of the whole population he would take the members for strangers, too."""
    parts = [drawn(FINE, 300, rng) for _ in range(4)]
    sides = table(FINE, parts[0]), table(FINE, parts[1])
    everybody = table(FINE, rng.permutation(np.concatenate(parts)))
    assert known(everybody, *sides) == ((300, 300), (300, 300))
    assert known(table(FINE, np.concatenate(parts[2:])), *sides) is None


def test_a_larger_file_of_other_people_has_more_that_are_alike(rng: np.random.Generator) -> None:
    """Of 600 values; a file of 6,000 has most of them, a side of 60 has a tenth."""
    for _ in range(30):
        sides = [table(COARSE, drawn(COARSE, 60, rng)) for _ in range(2)]
        held = table(COARSE, drawn(COARSE, 6000, rng))
        assert known(held, *sides) is None


def test_pictures_on_both_sides_are_told(rng: np.random.Generator) -> None:
    images = rng.random((80, 1, 4, 4), dtype=np.float32)
    half = [
        ImageSet.from_arrays(images[at], np.zeros(len(at), np.int64), ("a", "b"))
        for at in (np.arange(40), np.arange(10, 50), np.arange(40, 80))
    ]
    assert not doubts(FILES, half[0], half[2])
    (told,) = doubts(FILES, half[0], half[1])
    assert "30 of 40 non-members" in told
