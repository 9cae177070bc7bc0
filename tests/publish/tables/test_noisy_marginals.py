from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sfumato.publish.tables.marginals import Independent, combine, onto_simplex, spread

VALUES = arrays(np.float64, st.integers(1, 30), elements=st.floats(-1e6, 1e6))


@given(VALUES, st.floats(1e-3, 1e7))
def test_the_projection_is_the_nearest_point_of_the_simplex(
    values: np.ndarray, total: float
) -> None:
    point = onto_simplex(values, total)
    assert np.all(point >= 0)
    assert point.sum() == pytest.approx(total)
    # Optimality: every positive cell was lowered by the same amount, every zero by less.
    shift = values - point
    kept = point > 1e-9 * total
    level = shift[kept].max()
    scale = 1e-9 * (np.abs(values).max() + total)
    assert np.all(np.abs(shift[kept] - level) <= scale)
    assert np.all(values[~kept] <= level + scale)


def test_a_point_of_the_simplex_stays_where_it_is() -> None:
    point = np.array([3.0, 0.0, 2.0])
    np.testing.assert_allclose(onto_simplex(point, 5.0), point)


def test_nothing_is_left_of_a_total_of_zero() -> None:
    assert onto_simplex(np.array([1.0, 2.0]), 0.0).tolist() == [0.0, 0.0]


def test_combining_tables_beats_the_best_of_them() -> None:
    """Inverse-variance weights, against the smallest table alone and against a plain mean."""
    rng = np.random.default_rng(0)
    sizes, truth = (3, 4, 40), np.array([100.0, 20.0])
    errors = {"combined": 0.0, "smallest": 0.0, "mean": 0.0}
    for _ in range(400):
        tables = [np.outer(np.full(k, 1 / k), truth) + rng.normal(0, 5, (k, 2)) for k in sizes]
        sums = np.stack([table.sum(axis=0) for table in tables])
        errors["combined"] += float(np.sum((combine(tables) - truth) ** 2))
        errors["smallest"] += float(np.sum((sums[0] - truth) ** 2))
        errors["mean"] += float(np.sum((sums.mean(axis=0) - truth) ** 2))
    assert errors["combined"] < 0.8 * errors["smallest"]
    assert errors["combined"] < 0.8 * errors["mean"]


@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=4),
    st.integers(1, 4),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.1, 5.0, 200.0]),
)
def test_estimates_agree_with_each_other_whatever_the_noise(
    sizes: list[int], classes: int, seed: int, noise: float
) -> None:
    rng = np.random.default_rng(seed)
    tables = [np.rint(rng.normal(10, noise, (k, classes))).astype(int) for k in sizes]
    estimate = Independent.fit(tables)
    assert estimate.records >= 1
    assert np.all(estimate.classes >= 0)
    for table in estimate.conditionals:
        assert np.all(table >= 0)
        np.testing.assert_allclose(table.sum(axis=0), estimate.classes, atol=1e-6)
    labels, columns = estimate.sample(50, rng)
    assert set(labels) <= set(np.flatnonzero(estimate.classes))
    for column, table in zip(columns, estimate.conditionals, strict=True):
        assert np.all(table[column, labels] > 0)


def test_exact_counts_are_reproduced_to_within_one_row() -> None:
    table = np.array([[30, 5], [10, 15]])
    estimate = Independent.fit([table])
    labels, (cells,) = estimate.sample(60, np.random.default_rng(0))
    drawn = np.zeros((2, 2), int)
    np.add.at(drawn, (cells, labels), 1)
    assert np.abs(drawn - table).max() <= 1


def test_features_are_independent_within_a_class() -> None:
    """Two features that each follow the class are uncorrelated given it (5 sigma, 6e-7)."""
    table = np.array([[900, 100], [100, 900]])
    labels, (a, b) = Independent.fit([table, table]).sample(20_000, np.random.default_rng(1))
    for label in (0, 1):
        at = labels == label
        assert abs(np.corrcoef(a[at], b[at])[0, 1]) < 5 / np.sqrt(at.sum())
    assert np.corrcoef(a, b)[0, 1] > 0.5


@given(VALUES.map(np.abs).filter(lambda v: v.max() > 1e-3), st.integers(1, 500))
def test_systematic_draws_are_within_one_of_their_share(weights: np.ndarray, n: int) -> None:
    outcomes = spread(weights, n, np.random.default_rng(0))
    counts = np.bincount(outcomes, minlength=len(weights))
    assert np.all(np.abs(counts - n * weights / weights.sum()) <= 1 + 1e-6)
    assert np.all(weights[outcomes] > 0)
