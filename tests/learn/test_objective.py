"""Objective perturbation: the loss of single outcomes, and the accounting, against brute force."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from sfumato.errors import InputError
from sfumato.learn.convex import Array, Softmax, minimise, unit_rows
from sfumato.learn.objective import ObjectivePerturbation, curvature_loss, delta_of
from sfumato.privacy import accounting
from sfumato.privacy.budget import Budget
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import SeededSource

N = 25


def pair(seed: int, classes: int, ridge: float) -> tuple[Softmax, Softmax]:
    """Data sets that differ in their first record, in features and label."""
    rng = np.random.default_rng(seed)
    features, labels = rng.standard_normal((N, 2)) * 2, rng.integers(0, classes, N)
    labels[1:] = (features[1:, 0] > 0) % classes
    others = features.copy(), labels.copy()
    features[0], labels[0] = (9, 0), 0
    others[0][0], others[1][0] = (9, 1), 1
    one, other = (
        Softmax(unit_rows(x, 1.0), y, classes, N, ridge) for x, y in ((features, labels), others)
    )
    return one, other


def slope(problem: Softmax, weights: Array) -> Array:
    """G: the gradient of the objective of sums without its linear term."""
    return problem.gradient_sum(weights) + problem.records * problem.ridge * weights


def log_det(problem: Softmax, weights: Array) -> float:
    """The logarithm of the determinant of G', in closed form."""
    scores = problem.rows @ weights
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    total = problem.records * problem.ridge * np.eye(weights.size)
    for row, share in zip(problem.rows, p, strict=True):
        total += np.kron(np.outer(row, row), np.diag(share) - np.outer(share, share))
    return float(np.linalg.slogdet(total)[1])


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("ridge", [0.02, 0.3])
def test_no_outcome_loses_more_than_its_bound(classes: int, ridge: float) -> None:
    """The exact log-ratio of densities at drawn minimisers, each against its own bound."""
    stddev, tightest = 2.0, math.inf
    rng = np.random.default_rng(5)
    one, other = pair(1, classes, ridge)
    determinants = curvature_loss(classes, N * ridge)
    differ = np.vstack([one.rows[0], other.rows[0]])
    directions = np.linalg.qr(differ.T)[0]
    flat = np.eye(classes) - 1 / classes  # residuals sum to zero
    for _ in range(60):
        b = stddev * rng.standard_normal(one.shape)
        at = minimise(replace(one, tilt=b / N), 1e-9)
        drawn, would = slope(one, at), slope(other, at)
        assert np.allclose(drawn, -b, atol=1e-6)
        loss = (np.sum(would**2) - np.sum(drawn**2)) / (2 * stddev**2)
        loss += log_det(one, at) - log_det(other, at)
        inside = directions @ directions.T @ b @ flat
        w = np.linalg.norm(would - drawn)
        assert w <= 2 * math.sqrt(2)
        bound = determinants + (w * np.linalg.norm(inside) + w**2 / 2) / stddev**2
        assert loss <= bound + 1e-6
        tightest = min(tightest, bound - loss)
        assert abs(log_det(one, at) - log_det(other, at)) <= determinants
    assert tightest < 2.0  # the bound is of the right size


def test_the_part_of_the_linear_term_that_counts_has_the_chi_distribution() -> None:
    """Four dimensions for three classes and two records; false alarm 1e-6."""
    rng = np.random.default_rng(0)
    one, other = pair(2, 3, 0.1)
    directions = np.linalg.qr(np.vstack([one.rows[0], other.rows[0]]).T)[0]
    flat = np.eye(3) - 1 / 3
    b = rng.standard_normal((4000, *one.shape))
    lengths = np.linalg.norm(directions.T @ b @ flat, axis=(1, 2))
    assert stats.kstest(lengths, stats.chi(4).cdf).pvalue > 1e-6


