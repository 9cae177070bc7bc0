from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sfumato.errors import InputError
from sfumato.privacy import accounting
from sfumato.privacy.budget import Budget
from sfumato.privacy.mechanisms import LocalVector
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import SeededSource
from sfumato.privacy.noise.gaussian import grid_step

N = 100_000


@pytest.mark.parametrize(
    ("epsilon", "mu", "sigma", "energy"),
    [
        (0.5, "0.142", "14.06", "0.005"),
        (1.0, "0.268", "7.46", "0.018"),
        (2.0, "0.502", "3.99", "0.063"),
        (4.0, "0.925", "2.16", "0.21"),
        (8.0, "1.666", "1.20", "0.69"),
        (16.0, "2.906", "0.69", "2.1"),
    ],
)
def test_the_printed_table_of_the_image_level_ceiling(epsilon, mu, sigma, energy) -> None:
    """delta = 1e-5, C = 1, to the digits printed (mu = 2.9055 at 16 is printed as 2.906)."""
    mechanism = LocalVector.calibrate(1.0, Budget(epsilon, 1e-5))
    for value, printed in (
        (mechanism.mu, mu),
        (mechanism.stddev, sigma),
        (mechanism.signal_to_noise, energy),
    ):
        assert abs(value - float(printed)) < 0.55 * 10.0 ** -len(printed.split(".")[1])
    spent = accounting.epsilon(mechanism.event, 1e-5, Neighbours.REPLACE_ONE)
    assert epsilon * (1 - 1e-6) <= spent <= epsilon
    assert accounting.gdp_mu(mechanism.event, Neighbours.REPLACE_ONE) == pytest.approx(mechanism.mu)


def test_the_clip_norm_scales_the_noise_and_nothing_else() -> None:
    budget = Budget(2.0, 1e-5)
    one, seven = (LocalVector.calibrate(c, budget) for c in (1.0, 7.0))
    assert seven.stddev == pytest.approx(7 * one.stddev, rel=1e-12)
    assert seven.mu == pytest.approx(one.mu, rel=1e-12)


@given(
    arrays(
        np.float64,
        st.tuples(st.integers(1, 6), st.integers(1, 8)),
        elements=st.floats(-1e300, 1e300) | st.floats(-2, 2),
    ),
    st.floats(1e-3, 1e3),
)
@settings(max_examples=150, deadline=None)
def test_every_row_has_at_most_the_clip_norm_exactly(rows: np.ndarray, clip_norm: float) -> None:
    mechanism = LocalVector(clip_norm, 0.7)
    steps, step = mechanism.clip(rows), Fraction(grid_step(0.7))
    for row, before in zip(steps.tolist(), rows, strict=True):
        energy = sum(x * x for x in row) * step * step
        assert energy <= Fraction(clip_norm) ** 2
        # Short rows pass but for a grid step; long ones keep nearly the whole norm.
        if np.abs(before).max() < 1e100:
            norm = min(float(np.linalg.norm(before)), clip_norm)
            lost = float(step) * math.sqrt(len(row)) + 1e-11 * norm
            assert math.sqrt(energy) >= norm - lost


def per_batch(mechanism: LocalVector, rows: np.ndarray) -> np.ndarray:
    """Planted defect: the whole batch is scaled by its longest row."""
    return mechanism.clip(rows / max(1.0, np.linalg.norm(rows, axis=1).max()))


def test_one_row_times_a_thousand_changes_no_other_row_and_batches_do_not_matter() -> None:
    mechanism = LocalVector(1.0, 0.5)
    rows = np.random.default_rng(1).normal(size=(40, 6)) * 0.3
    loud = rows.copy()
    loud[11] *= 1000

    def unmoved(clip) -> bool:
        return np.array_equal(np.delete(clip(rows), 11, 0), np.delete(clip(loud), 11, 0))

    assert unmoved(mechanism.clip)
    assert not unmoved(lambda x: per_batch(mechanism, x))
    parts = np.concatenate([mechanism.clip(loud[i : i + 7]) for i in range(0, 40, 7)])
    assert np.array_equal(parts, mechanism.clip(loud))
    a, b = (mechanism.release(x, SeededSource(1)) for x in (rows, loud))
    assert np.array_equal(np.delete(a, 11, 0), np.delete(b, 11, 0))


