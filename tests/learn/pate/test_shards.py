"""Every record goes to one teacher, drawn without a look at any record. False alarm <= 1e-6."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2

from sfumato.errors import InputError
from sfumato.learn.pate.shards import Shards
from sfumato.privacy.noise import SECURE, NoiseSource, SeededSource


class Dealt(Shards):
    """Planted: a shuffled list dealt out in equal parts, as published code does."""

    def draw(self, rows: int, source: NoiseSource) -> list[np.ndarray]:
        order = np.argsort(source.uint64(rows), kind="stable")
        return [np.sort(order[teacher :: self.teachers]) for teacher in range(self.teachers)]


class Wrapping(Shards):
    """Planted: parts of equal size that begin again at the front when records run out."""

    def draw(self, rows: int, source: NoiseSource) -> list[np.ndarray]:
        size = -(-rows // self.teachers)
        whole = np.arange(self.teachers * size) % rows
        return [np.unique(part) for part in np.split(whole, self.teachers)]


def repeats(shards: Shards, rows: int) -> int:
    """How many records more than one teacher sees, or none."""
    counts = np.bincount(np.concatenate(shards.draw(rows, SeededSource(1))), minlength=rows)
    return int((counts != 1).sum())


def moved(shards: Shards, rows: int) -> int:
    """How many of the records that stay change their teacher when the last one is taken away."""

    def owners(count: int) -> np.ndarray:
        owner = np.full(count, -1)
        for teacher, part in enumerate(shards.draw(count, SeededSource(2))):
            owner[part] = teacher
        return owner

    return int((owners(rows)[: rows - 1] != owners(rows - 1)).sum())


@pytest.mark.parametrize("rows", [0, 1, 7, 1000])
def test_every_record_has_exactly_one_teacher(rows: int) -> None:
    parts = Shards(12).draw(rows, SECURE)
    assert len(parts) == 12
    assert sorted(np.concatenate(parts).tolist()) == list(range(rows))


def test_planted_overlapping_shards_are_caught() -> None:
    assert repeats(Shards(12), 1003) == 0
    assert repeats(Wrapping(12), 1003) > 0


def test_taking_one_record_away_moves_no_other() -> None:
    assert moved(Shards(5), 400) == 0


def test_planted_dealing_moves_others() -> None:
    assert moved(Dealt(5), 400) > 50


def test_teachers_are_equally_likely_and_records_independent() -> None:
    parts = Shards(10).draw(50_000, SECURE)
    owner = np.empty(50_000, np.int64)
    for teacher, part in enumerate(parts):
        owner[part] = teacher
    for cells in (np.bincount(owner, minlength=10), np.bincount(owner[1:] * 10 + owner[:-1])):
        expected = cells.sum() / len(cells)
        assert ((cells - expected) ** 2 / expected).sum() < chi2.isf(5e-7, len(cells) - 1)


@pytest.mark.parametrize("teachers", [1, 0, 2.5])
def test_one_teacher_is_refused(teachers: int) -> None:
    with pytest.raises(InputError, match="number of teachers"):
        Shards(teachers)
