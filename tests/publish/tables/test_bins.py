from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfumato.data import Categorical, Numeric
from sfumato.errors import InputError
from sfumato.publish.tables.bins import BINNINGS, Cells, cut


@given(st.integers(1, 10**6), st.integers(1, 200), st.sampled_from(BINNINGS))
def test_cuts_cover_the_grid_without_an_empty_bin(length: int, bins: int, binning: str) -> None:
    cuts = cut(length, bins, binning)
    assert cuts[0] == 0
    assert cuts[-1] == length
    assert np.all(np.diff(cuts) > 0)
    extra = 24 if binning == "refined" else 1
    assert len(cuts) - 1 <= bins + extra


def test_refined_bins_set_the_extremes_apart() -> None:
    cuts = cut(100_000, 32, "refined")
    assert cuts[1] == 1
    assert cuts[-2] == 99_999


@pytest.mark.parametrize("binning", BINNINGS)
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("upper", [7, 10_000, 5_000_000])
def test_every_code_is_counted_in_the_cell_that_draws_it(
    binning: str, missing: bool, classes: int, upper: int
) -> None:
    column = Numeric("x", 0, upper, 1, missing=missing)
    cells = Cells.of(column, 10, binning, classes)
    rng = np.random.default_rng(0)
    codes = np.concatenate(
        [rng.integers(column.size, size=500), [0, upper, column.size - 1], np.arange(5)]
    )
    positions = cells.axis.index(codes, column)
    counts = np.bincount(positions, minlength=cells.axis.size(column))[:, None]
    summed = cells.sum(np.repeat(counts, classes, axis=1))
    assert summed.shape == (len(cells), classes)
    assert np.all(summed.sum(axis=0) == len(codes))
    for cell in np.flatnonzero(summed[:, 0]):
        drawn = cells.draw(np.full(300, cell), rng)
        inside = np.zeros(column.size, bool)
        inside[drawn] = True
        assert np.all(cells.axis.index(drawn, column) <= column.size)
        # What is drawn from a cell is counted in that cell.
        back = np.bincount(cells.axis.index(drawn, column), minlength=cells.axis.size(column))[
            :, None
        ]
        assert cells.sum(back)[cell, 0] == 300


def test_levels_are_cells_of_their_own() -> None:
    column = Categorical("x", ("a", "b", "c"), missing=True)
    cells = Cells.of(column, 2, "equal")
    assert len(cells) == 4
    np.testing.assert_array_equal(
        cells.draw(np.array([0, 1, 2, 3]), np.random.default_rng(0)), [0, 1, 2, 3]
    )


def test_a_very_long_grid_is_counted_in_bounded_memory() -> None:
    column = Numeric("x", 0, 2**31 - 3, 1)
    cells = Cells.of(column, 32, "refined", classes=4)
    assert cells.axis.size(column) <= 2**18
    assert cells.edges[0] == 0
    assert cells.edges[-1] == column.cardinality


@pytest.mark.parametrize(("bins", "binning"), [(0, "equal"), (True, "log"), (3, "quantile")])
def test_refuses_bins_that_cannot_be(bins: int, binning: str) -> None:
    with pytest.raises(InputError):
        cut(10, bins, binning)
