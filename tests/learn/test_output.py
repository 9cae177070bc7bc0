"""Output perturbation: brute-force neighbours are no further apart than is paid for."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from sfumato.learn import output
from sfumato.learn.convex import Softmax, minimise, unit_rows
from sfumato.learn.output import OutputPerturbation, sensitivity
from sfumato.privacy import accounting
from sfumato.privacy.budget import Budget
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import SeededSource


def neighbours(seed: int, n: int, classes: int, ridge: float) -> tuple[Softmax, Softmax]:
    """Two data sets that differ in one record, which contradicts all others, either way."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, 3))
    labels = (features[:, 0] > 0).astype(np.int64) % classes
    others = features.copy(), labels.copy()
    features[0], labels[0] = (5, 0, 0), 0
    others[0][0], others[1][0] = (-5, 0, 0), 1
    one, other = (
        Softmax(unit_rows(x, 1.0), y, classes, n, ridge) for x, y in ((features, labels), others)
    )
    return one, other


@pytest.mark.parametrize("ridge", [3e-3, 3e-2, 0.3, 3.0])
@pytest.mark.parametrize("classes", [2, 5])
def test_no_neighbour_is_further_than_the_sensitivity(ridge: float, classes: int) -> None:
    n, largest = 30, 0.0
    for seed in range(8):
        one, other = neighbours(seed, n, classes, ridge)
        moved = np.linalg.norm(minimise(one, 1e-9) - minimise(other, 1e-9))
        largest = max(largest, float(moved))
    assert largest <= sensitivity(n, ridge)
    if ridge >= 0.3:  # where curvature does not help
        assert largest > 0.25 * sensitivity(n, ridge)


def test_stopping_early_is_paid_for() -> None:
    """Optimisers that stop on opposite sides of the minima stay within what is paid."""
    n, ridge = 30, 0.1
    one, other = neighbours(0, n, 2, ridge)
    made = OutputPerturbation.calibrate(Budget(1.0, 1e-5), records=n, ridge=ridge, weights=8)
    for problem in (one, other):
        reached = made.reached(problem)
        assert np.linalg.norm(problem.value(reached)[1]) <= made.tolerance
        exact = minimise(problem, 1e-10)
        assert np.linalg.norm(reached - exact) <= made.tolerance / ridge
    extra = sensitivity(n, ridge) - 2 * np.sqrt(2) / (n * ridge)
    assert extra >= 2 * made.tolerance / ridge * (1 - 1e-9)
    assert made.noise.sensitivity(Neighbours.REPLACE_ONE) >= sensitivity(n, ridge)


def test_the_event_gives_the_budget_and_all_weights_are_noised() -> None:
    budget = Budget(1.0, 1e-5)
    one, _ = neighbours(0, 30, 3, 0.1)
    made = OutputPerturbation.calibrate(budget, records=30, ridge=0.1, weights=12)
    spent = accounting.epsilon(made.event, budget.delta, Neighbours.REPLACE_ONE)
    assert 0.999 <= spent <= 1
    reached = made.reached(one)
    source = SeededSource(1)
    noise = np.array([made.release(one, source) - reached for _ in range(400)])
    assert noise.shape == (400, 4, 3)
    # Standard deviations of 4,800 draws are within 6 % but for one time in 1e8.
    assert abs(noise.std() / made.noise.stddev - 1) < 0.06


def test_a_two_point_audit_stays_below_the_claim() -> None:
    """The best test of two neighbours, at a budget where it would show; false alarms 1e-6."""
    n, ridge, runs, budget = 30, 1.0, 4000, Budget(4.0, 1e-5)
    one, other = neighbours(0, n, 2, ridge)
    made = OutputPerturbation.calibrate(budget, records=n, ridge=ridge, weights=8)
    at = [made.reached(problem) for problem in (one, other)]
    way = at[1] - at[0]
    source = SeededSource(2)
    scores = [
        np.array([np.sum(made.noise.release(where, source) * way) for _ in range(runs)])
        for where in at
    ]
    middle = np.median(np.concatenate(scores))
    right = float((scores[1] > middle).mean()), float((scores[0] <= middle).mean())
    mu = norm.ppf(right[0]) + norm.ppf(right[1])
    claimed = accounting.gdp_mu(made.event, Neighbours.REPLACE_ONE)
    assert claimed is not None
    assert mu <= claimed + 5 * np.sqrt(2 * np.pi / 2 / runs)
    assert mu > 0.2 * claimed


def test_half_the_sensitivity_would_be_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "GRADIENT", output.GRADIENT / 4)
    one, other = neighbours(0, 30, 2, 3.0)
    moved = np.linalg.norm(minimise(one, 1e-9) - minimise(other, 1e-9))
    assert moved > sensitivity(30, 3.0)