@pytest.mark.parametrize("dimensions", [2, 18])
def test_delta_is_the_expectation_and_never_below_it(dimensions: int) -> None:
    for epsilon, ratio, determinants in ((0.5, 0.2, 0.05), (1.0, 0.3, 0.0), (4.0, 0.9, 0.3)):
        found = delta_of(epsilon, ratio, determinants, dimensions)
        drawn = stats.chi(dimensions).rvs(400_000, random_state=1)
        loss = determinants + ratio * drawn + ratio**2 / 2
        terms = -np.expm1(np.minimum(epsilon - loss, 0))
        error = 6 * terms.std() / math.sqrt(len(terms))
        assert found >= terms.mean() - error
        assert found <= 1.05 * terms.mean() + error


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("classes", [2, 10])
def test_calibrated_it_meets_the_budget_and_beats_the_published_noise(
    epsilon: float, classes: int
) -> None:
    budget = Budget(epsilon, 1e-5)
    made = ObjectivePerturbation.calibrate(
        budget, classes=classes, records=10_000, ridge=10 / (10_000 * epsilon), width=50
    )
    spent = accounting.epsilon(made.event, budget.delta, Neighbours.REPLACE_ONE)
    assert 0.95 * epsilon <= spent <= epsilon
    # Kifer, Smith and Thakurta: (8 log(2 / delta) + 4 epsilon) / epsilon^2, times the distance.
    published = 2 * math.sqrt(2) * math.sqrt(8 * math.log(2 / 1e-5) + 4 * epsilon) / epsilon
    assert made.stddev < published
    # And is above a Gaussian's, which it cannot beat.
    mu = accounting.gaussian.mu(epsilon, 1e-5)
    assert made.stddev > 2 * math.sqrt(2) / mu


def test_where_the_optimiser_stops_is_within_what_is_noised() -> None:
    one, _ = pair(0, 3, 0.1)
    made = ObjectivePerturbation.calibrate(
        Budget(2.0, 1e-5), classes=3, records=N, ridge=0.5, width=3
    )
    one = replace(one, ridge=0.5)
    source = SeededSource(4)
    reached = made.minimise(one, source)
    from sfumato.privacy.noise import gaussian

    tilt = gaussian(made.stddev, 9, SeededSource(4)).reshape(3, 3) / N
    exact = minimise(replace(one, tilt=tilt), 1e-11)
    assert np.linalg.norm(reached - exact) <= made.offset(9)
    assert made.closing.sensitivity(Neighbours.REPLACE_ONE) >= 2 * made.offset(9)


def test_too_little_regularisation_is_refused_before_anything_is_drawn() -> None:
    with pytest.raises(InputError, match="regularisation"):
        ObjectivePerturbation.calibrate(
            Budget(0.1, 1e-5), classes=3, records=100, ridge=1e-3, width=3
        )
    with pytest.raises(InputError, match="delta"):
        ObjectivePerturbation.calibrate(Budget(1.0), classes=3, records=100, ridge=1.0, width=3)


@pytest.mark.parametrize(("ridge", "epsilon"), [(1.0, 10.0), (0.1, 50.0), (1e-4, 1.0)])
def test_whether_weights_fit_the_grid_is_no_function_of_the_records(
    ridge: float, epsilon: float
) -> None:
    """A million records of one class give weights far above the little noise that closes the run:
    on the finest grid they were refused, after the debit."""
    records, budget = 10**6, Budget(epsilon, 1e-7)
    made = ObjectivePerturbation.calibrate(budget, classes=2, records=records, ridge=ridge, width=5)
    most = np.full((5, 2), math.sqrt(2) / ridge + 30 * made.stddev / (records * ridge))
    assert np.isfinite(made.closing.release(most, SeededSource(0))).all()


@pytest.mark.parametrize(
    ("epsilon", "delta"), [(1.0, 1e-15), (1.0, 1e-16), (1.0, 1e-25), (1e-6, 1e-5), (1000.0, 1e-5)]
)
def test_a_budget_that_cannot_be_accounted_is_refused_by_its_name(
    epsilon: float, delta: float
) -> None:
    said = f"epsilon {epsilon:g} at delta {delta:g} is beyond what the accounting"
    with pytest.raises(InputError, match=said):
        ObjectivePerturbation.calibrate(
            Budget(epsilon, delta), classes=2, records=10**6, ridge=100.0, width=5
        )


def test_a_budget_near_the_end_of_what_can_be_accounted_is_spent() -> None:
    made = ObjectivePerturbation.calibrate(
        Budget(600.0, 1e-5), classes=2, records=1000, ridge=0.1, width=5
    )
    assert 550 < accounting.epsilon(made.event, 1e-5, Neighbours.REPLACE_ONE) <= 600