def test_opposite_ends_of_the_ball_are_no_further_apart_than_claimed(audit_mu) -> None:
    mechanism = LocalVector.calibrate(3.0, Budget(4.0, 1e-5))
    direction = np.array([0.6, 0.8, 0.0]) * 50  # far outside: clipped to the ball's surface

    def bound(mechanism: LocalVector) -> float:
        low, high = (
            mechanism.release(np.tile(sign * direction, (N, 1)), SeededSource(seed)) @ direction
            for seed, sign in ((1, -1), (2, 1))
        )
        return audit_mu(low, high)

    assert 0.95 * mechanism.mu < bound(mechanism) <= mechanism.mu
    radius = LocalVector(3.0, mechanism.stddev / 2)  # planted: calibrated to the radius
    assert bound(radius) > mechanism.mu


def test_every_coordinate_of_every_row_gets_noise_of_the_stated_size(independent) -> None:
    from scipy.stats import kstest

    mechanism = LocalVector(1.0, 2.5)
    rows = np.tile([0.1, -0.2, 0.3], (20_000, 1))
    noise = mechanism.release(rows, SeededSource(3)) - rows
    assert kstest(noise.ravel() / 2.5, "norm").pvalue > 1e-6
    assert kstest(noise.ravel() / 2.5 * math.sqrt(2), "norm").pvalue < 1e-6  # planted
    assert independent(noise)  # coordinates
    assert independent(noise[:, 0].reshape(-1, 8))  # rows
    scalar = np.repeat(noise[:, :1], 3, axis=1)  # planted: a scalar for each row
    assert not independent(scalar)


def test_reports_lie_on_a_grid_that_the_stddev_alone_decides() -> None:
    mechanism = LocalVector(1.0, 0.3)
    for scale in (1e-9, 0.1, 1e9):
        rows = np.random.default_rng(2).normal(size=(50, 4)) * scale
        steps = mechanism.release(rows, SeededSource(4)) / grid_step(0.3)
        assert np.array_equal(steps, np.rint(steps))


def test_empty_rows_and_zero_rows_are_fine() -> None:
    mechanism = LocalVector(1.0, 1.0)
    assert mechanism.release(np.zeros((0, 5))).shape == (0, 5)
    assert mechanism.release(np.zeros((5, 0))).shape == (5, 0)
    assert not mechanism.clip(np.zeros((2, 2))).any()
    assert mechanism.release(np.ones((2, 2), np.float32)).dtype == np.float64


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        ([[1.0, math.nan]], r"nan at \[0, 1\]"),
        ([[1.0], [math.inf]], r"inf at \[1, 0\]"),
        ([1.0, 2.0], r"shape \(2,\)"),
        ([["a"]], "type"),
    ],
)
def test_rows_that_are_none_are_refused(rows, named) -> None:
    with pytest.raises(InputError, match=named):
        LocalVector(1.0, 1.0).release(rows)


@pytest.mark.parametrize("bad", [0, -1.0, math.nan, math.inf, "1"])
def test_settings_out_of_range_are_refused(bad) -> None:
    with pytest.raises(InputError, match=f"clip norm is .*{bad}"):
        LocalVector(bad, 1.0)
    with pytest.raises(InputError, match=f"stddev is .*{bad}"):
        LocalVector(1.0, bad)
    with pytest.raises(InputError, match=f"clip norm is .*{bad}"):
        LocalVector.calibrate(bad, Budget(1.0, 1e-5))


def test_noise_that_is_next_to_nothing_and_a_missing_delta_are_refused() -> None:
    with pytest.raises(InputError, match="next to nothing"):
        LocalVector(1e6, 1.0)
    with pytest.raises(InputError, match="delta"):
        LocalVector.calibrate(1.0, Budget(1.0))
