from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sfumato.errors import InputError
from sfumato.publish.tables import allocation

EXAMPLE = np.array([0.5, 0.25, 0.15, 0.07, 0.03])
WEIGHTS = arrays(np.float64, st.integers(1, 40), elements=st.floats(0, 1e6)).filter(
    lambda w: w.max() > 0
)


def test_reproduces_the_check_numbers_of_the_specification() -> None:
    error = {
        rule: allocation.weighted_variance(EXAMPLE, 5 * allocation.shares(EXAMPLE, rule))
        for rule in allocation.RULES
    }
    assert error["uniform"] == pytest.approx(2.00, abs=0.005)
    assert error["proportional"] == pytest.approx(4.82, abs=0.005)
    assert error["cube-root"] == pytest.approx(1.54, abs=0.005)
    # rho = 1: mu^2 = 2, so the zCDP figures 2.50 and 2.06 of the same section.
    gaussian = {
        rule: allocation.weighted_variance(
            EXAMPLE, 2 * allocation.shares(EXAMPLE, rule, "gaussian"), "gaussian"
        )
        for rule in ("uniform", "cube-root")
    }
    assert gaussian["uniform"] == pytest.approx(2.50, abs=0.005)
    assert gaussian["cube-root"] == pytest.approx(2.06, abs=0.005)


def test_proportional_budgets_are_worse_than_uniform_ones_for_skewed_weights() -> None:
    budgets = {rule: 5 * allocation.shares(EXAMPLE, rule) for rule in allocation.RULES}
    error = {r: allocation.weighted_variance(EXAMPLE, b) for r, b in budgets.items()}
    assert error["cube-root"] < error["sqrt"] < error["uniform"] < error["proportional"]


@given(WEIGHTS, st.sampled_from(allocation.NOISES), st.integers(0, 2**32 - 1))
def test_cube_root_has_the_least_weighted_variance(
    weights: np.ndarray, noise: str, seed: int
) -> None:
    w = allocation.floored(weights)
    best = allocation.weighted_variance(w, allocation.shares(w, "cube-root", noise), noise)
    others = np.random.default_rng(seed).dirichlet(np.full(len(w), 3.0), 30) + 1e-12
    for other in others:
        assert best <= allocation.weighted_variance(w, other / other.sum(), noise) * (1 + 1e-9)


@given(WEIGHTS, st.sampled_from(allocation.NOISES), st.integers(0, 2**32 - 1))
def test_sqrt_has_the_least_weighted_absolute_error(
    weights: np.ndarray, noise: str, seed: int
) -> None:
    def error(parts: np.ndarray) -> float:
        return float(np.sum(w * (parts**-0.5 if noise == "gaussian" else 1 / parts)))

    w = allocation.floored(weights)
    best = error(allocation.shares(w, "sqrt", noise))
    for other in np.random.default_rng(seed).dirichlet(np.full(len(w), 3.0), 30) + 1e-12:
        assert best <= error(other / other.sum()) * (1 + 1e-9)


@given(WEIGHTS)
def test_no_weight_falls_below_the_floor(weights: np.ndarray) -> None:
    w = allocation.floored(weights)
    assert math.fsum(w) == pytest.approx(1)
    # Rescaling after raising costs at most a factor 1 + FLOOR.
    assert w.min() >= allocation.FLOOR / len(w) / (1 + allocation.FLOOR) * (1 - 1e-12)
    assert list(np.argsort(w[weights > weights.max() / 2])) == list(
        np.argsort(weights[weights > weights.max() / 2])
    ) or len(set(weights)) < len(weights)


@given(WEIGHTS, st.sampled_from(allocation.RULES), st.sampled_from(allocation.NOISES))
def test_shares_follow_the_weights_in_any_order(weights: np.ndarray, rule: str, noise: str) -> None:
    w = allocation.floored(weights)
    parts = allocation.shares(w, rule, noise)
    assert np.all(parts > 0)
    assert math.fsum(parts) == pytest.approx(1)
    np.testing.assert_allclose(allocation.shares(w[::-1], rule, noise), parts[::-1])


@settings(max_examples=300)
@given(
    arrays(np.float64, st.integers(1, 60), elements=st.floats(1e-9, 1e9)),
    st.floats(1e-6, 1e3),
)
def test_parts_sum_to_the_whole_and_never_above_it(parts: np.ndarray, total: float) -> None:
    divided = allocation.split(total, parts)
    exact = sum(map(Fraction, divided), Fraction(0))
    assert exact <= Fraction(total)
    assert exact >= Fraction(total) * (1 - Fraction(1, 2**52))
    np.testing.assert_allclose(divided, total * parts / parts.sum(), rtol=1e-9, atol=0)


def test_split_without_its_correction_would_overspend() -> None:
    """The planted defect of the test above: plain scaling exceeds the total for some parts."""
    rng = np.random.default_rng(0)
    excess = 0
    for _ in range(200):
        parts = rng.random(7)
        scaled = parts / parts.sum()
        excess += sum(map(Fraction, scaled.tolist()), Fraction(0)) > 1
    assert excess > 0


@given(st.floats(1e-3, 1e3), st.floats(0, 1))
def test_a_remainder_never_overspends(total: float, share: float) -> None:
    part = share * total
    rest = allocation.remainder(total, part)
    assert Fraction(part) + Fraction(rest) <= Fraction(total)
    assert part + rest == pytest.approx(total)


@pytest.mark.parametrize(
    "weights", [[], [0.0, 0.0], [1.0, -0.1], [float("nan"), 1.0], [float("inf"), 1.0]]
)
def test_refuses_weights_that_mean_nothing(weights: list[float]) -> None:
    with pytest.raises(InputError):
        allocation.floored(np.array(weights))


def test_refuses_an_unknown_rule_or_noise() -> None:
    with pytest.raises(InputError, match=r"allocation is 'cube'.*cube-root"):
        allocation.shares(EXAMPLE, "cube")
    with pytest.raises(InputError, match=r"noise is 'cauchy'"):
        allocation.shares(EXAMPLE, "sqrt", "cauchy")


def test_huge_and_tiny_weights_neither_overflow_nor_vanish() -> None:
    w = allocation.floored(np.array([1e308, 1e308, 1e-300]))
    assert np.all(np.isfinite(w))
    assert w[2] > 0
