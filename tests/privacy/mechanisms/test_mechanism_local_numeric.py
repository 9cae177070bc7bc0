from __future__ import annotations

import math

import numpy as np
import pytest

from sfumato.errors import InputError
from sfumato.privacy import accounting
from sfumato.privacy.budget import Budget
from sfumato.privacy.mechanisms import LocalNumeric
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import SECURE, SeededSource, discrete_laplace
from sfumato.privacy.noise.gaussian import privacy_delta
from sfumato.privacy.noise.laplace import MIN_SCALE, privacy_loss

N = 200_000
RO = Neighbours.REPLACE_ONE


@pytest.mark.parametrize("cardinality", [2, 3, 4, 5, 8, 17, 100, 101, 10_000])
@pytest.mark.parametrize("epsilon", [0.05, 1.0, 3.0, 12.0])
def test_laplace_claims_epsilon_and_the_tables_keep_it(cardinality: int, epsilon: float) -> None:
    mechanism = LocalNumeric(cardinality, epsilon)
    claim = accounting.epsilon(mechanism.event, 0.0, RO)
    assert claim <= epsilon
    if mechanism.scale > MIN_SCALE:
        assert claim == pytest.approx(epsilon, rel=1e-12)
    assert privacy_loss(mechanism.scale, cardinality - 1) <= claim * (1 + 1e-12)


def exact_delta(scale: float, shift: int, epsilon: float) -> float:
    """The hockey stick of discrete Laplace noise moved by ``shift``, summed term by term."""
    x = np.arange(-math.ceil(45 * scale), math.ceil(45 * scale) + shift + 1)
    p = math.tanh(0.5 / scale) * np.exp(-np.abs(x) / scale)
    q = math.tanh(0.5 / scale) * np.exp(-np.abs(x - shift) / scale)
    return math.fsum(np.maximum(p - math.exp(epsilon) * q, 0))


@pytest.mark.parametrize("cardinality", [2, 3, 4, 6, 7, 32])
@pytest.mark.parametrize("epsilon", [0.2, 1.0, 4.0])
def test_the_event_claims_at_least_the_true_loss_at_every_epsilon(cardinality, epsilon) -> None:
    mechanism = LocalNumeric(cardinality, epsilon)
    for below in np.linspace(0, epsilon, 12)[:-1]:
        true = exact_delta(mechanism.scale, mechanism.diameter, below)
        # Up to 1e-4 of rounding of losses, on the safe side, and 1e-9 of numerics.
        claimed = accounting.delta(mechanism.event, float(below), RO)
        assert true <= claimed + 1e-9


def test_planted_claiming_continuous_noise_for_an_odd_diameter_is_wrong() -> None:
    """With scale d / epsilon and no more, the loss of the continuous mechanism is exceeded."""
    for diameter in (1, 3, 31):
        continuous = -math.expm1(-1.0 / 2)
        assert exact_delta(diameter / 1.0, diameter, 0.0) > continuous * (1 + 1e-6)
    assert LocalNumeric(4, 1.0).scale > 3.0


@pytest.mark.parametrize("cardinality", [2, 5, 50])
@pytest.mark.parametrize("noise", ["laplace", "gaussian"])
def test_calibrated_reports_cost_at_most_the_budget(cardinality, noise) -> None:
    budget = Budget(1.5, 1e-5)
    mechanism = LocalNumeric.calibrate(cardinality, budget, noise)
    assert 0.99 * 1.5 <= accounting.epsilon(mechanism.event, budget.delta, RO) <= 1.5 or (
        noise == "laplace"
    )
    assert accounting.epsilon(mechanism.event, budget.delta, RO) <= 1.5
    if noise == "gaussian":
        assert mechanism.event.contribution == (cardinality - 1) / 2
        # The table in use, moved by the diameter.
        assert privacy_delta(mechanism.stddev, cardinality - 1, 1.5) <= budget.delta
        # Planted: noise for the radius.
        assert privacy_delta(mechanism.stddev / 2, cardinality - 1, 1.5) > budget.delta


class Radius(LocalNumeric):
    """Planted defect: noise for half the domain, the distance from its middle."""

    @property
    def scale(self) -> float:
        return super().scale / 2


@pytest.mark.parametrize("cardinality", [2, 9, 10, 41])
def test_the_extremes_of_the_domain_are_no_further_apart_than_claimed(cardinality, audit) -> None:
    def bound(mechanism: LocalNumeric) -> float:
        low, high = (
            mechanism.randomise(np.full(N, v), SeededSource(v)) for v in (0, cardinality - 1)
        )
        return audit(low, high)

    assert 0.9 < bound(LocalNumeric(cardinality, 1.0)) <= 1.0
    assert bound(Radius(cardinality, 1.0)) > 1.0


