from __future__ import annotations

import itertools

import numpy as np
import pytest

from sfumato.publish.tables.elimination import eliminate, largest


def test_a_tree_needs_no_table_beyond_its_pairs() -> None:
    sizes = [2, 3, 4, 5, 6]
    order = eliminate(sizes, [(0, 1), (1, 2), (1, 3), (3, 4)])
    assert sorted(out.feature for out in order) == [0, 1, 2, 3, 4]
    assert all(len(out.rest) <= 1 for out in order)
    assert max(out.cells for out in order) == 30


def test_a_circle_needs_tables_of_three() -> None:
    circle = [(0, 1), (1, 2), (2, 3), (3, 4), (0, 4)]
    order = eliminate([2] * 5, circle)
    assert max(len(out.rest) for out in order) == 2
    assert largest([2] * 5, circle) == 8


@pytest.mark.parametrize("seed", range(5))
def test_every_pair_is_in_a_table_and_a_table_only_names_what_is_summed_out_later(
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(2, 9, 12).tolist()
    every = list(itertools.combinations(range(12), 2))
    pairs = [every[at] for at in rng.choice(len(every), 18, replace=False)]
    order = eliminate(sizes, pairs)
    at = {out.feature: place for place, out in enumerate(order)}
    for out in order:
        assert all(at[other] > at[out.feature] for other in out.rest)
        assert out.cells == sizes[out.feature] * np.prod([sizes[i] for i in out.rest])
    for i, j in pairs:
        first, second = sorted((i, j), key=at.__getitem__)
        assert second in order[at[first]].rest
