from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sfumato.learn.features import Column, Features

COLUMN = st.one_of(
    st.integers(1, 20).map(Column),
    st.tuples(st.integers(1, 50), st.booleans()).map(lambda p: Column(p[0] + p[1], p[0])),
)


@settings(deadline=None)
@given(st.lists(COLUMN, min_size=1, max_size=8), st.integers(0, 2**32 - 1))
def test_every_row_lies_in_the_unit_ball(columns: list[Column], seed: int) -> None:
    features = Features(tuple(columns))
    rng = np.random.default_rng(seed)
    extremes = [[0 for _ in columns], [c.size - 1 for c in columns]]
    codes = np.array(
        [*extremes, *([int(rng.integers(c.size)) for c in columns] for _ in range(20))]
    )
    matrix = features.matrix(codes).toarray()
    assert matrix.shape == (22, features.width)
    assert np.linalg.norm(matrix, axis=1).max() <= 1 + 1e-12


def test_levels_numbers_and_gaps_have_their_own_places() -> None:
    features = Features((Column(3), Column(6, 5), Column(4, 4)))
    matrix = features.matrix(np.array([[2, 0, 3], [0, 5, 0]])).toarray() * features.norm
    np.testing.assert_allclose(matrix[0], [0, 0, 1, -1, 0, 1, 1])
    np.testing.assert_allclose(matrix[1], [1, 0, 0, 0, 1, -1, 1])


def test_rows_do_not_depend_on_each_other() -> None:
    features = Features((Column(3), Column(6, 5)))
    codes = np.array([[0, 1], [2, 5], [1, 4]])
    whole = features.matrix(codes).toarray()
    parts = np.concatenate([features.matrix(row[None]).toarray() for row in codes])
    np.testing.assert_array_equal(whole, parts)
