from __future__ import annotations

import math
from itertools import combinations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sfumato.data import Axis, Categorical, Schema
from sfumato.data.counting import Tally
from sfumato.data.wide import cover, summed

SIZES = {Axis(name): size for name, size in zip("abcdef", (2, 3, 5, 1, 40, 7), strict=True)}
SCHEMA = Schema(tuple(Categorical(a.column, tuple(map(str, range(n)))) for a, n in SIZES.items()))
requests = st.lists(
    st.lists(st.sampled_from(list(SIZES)), min_size=1, max_size=4), min_size=1, max_size=12
)


@given(requests, st.integers(1, 500))
def test_every_request_lies_in_one_table_and_none_is_larger_than_it_must(asked, budget):
    groups, holder = cover(asked, SIZES, budget)
    assert len(holder) == len(asked)
    for request, held in zip(asked, holder, strict=True):
        assert set(request) <= set(groups[held])
    largest = max(math.prod(SIZES[a] for a in set(request)) for request in asked)
    for group in groups:
        assert len(set(group)) == len(group)
        assert math.prod(SIZES[a] for a in group) <= max(budget, largest)


@settings(deadline=None)
@given(requests, st.integers(1, 500), st.integers(0, 2**32), st.integers(1, 40))
def test_tables_are_those_of_a_loop_over_rows(asked, budget, seed, rows):
    rng = np.random.default_rng(seed)
    codes = {c.name: rng.integers(c.size, size=rows).astype(np.uint8) for c in SCHEMA}
    tally = Tally(asked, SCHEMA, budget)
    half = rows // 2
    for part in (slice(0, half), slice(half, rows)):
        if part.start < part.stop:
            tally.add({name: values[part] for name, values in codes.items()})
    for counts, request in zip(tally.tables(), asked, strict=True):
        expected = np.zeros([SIZES[a] for a in request], np.int64)
        for row in range(rows):
            expected[tuple(codes[a.column][row] for a in request)] += 1
        assert (counts == expected).all()


def test_all_pairs_of_many_columns_need_few_tables():
    sizes = {Axis(f"c{i}"): 3 + i % 9 for i in range(41)}
    pairs = list(combinations(sizes, 2))
    groups, _ = cover(pairs, sizes, 1 << 13)
    assert len(pairs) == 820
    assert len(groups) < 200


def test_an_axis_asked_for_twice_is_a_diagonal():
    counts = summed(np.array([4, 6]), (Axis("a"),), [Axis("a"), Axis("a")])
    assert counts.tolist() == [[4, 0], [0, 6]]
