from __future__ import annotations

import numpy as np
import pytest

from sfumato.data import Categorical, Numeric, Ordinal
from sfumato.publish.tables.bins import Cells
from sfumato.publish.tables.groups import Groups

LEVELS = Categorical("level", tuple("abcdef"), missing=True)
ORDER = Ordinal("order", tuple("abcdef"))


def test_rare_levels_are_counted_together_and_a_missing_value_by_itself() -> None:
    cells = Cells.of(LEVELS, 4, "equal")
    groups = Groups.merged(cells, np.array([50.0, 1, 40, -3, 60, 2, 0]), 10.0, 64)
    assert groups.of.tolist() == [0, 3, 1, 3, 2, 3, 4]
    assert len(groups) == 5


def test_neighbours_are_merged_where_there_is_an_order() -> None:
    cells = Cells.of(ORDER, 4, "equal")
    groups = Groups.merged(cells, np.array([6.0, 5, 20, 1, 1, 1]), 10.0, 64)
    # What does not fill a group of its own joins the last.
    assert groups.of.tolist() == [0, 0, 1, 1, 1, 1]


@pytest.mark.parametrize("column", [LEVELS, ORDER, Numeric("n", 0, 999, 1, missing=True)])
@pytest.mark.parametrize("most", [3, 5])
def test_there_are_never_more_groups_than_asked_for(column, most: int) -> None:
    cells = Cells.of(column, 50, "equal")
    groups = Groups.merged(cells, np.full(len(cells), 100.0), 1.0, most)
    assert 1 <= len(groups) <= most
    assert set(groups.of) == set(range(len(groups)))


@pytest.mark.parametrize("noisy", [0.0, -5.0, 1e9])
def test_no_counts_at_all_and_huge_ones_give_a_partition(noisy: float) -> None:
    for column in (LEVELS, ORDER, Categorical("one", ("x",)), Numeric("n", 0, 9, 1)):
        cells = Cells.of(column, 4, "refined")
        groups = Groups.merged(cells, np.full(len(cells), noisy), 10.0, 64)
        assert set(groups.of) == set(range(len(groups)))


def test_codes_are_placed_as_their_counts_are_summed() -> None:
    for column in (LEVELS, ORDER, Numeric("n", 0, 3_000_000, 1, missing=True)):
        cells = Cells.of(column, 8, "refined", 2)
        rng = np.random.default_rng(0)
        codes = np.append(rng.integers(0, column.size, 500), [0, column.size - 1])
        by_cell = np.bincount(cells.place(codes), minlength=len(cells))
        groups = Groups.merged(cells, by_cell.astype(float), 30.0, 64)
        placed = np.bincount(groups.place(codes), minlength=len(groups))
        summed = groups.sum(by_cell[:, np.newaxis].astype(float))[:, 0]
        np.testing.assert_array_equal(placed, summed)


def test_drawn_codes_are_placed_where_they_were_drawn_from() -> None:
    for binning in ("equal", "refined", "log"):
        cells = Cells.of(Numeric("n", 0, 5_000_000, 1, missing=True), 16, binning, 2)
        drawn = np.repeat(np.arange(len(cells)), 20)
        codes = cells.draw(drawn, np.random.default_rng(0))
        np.testing.assert_array_equal(cells.place(codes), drawn)
