"""What makes logistic regression convex, checked against brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sfumato.errors import SfumatoError
from sfumato.learn import convex
from sfumato.learn.convex import CURVATURE, GRADIENT, Array, Softmax, layer, minimise, unit_rows


def problem(n: int, width: int, classes: int, ridge: float, seed: int = 0) -> Softmax:
    rng = np.random.default_rng(seed)
    rows = unit_rows(rng.standard_normal((n, width)) * 10.0 ** rng.integers(-2, 3, (n, 1)), 1.0)
    return Softmax(rows, rng.integers(0, classes, n), classes, n, ridge)


def hessian(one: Softmax, weights: Array) -> Array:
    """Of the sum of the records' losses, by differences of gradients."""
    size, step = weights.size, 1e-5
    columns = []
    for i in range(size):
        moved = np.zeros(size)
        moved[i] = step
        up, down = (
            one.gradient_sum(weights + sign * moved.reshape(weights.shape)) for sign in (1, -1)
        )
        columns.append(np.ravel(up - down) / (2 * step))
    return np.array(columns)


def test_rows_are_in_the_unit_ball_whatever_the_features_were() -> None:
    features = np.array([[3e30, 4e30], [0.1, 0.0], [0.0, 0.0], [np.nan, 1.0], [np.inf, 0.0]])
    rows = unit_rows(features, 0.5)
    assert (np.linalg.norm(rows, axis=1) <= 1).all()
    assert np.linalg.norm(rows[0]) > 1 - 1e-9
    assert np.allclose(rows[1, 0], 0.1 / 0.5 / math.sqrt(2))
    assert not rows[3:, :-1].any()


def test_the_layer_gives_the_scores_of_the_unit_rows() -> None:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((9, 4)) * 3
    weights = rng.standard_normal((5, 3))
    shortened = features * np.minimum(1, 2.0 / np.linalg.norm(features, axis=1))[:, None]
    weight, bias = layer(weights, 2.0)
    assert np.allclose(unit_rows(features, 2.0) @ weights, shortened @ weight.T + bias)


def test_the_gradient_is_the_slope_of_the_value() -> None:
    one = problem(20, 3, 4, 0.1)
    rng = np.random.default_rng(1)
    tilted = Softmax(one.rows, one.labels, 4, 20, 0.1, rng.standard_normal(one.shape))
    at, way = rng.standard_normal(one.shape), rng.standard_normal(one.shape)
    up, down = (tilted.value(at + sign * 1e-6 * way)[0] for sign in (1, -1))
    assert math.isclose((up - down) / 2e-6, np.sum(tilted.value(at)[1] * way), rel_tol=1e-6)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_a_records_gradient_and_hessian_obey_their_bounds(classes: int) -> None:
    rng = np.random.default_rng(classes)
    longest = steepest = 0.0
    for trial in range(60):
        one = problem(1, 3, classes, 1.0, seed=trial)
        weights = rng.standard_normal(one.shape) * 10.0 ** rng.integers(-2, 3)
        longest = max(longest, float(np.linalg.norm(one.gradient_sum(weights))))
        curvature = hessian(one, weights)
        values = np.linalg.eigvalsh((curvature + curvature.T) / 2)
        steepest = max(steepest, values[-1])
        assert values[0] > -1e-6
        assert np.trace(curvature) <= 1 - 1 / classes + 1e-6
        assert np.sum(values > 1e-6) <= classes - 1
    assert longest <= GRADIENT
    assert steepest <= CURVATURE + 1e-6
    assert longest > 0.95 * GRADIENT  # the bound is of the right size


@pytest.mark.parametrize("ridge", [1.0, 1e-2, 1e-4])
def test_the_minimum_is_as_near_as_it_says(ridge: float) -> None:
    one = problem(60, 5, 3, ridge)
    found, exact = minimise(one, 1e-5), minimise(one, 1e-10)
    assert np.linalg.norm(one.value(found)[1]) <= 1e-5
    assert np.linalg.norm(found - exact) <= (1e-5 + 1e-10) / ridge


def test_accelerated_steps_alone_reach_the_minimum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convex, "_QUASI_NEWTON", 0)
    one = problem(60, 5, 3, 1e-3)
    assert np.linalg.norm(one.value(minimise(one, 1e-9))[1]) <= 1e-9


def test_what_floats_cannot_reach_is_an_error_and_not_a_result() -> None:
    with pytest.raises(SfumatoError, match="larger regularisation"):
        minimise(problem(60, 5, 3, 0.5), 1e-30)
