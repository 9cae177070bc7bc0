from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfumato.attack import nearest
from sfumato.attack.nearest import (
    distances_of,
    nearest_codes,
    nearest_pixels,
    some_nearest_codes,
)
from sfumato.data import Categorical, Numeric, Ordinal
from sfumato.measure import features

COLUMNS = (
    Numeric("a", 0, 10, 1, missing=True),
    Categorical("b", ("x", "y", "z"), missing=True),
    Ordinal("c", ("low", "mid", "high"), missing=True),
    Categorical("d", tuple(str(i) for i in range(400))),
    Numeric("e", 0, 1, 0.25),
)


def slow_gower(x: Any, y: Any, skip: int | None = None) -> float:
    """Gower's distance, one column at a time."""
    parts = []
    for j, column in enumerate(COLUMNS):
        if j == skip:
            continue
        gone = [value[j] == column.cardinality for value in (x, y)]
        if any(gone) or not column.ordered:
            parts.append(float(x[j] != y[j]))
        else:
            parts.append(abs(int(x[j]) - int(y[j])) / (column.cardinality - 1))
    return sum(parts) / len(parts)


def rows(count: int, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    return np.column_stack([rng.integers(0, c.size, count) for c in COLUMNS]).astype(np.int32)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), queries=st.integers(1, 70), references=st.integers(1, 40))
def test_agrees_with_a_slow_oracle(seed: int, queries: int, references: int) -> None:
    x, y = rows(queries, seed), rows(references, seed + 1)
    skips = (None, 0, 1, 3)
    for skip, (distance, at) in zip(skips, nearest_codes(x, y, COLUMNS, skips), strict=True):
        table = np.array([[slow_gower(a, b, skip) for b in y] for a in x])
        np.testing.assert_allclose(distance, table.min(axis=1), atol=1e-6)
        np.testing.assert_allclose(table[np.arange(queries), at], table.min(axis=1), atol=1e-6)


def test_many_references_are_searched_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = rows(130, 1), rows(300, 2)
    whole = nearest_codes(x, y, COLUMNS)[0]
    monkeypatch.setattr(nearest, "_REFERENCES", 7)
    monkeypatch.setattr(nearest, "_QUERIES", 16)
    for ours, expected in zip(nearest_codes(x, y, COLUMNS)[0], whole, strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_of_equally_near_references_the_first_is_taken() -> None:
    x = rows(5, 3)
    distance, at = nearest_codes(x, np.concatenate([x, x]), COLUMNS)[0]
    assert not distance.any()
    assert (at < 5).all()


def test_more_than_255_levelled_columns_do_not_overflow() -> None:
    columns = [Categorical(str(j), ("x", "y")) for j in range(300)]
    x, y = np.zeros((1, 300), np.int32), np.ones((1, 300), np.int32)
    assert nearest_codes(x, y, columns)[0][0] == 1.0


def test_pixels_agree_with_a_slow_oracle(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.random((30, 12), np.float32), rng.random((50, 12), np.float32)
    y[7] = x[3]
    monkeypatch.setattr(nearest, "_REFERENCES", 16)
    distance, at = nearest_pixels(x, y)
    table = np.sqrt(((x[:, None] - y[None]) ** 2).mean(axis=2))
    np.testing.assert_allclose(distance, table.min(axis=1), atol=1e-6)
    np.testing.assert_array_equal(at, table.argmin(axis=1))
    assert distance[3] == 0


def test_codes_of_chosen_rows_are_those_rows(make_people: Any) -> None:
    table = make_people(100, 0)
    whole = features.codes(table)
    chosen = np.array([0, 3, 57, 99])
    np.testing.assert_array_equal(features.codes(table, chosen), whole[chosen])


def test_the_nearest_few_are_those_of_all_distances() -> None:
    a, b = rows(90, 1), rows(200, 2)
    far = np.concatenate(list(distances_of(a, b, COLUMNS)))
    assert far.shape == (90, 200)
    slow = [[slow_gower(x, y) * len(COLUMNS) for y in b[:20]] for x in a[:5]]
    np.testing.assert_allclose(far[:5, :20], slow, atol=1e-5)
    for i, found in enumerate(some_nearest_codes(a, b, COLUMNS, 7)):
        np.testing.assert_allclose(np.sort(far[i, found]), np.sort(far[i])[:7], atol=1e-6)
        assert len(set(found.tolist())) == 7
    alone = some_nearest_codes(a, b, COLUMNS, 1)
    np.testing.assert_allclose(far[np.arange(90), alone[:, 0]], far.min(axis=1), atol=1e-5)
