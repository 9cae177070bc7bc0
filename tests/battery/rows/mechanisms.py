"""Rows of the mechanisms: central ones on vectors, local ones on records, choices."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from battery.row import HUGE, Array, Row
from sfumato.privacy.budget import Budget
from sfumato.privacy.mechanisms import (
    BoundedNumeric,
    DiscreteGaussian,
    DiscreteLaplace,
    ExponentialMechanism,
    Gaussian,
    Laplace,
    LocalNumeric,
    LocalVector,
    NoisyMax,
    RandomizedResponse,
    UnaryEncoding,
)
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import NoiseSource, SeededSource

ADD = Neighbours.ADD_REMOVE
REPLACE = Neighbours.REPLACE_ONE
_REPEATS = 2000  # of what is averaged or correlated


def central(
    name: str,
    make: Callable[[Budget], Any],
    neighbours: Neighbours,
    extremes: tuple[list[float], list[float]],
    *,
    pure: bool,
    tolerance: float = 0.0,
    huge: Budget = HUGE,
) -> Row:
    """Noise on a sum: a vector that one record moves from one extreme to the other."""
    one, other = (np.array(x) for x in extremes)
    along = other - one
    width = len(one)

    def samples(made: Any, sums: Array, runs: int, source: NoiseSource) -> Array:
        return made.release(np.tile(sums, (runs, 1)), source) @ along

    def identity(made: Any, source: NoiseSource) -> tuple[Array, Array]:
        truth = np.arange(-1000, 1000).astype(one.dtype)
        return made.release(truth, source), truth

    def one_run(row: Row, included: Array, source: NoiseSource) -> Array:
        # Each canary has coordinates of its own, which it moves as far as a record may.
        sums = np.where(included[:, np.newaxis], other, one)
        return row.make(row.audit_budget).release(sums, source) @ along

    return Row(
        name=name,
        subject=type(make(Budget(1.0, 1e-6))),
        make=make,
        neighbours=neighbours,
        extremes=(one, other),
        samples=samples,
        pure=pure,
        error=lambda made, source: float(
            np.abs(made.release(np.zeros(_REPEATS, one.dtype), source)).mean()
        ),
        reach=lambda made: (
            made.release(other, SeededSource(7)) - made.release(one, SeededSource(7))
        ),
        noise=lambda made, source: made.release(np.zeros((_REPEATS, max(6, width)), int), source),
        identity=identity,
        huge=huge,
        tolerance=tolerance,
        one_run=one_run,
    )


def levels(name: str, make: Callable[[Budget], Any], count: int) -> Row:
    """A local report on one of ``count`` codes; the last one is as far as a record can go."""

    def samples(made: Any, code: int, runs: int, source: NoiseSource) -> Array:
        reports = made.randomise(np.full(runs, code), source)
        if not isinstance(made, UnaryEncoding):
            return reports[:, np.newaxis]
        # The bits are released, too, and tell more.
        return made.bits(np.full(runs, code), source).astype(np.int64)

    def one_run(row: Row, included: Array, source: NoiseSource) -> Array:
        reports = row.make(row.audit_budget).randomise(np.where(included, count - 1, 0), source)
        return (reports == count - 1) * 1.0 - (reports == 0) + reports / count

    def identity(made: Any, source: NoiseSource) -> tuple[Array, Array]:
        truth = np.arange(1000) % count
        return made.randomise(truth, source), truth

    made = make(Budget(1.0, 1e-6))
    pure = getattr(made, "stddev", None) is None
    never_exact = isinstance(made, UnaryEncoding) or getattr(made, "shape", None) == "duchi"
    return Row(
        name=name,
        subject=type(made),
        make=make,
        neighbours=REPLACE,
        extremes=(0, count - 1),
        samples=samples,
        pure=pure,
        error=lambda made, source: _distance(made, np.zeros(_REPEATS, np.int64), source),
        noise=lambda made, source: made.randomise(
            np.full(_REPEATS * 4, count // 2), source
        ).reshape(_REPEATS, 4),
        reports=lambda made, records, source: made.randomise(records, source),
        records=np.arange(500) % (count - 1),
        stretch=lambda records, i: _with(records, i, count - 1),
        # The true bit of unary encoding is a fair coin whatever the budget, and Duchi's report is
        # one end of the grid: they are never exact.
        identity=None if never_exact else identity,
        huge=HUGE if pure else Budget(1000.0, 0.5),
        one_run=one_run,
    )


def vectors(name: str, make: Callable[[Budget], Any]) -> Row:
    """A local report on a vector that is clipped."""
    far = np.array([3e3, -4e3, 0.0, 1e3])

    def samples(made: Any, vector: Array, runs: int, source: NoiseSource) -> Array:
        return made.release(np.tile(vector, (runs, 1)), source) @ far

    def norms(made: Any) -> tuple[Array, float]:
        rng = np.random.default_rng(0)
        inputs = rng.standard_normal((2000, 4)) * 10.0 ** rng.integers(-300, 300, (2000, 1))
        released = made.release(np.concatenate([inputs, inputs * 0]), SeededSource(3))
        blank = made.release(np.zeros((4000, 4)), SeededSource(3))
        return np.linalg.norm(released - blank, axis=1), made.clip_norm

    def one_run(row: Row, included: Array, source: NoiseSource) -> Array:
        inputs = np.where(included[:, np.newaxis], far, -far)
        return row.make(row.audit_budget).release(inputs, source) @ far

    return Row(
        name=name,
        subject=LocalVector,
        make=make,
        neighbours=REPLACE,
        extremes=(far, -far),
        samples=samples,
        error=lambda made, source: float(
            np.abs(made.release(np.zeros((_REPEATS, 4)), source)).mean()
        ),
        reach=lambda made: (
            made.release([far, -far], SeededSource(7))
            - made.release(np.zeros((2, 4)), SeededSource(7))
        ),
        noise=lambda made, source: made.release(np.zeros((_REPEATS, 4)), source),
        reports=lambda made, records, source: made.release(records, source),
        records=np.random.default_rng(1).standard_normal((50, 4)) / 4,
        stretch=lambda records, i: _with(records, i, 1000 * records[i]),
        norms=norms,
        identity=lambda made, source: (
            made.release(np.eye(4) * made.clip_norm, source),
            np.eye(4) * made.clip_norm,
        ),
        huge=Budget(5e5, 0.5),
        tolerance=0.01,
        one_run=one_run,
    )


def choice(name: str, subject: type) -> Row:
    """One of many candidates: the record makes the first the best, or all others."""
    up, down = [1.0] + [0.0] * 20, [0.0] + [1.0] * 20

    def samples(made: Any, scores: list[float], runs: int, source: NoiseSource) -> Array:
        return np.array([made.select(scores, source) for _ in range(runs)])[:, np.newaxis]

    return Row(
        name=name,
        subject=subject,
        make=lambda budget: subject(budget.epsilon, 1.0, ADD),
        neighbours=ADD,
        extremes=(up, down),
        samples=samples,
        pure=True,
        runs=8000,
        error=lambda made, source: float((samples(made, [1.0, 0.0], 3000, source) != 0).mean()),
        noise=lambda made, source: samples(made, [0.0] * 5, 4 * _REPEATS, source).reshape(-1, 4),
        identity=lambda made, source: (samples(made, up, 100, source), np.zeros((100, 1))),
    )


def _with(records: Array, i: int, value: Any) -> Array:
    changed = records.copy()
    changed[i] = value
    return changed


def _distance(made: Any, truth: Array, source: NoiseSource) -> float:
    """The mean of "is another level" and of the distance on a grid of length 1."""
    reports = made.randomise(truth, source)
    return float((reports != truth).mean() + np.abs(reports - truth).mean())


SQRT2 = math.sqrt(2)

MECHANISMS: tuple[Row, ...] = (
    central(
        "DiscreteLaplace: add-remove",
        lambda b: DiscreteLaplace.calibrate(b, 2, ADD),
        ADD,
        ([5, 1], [6, 2]),
        pure=True,
    ),
    central(
        "DiscreteLaplace: replace-one",
        lambda b: DiscreteLaplace.calibrate(b, 1, REPLACE),
        REPLACE,
        ([1, 0], [0, 1]),
        pure=True,
    ),
    central(
        "DiscreteGaussian: vector",
        lambda b: DiscreteGaussian.calibrate(b, SQRT2, ADD),
        ADD,
        ([5, 1], [6, 2]),
        pure=False,
    ),
    central(
        "DiscreteGaussian: cell, replace-one",
        lambda b: DiscreteGaussian.calibrate(b, 1, REPLACE, "cell"),
        REPLACE,
        ([1, 0], [0, 1]),
        pure=False,
    ),
    central(
        "DiscreteGaussian: scalar, replace-one",
        lambda b: DiscreteGaussian.calibrate(b, 3.5, REPLACE, "scalar"),
        REPLACE,
        ([0], [7]),
        pure=False,
        huge=Budget(1000.0, 0.5),
    ),
    central(
        "Laplace: add-remove",
        lambda b: Laplace.calibrate(b, 1.5, ADD),
        ADD,
        ([0.0, 0.0], [1.0, -0.5]),
        pure=True,
        tolerance=1e-3,
    ),
    central(
        "Laplace: replace-one",
        lambda b: Laplace.calibrate(b, 1.5, REPLACE),
        REPLACE,
        ([-1.5], [1.5]),
        pure=True,
        tolerance=1e-3,
    ),
    central(
        "Gaussian: add-remove",
        lambda b: Gaussian.calibrate(b, 1.25, ADD),
        ADD,
        ([0.0, 0.0], [1.0, -0.75]),
        pure=False,
        tolerance=1e-3,
    ),
    central(
        "Gaussian: replace-one",
        lambda b: Gaussian.calibrate(b, 1.25, REPLACE),
        REPLACE,
        ([-1.0, 0.75], [1.0, -0.75]),
        pure=False,
        tolerance=1e-3,
    ),
    levels("RandomizedResponse", lambda b: RandomizedResponse(6, b.epsilon), 6),
    levels("UnaryEncoding", lambda b: UnaryEncoding(6, b.epsilon), 6),
    levels("LocalNumeric: laplace, two points", lambda b: LocalNumeric.calibrate(2, b), 2),
    levels("LocalNumeric: laplace, odd diameter", lambda b: LocalNumeric.calibrate(8, b), 8),
    levels("LocalNumeric: laplace, even diameter", lambda b: LocalNumeric.calibrate(9, b), 9),
    levels("BoundedNumeric: piecewise", lambda b: BoundedNumeric(9, b.epsilon, "piecewise"), 9),
    levels("BoundedNumeric: duchi", lambda b: BoundedNumeric(8, b.epsilon, "duchi"), 8),
    levels("LocalNumeric: gaussian", lambda b: LocalNumeric.calibrate(8, b, "gaussian"), 8),
    vectors("LocalVector", lambda b: LocalVector.calibrate(1.0, b)),
    choice("ExponentialMechanism", ExponentialMechanism),
    choice("NoisyMax", NoisyMax),
)
