"""Errors, sensitivities and the best bands, against dense matrices and brute force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.linalg import toeplitz as dense

from sfumato.errors import InputError
from sfumato.learn.toeplitz import (
    Workload,
    column_norm,
    optimal_coefficients,
    optimise,
    participation_norm,
    squared_error,
)

N = 24
RATES = tuple(np.linspace(1.0, 0.1, N).tolist())
WORKLOADS = [
    Workload(),
    Workload(0.9),
    Workload(0.5, objective="last"),
    Workload(0.5, RATES),
    Workload(0.0, RATES, "last"),
]


def lower(column: object, n: int = N) -> NDArray[np.float64]:
    values = np.zeros(n)
    values[: len(np.atleast_1d(column))] = column
    return np.asarray(dense(values, np.zeros(n)))


def slow_error(coefficients: NDArray[np.float64], workload: Workload) -> float:
    rates = np.ones(N) if workload.rates is None else np.array(workload.rates)
    moved = lower(workload.momentum ** np.arange(N))
    sums = np.tril(np.ones((N, N))) @ (rates[:, None] * moved)
    rows = np.square(sums @ np.linalg.inv(lower(coefficients))).sum(axis=1)
    return float(rows.mean() if workload.objective == "mean" else rows[-1])


@pytest.mark.parametrize("workload", WORKLOADS)
@pytest.mark.parametrize("bands", [1, 3, N])
def test_the_error_is_that_of_the_dense_matrices(workload: Workload, bands: int) -> None:
    c = np.sort(np.random.default_rng(bands).uniform(0, 1, bands))[::-1]
    c[0] = 1.0
    assert squared_error(c.tolist(), N, workload) == pytest.approx(slow_error(c, workload))


def test_the_closed_form_is_the_square_root_of_the_prefix_sums() -> None:
    c = optimal_coefficients(N)
    assert lower(c) @ lower(c) == pytest.approx(np.tril(np.ones((N, N))))
    # Then error and sensitivity are |c| both; their product is 1 + ln(n) / pi, roughly.
    assert squared_error(c.tolist(), N, Workload(objective="last")) == pytest.approx(float(c @ c))
    many = float(np.square(optimal_coefficients(4096)).sum())
    assert many < 1 + math.log(4 * 4096 / 5) / math.pi + 0.2


def test_the_search_finds_the_closed_form_where_that_is_best() -> None:
    last = Workload(objective="last")
    found = optimise(N, N, last)
    assert loss(found, last) <= loss(optimal_coefficients(N), last) * (1 + 1e-9)
    assert found == pytest.approx(optimal_coefficients(N), abs=5e-3)


def loss(c: NDArray[np.float64], workload: Workload, period: int | None = None) -> float:
    norm = column_norm(c.tolist(), N)
    if period is not None:
        norm = participation_norm(c.tolist(), N, period)
    return math.sqrt(squared_error(c.tolist(), N, workload)) * norm


@pytest.mark.parametrize("workload", WORKLOADS)
@pytest.mark.parametrize(("bands", "period"), [(2, None), (5, None), (5, 3), (8, 2)])
def test_no_neighbouring_bands_are_better_than_the_best(
    workload: Workload, bands: int, period: int | None
) -> None:
    best = optimise(bands, N, workload, period)
    assert best[0] == 1.0
    assert (best >= 0).all()
    least = loss(best, workload, period)
    assert least < loss(np.ones(1), workload, period)  # independent noise
    assert least <= loss(optimal_coefficients(bands), workload, period)
    rng = np.random.default_rng(0)
    for size in (0.1, 0.01):
        for _ in range(20):
            other = np.clip(best + size * rng.standard_normal(bands), 0, 1)
            other[0] = 1.0
            assert loss(other, workload, period) >= least * (1 - 1e-6)


def test_bands_that_overlap_are_chosen_for_the_participations_that_happen() -> None:
    workload = Workload()
    unaware, aware = optimise(12, N, workload), optimise(12, N, workload, 4)
    assert loss(aware, workload, 4) < 0.99 * loss(unaware, workload, 4)
    assert loss(unaware, workload) < loss(aware, workload)


@pytest.mark.parametrize("period", [1, 2, 3, 5, 12])
@pytest.mark.parametrize("bands", [1, 2, 4, 12])
def test_the_sensitivity_is_the_largest_over_beginnings_and_directions(
    period: int, bands: int
) -> None:
    n = 12
    c = optimal_coefficients(bands)
    matrix = lower(c, n)
    most = 0.0
    for start in range(period):
        columns = matrix[:, start::period]
        signs = itertools.product((-1, 1), repeat=min(columns.shape[1], 12))
        most = max(most, *(float(np.linalg.norm(columns @ np.array(s))) for s in signs))
    assert participation_norm(c.tolist(), n, period) == pytest.approx(most)


def test_one_participation_is_too_little_for_many() -> None:
    c = optimal_coefficients(8).tolist()
    once, real = column_norm(c, 40), participation_norm(c, 40, 8)
    assert real == pytest.approx(math.sqrt(5) * once)  # planted: ``once`` would be 5 times too good
    assert participation_norm(c, 40, 4) > math.sqrt(10) * once  # overlapping columns add up


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: Workload(1.0), "momentum is 1.0"),
        (lambda: Workload(rates=(0.0,)), "learning rate is negative or all are 0"),
        (lambda: Workload(rates=(1.0, -1.0)), "learning rate is negative"),
        (lambda: Workload(rates=(1.0,) * 5000), "there are 5000 learning rates"),
        (lambda: Workload(objective="max"), "objective is 'max'"),  # type: ignore[arg-type]
        (lambda: squared_error([1.0], 3, Workload(rates=(1.0,))), "1 learning rates for 3 steps"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make: object, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        make()  # type: ignore[operator]