def test_the_extremes_under_gaussian_noise_are_no_further_apart_than_claimed(audit_mu) -> None:
    budget = Budget(4.0, 1e-5)
    mechanism = LocalNumeric.calibrate(201, budget, "gaussian")
    mu = mechanism.diameter / mechanism.stddev

    def bound(mechanism: LocalNumeric) -> float:
        low, high = (mechanism.randomise(np.full(N, v), SeededSource(v)) for v in (0, 200))
        return audit_mu(low, high)

    assert 0.95 * mu < bound(mechanism) <= mu
    assert bound(LocalNumeric(201, stddev=mechanism.stddev / 2, noise="gaussian")) > mu


@pytest.mark.parametrize(
    "mechanism",
    [LocalNumeric(50, 2.0), LocalNumeric(50, stddev=30.0, noise="gaussian")],
    ids=["laplace", "gaussian"],
)
def test_every_row_gets_a_draw_of_its_own_and_stays_on_the_grid(mechanism, independent) -> None:
    reports = mechanism.randomise(np.full(120_000, 25), SeededSource(1))
    assert reports.dtype == np.int64
    assert (reports.min(), reports.max()) == (0, 49)
    assert independent(reports.reshape(-1, 6))
    assert not independent(np.repeat(reports[::6, np.newaxis], 6, axis=1))  # planted: one draw
    other = np.full(1000, 25)
    other[7] = 3
    a, b = (mechanism.randomise(c, SeededSource(2)) for c in (np.full(1000, 25), other))
    assert np.array_equal(np.delete(a, 7), np.delete(b, 7))


def test_reports_are_the_value_with_its_noise_clamped() -> None:
    mechanism = LocalNumeric(1001, 5.0)
    noise = discrete_laplace(mechanism.scale, 3, SeededSource(4))
    expected = np.clip(np.array([0, 500, 1000]) + noise, 0, 1000)
    assert np.array_equal(mechanism.randomise([0, 500, 1000], SeededSource(4)), expected)


def test_noise_falls_as_epsilon_grows() -> None:
    for cardinality in (2, 7, 8):
        scales = [LocalNumeric(cardinality, e).scale for e in (0.1, 1.0, 5.0, 20.0)]
        assert scales == sorted(set(scales), reverse=True)


def test_grids_of_a_trillion_points_need_no_coarsening() -> None:
    mechanism = LocalNumeric(10**12, 1.0)
    reports = mechanism.randomise(np.full(1000, 10**11), SECURE)
    assert len(np.unique(reports)) > 200  # the rest are clamped to the ends
    assert accounting.epsilon(mechanism.event, 0.0, RO) <= 1.0


def test_no_rows_are_no_reports() -> None:
    assert LocalNumeric(3, 1.0).randomise([]).shape == (0,)


@pytest.mark.parametrize(("codes", "named"), [([3], "code 3 in row 0"), ([math.nan], "code nan")])
def test_codes_off_the_grid_are_refused(codes, named) -> None:
    with pytest.raises(InputError, match=named):
        LocalNumeric(3, 1.0).randomise(codes)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"cardinality": 1, "epsilon": 1.0}, "cardinality is 1"),
        ({"cardinality": 2.5, "epsilon": 1.0}, "cardinality is 2.5"),
        ({"cardinality": 3}, "epsilon is None"),
        ({"cardinality": 3, "epsilon": 0}, "epsilon is 0"),
        ({"cardinality": 3, "epsilon": math.nan}, "epsilon is nan"),
        ({"cardinality": 3, "epsilon": 1.0, "stddev": 1.0}, "laplace noise has a stddev"),
        ({"cardinality": 3, "epsilon": 1.0, "noise": "gaussian"}, "gaussian noise has a epsilon"),
        ({"cardinality": 3, "noise": "gaussian"}, "stddev is None"),
        ({"cardinality": 3, "noise": "gaussian", "stddev": -2.0}, "stddev is -2.0"),
        ({"cardinality": 3, "noise": "gaussian", "stddev": 1e-3}, "stddev is 0.001 grid steps"),
        ({"cardinality": 3, "epsilon": 1.0, "noise": "uniform"}, "noise is 'uniform'"),
        ({"cardinality": 10**16, "epsilon": 0.1}, "needs noise of scale"),
    ],
)
def test_settings_out_of_range_are_refused(settings, named) -> None:
    with pytest.raises(InputError, match=named):
        LocalNumeric(**settings)


def test_gaussian_noise_without_a_delta_is_refused() -> None:
    with pytest.raises(InputError, match="delta"):
        LocalNumeric.calibrate(5, Budget(1.0), "gaussian")
