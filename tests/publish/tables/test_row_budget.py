from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfumato.data import Categorical, Numeric, Ordinal, Schema
from sfumato.errors import InputError
from sfumato.privacy import accounting
from sfumato.privacy.budget import Budget
from sfumato.privacy.events import NoOpDpEvent
from sfumato.privacy.mechanisms import RandomizedResponse, UnaryEncoding
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import SeededSource
from sfumato.publish.tables import allocation
from sfumato.publish.tables.reports import Constant, Levels, Number, OptionalNumber, levels_report
from sfumato.publish.tables.row import Row

COLUMNS = (
    Numeric("a", 0, 90, 1),
    Numeric("b", 0, 10, 0.5, missing=True),
    Numeric("c", 0, 1, 1),
    Numeric("d", 0, 7, 1),
    Categorical("e", tuple("abcdefghij")),
    Categorical("f", ("x",), missing=True),
    Categorical("g", ("x",)),
    Ordinal("h", ("low", "mid", "high")),
    Ordinal("i", ("only",), missing=True),
)
TARGETS = (
    Categorical("y", ("no", "yes")),
    Categorical("y", ("same",)),
    Numeric("y", 0, 100, 1, missing=True),
)


def row(schema: Schema, budget: Budget, weights: np.ndarray, **settings: object) -> Row:
    chosen = {"rule": "cube-root", "noise": "laplace", "wide": "k-rr", "label_share": None}
    return Row.calibrate(schema, budget, weights, **{**chosen, **settings})


@st.composite
def schemas(draw: st.DrawFn) -> Schema:
    columns = draw(st.lists(st.sampled_from(COLUMNS), min_size=1, unique_by=lambda c: c.name))
    target = draw(st.none() | st.sampled_from(TARGETS))
    if target is None:
        return Schema(tuple(columns))
    return Schema((*columns, target), target="y")


def random_weights(schema: Schema, seed: int) -> np.ndarray:
    return allocation.floored(np.random.default_rng(seed).exponential(1, len(schema.features)) ** 3)


@settings(max_examples=80, deadline=None)
@given(
    schemas(),
    st.floats(0.01, 50),
    st.integers(0, 1000),
    st.sampled_from(allocation.RULES),
    st.none() | st.floats(0.01, 0.99),
    st.sampled_from(["k-rr", "oue"]),
)
def test_attribute_budgets_sum_to_the_records_epsilon(
    schema: Schema, epsilon: float, seed: int, rule: str, label_share: float | None, wide: str
) -> None:
    weights = random_weights(schema, seed)
    calibrated = row(
        schema, Budget(epsilon), weights, rule=rule, label_share=label_share, wide=wide
    )
    described = calibrated.describe(weights)
    spent = math.fsum(
        [entry["epsilon"] for entry in described["attributes"]]
        + [described["label"]["epsilon"] if "label" in described else 0.0]
    )
    if all(column.size == 1 for column in schema):
        assert spent == 0
        return
    assert spent == pytest.approx(epsilon, rel=1e-12)
    assert spent <= epsilon
    accounted = accounting.epsilon(calibrated.event(weights), 0.0, Neighbours.REPLACE_ONE)
    # Beyond 32 nats the least noise that can be drawn costs less than was set aside.
    assert accounted <= epsilon
    if epsilon < 30:
        assert accounted == pytest.approx(epsilon, rel=1e-9)


@settings(max_examples=25, deadline=None)
@given(schemas(), st.sampled_from([0.3, 2.0, 8.0]), st.integers(0, 1000))
def test_gaussian_rows_meet_the_budget_and_waste_little(
    schema: Schema, epsilon: float, seed: int
) -> None:
    weights = random_weights(schema, seed)
    calibrated = row(schema, Budget(epsilon, 1e-6), weights, noise="gaussian")
    spent = accounting.epsilon(calibrated.event(weights), calibrated.delta, Neighbours.REPLACE_ONE)
    assert spent <= epsilon
    if any(c.size > 1 for c in schema):
        assert spent >= 0.98 * epsilon


@settings(max_examples=25, deadline=None)
@given(
    schemas(),
    st.sampled_from([0.3, 2.0]),
    st.integers(0, 1000),
    st.sampled_from(["laplace", "gaussian"]),
)
def test_a_fixed_cost_covers_whatever_importance_turns_out(
    schema: Schema, epsilon: float, seed: int, noise: str
) -> None:
    delta = 1e-6 if noise == "gaussian" else 0.0
    equal = np.full(len(schema.features), 1 / len(schema.features))
    budget = Budget(epsilon, delta)
    calibrated = row(schema, budget, equal, noise=noise, beside=(NoOpDpEvent(), budget))
    claimed = accounting.epsilon(calibrated.cost, delta, Neighbours.REPLACE_ONE)
    assert claimed <= epsilon * (1 + 1e-12)
    weights = random_weights(schema, seed)
    actual = calibrated.event(weights)
    assert accounting.epsilon(actual, delta, Neighbours.REPLACE_ONE) <= claimed * (1 + 1e-12)


def test_importance_decides_who_gets_less_noise() -> None:
    schema = Schema((Numeric("a", 0, 10, 1), Numeric("b", 0, 10, 1)))
    for noise, delta in (("laplace", 0.0), ("gaussian", 1e-6)):
        weights = np.array([0.8, 0.2])
        reports = row(schema, Budget(2.0, delta), weights, noise=noise).reports(weights)
        scales = [reports[name].mechanism.scale for name in ("a", "b")]  # type: ignore[attr-defined]
        exponent = 1 / 3 if noise == "laplace" else 1 / 4
        assert scales[1] / scales[0] == pytest.approx(4**exponent, rel=1e-2)


def test_each_column_gets_the_report_its_facts_ask_for() -> None:
    schema = Schema((*COLUMNS, TARGETS[0]), target="y")
    weights = np.full(9, 1 / 9)
    reports = row(schema, Budget(9.0), weights).reports(weights)
    kinds = {name: type(report) for name, report in reports.items()}
    assert list(kinds) == list(schema.names)
    assert kinds == {
        "a": Number,
        "b": OptionalNumber,
        "c": Number,
        "d": Number,
        "e": Levels,
        "f": Levels,
        "g": Constant,
        "h": Number,
        "i": Levels,
        "y": Levels,
    }


def test_the_label_gets_half_until_it_is_almost_always_right() -> None:
    schema = Schema((COLUMNS[0], TARGETS[0]), target="y")
    weights = np.ones(1)
    assert row(schema, Budget(1.0), weights).label == pytest.approx(0.5)
    big = row(schema, Budget(100.0), weights)
    assert big.reports(weights)["y"].describe()["truth_probability"] == pytest.approx(0.95)
    assert row(schema, Budget(1.0), weights, label_share=0.1).label == pytest.approx(0.1)


def test_half_for_the_label_keeps_most_of_the_signal_between_it_and_a_feature() -> None:
    """What ``label_share`` says: the product of both advantages peaks at a half, for small eps."""

    def signal(share: float, epsilon: float) -> float:
        parts = (share * epsilon, (1 - share) * epsilon)
        return math.prod(2 * RandomizedResponse(2, part).truth_probability - 1 for part in parts)

    shares = np.linspace(0.02, 0.98, 49)
    for epsilon in (0.1, 1.0):
        best = shares[np.argmax([signal(s, epsilon) for s in shares])]
        assert best == pytest.approx(0.5, abs=0.03)


@given(st.integers(3, 60), st.floats(0.01, 6))
def test_no_single_level_is_right_as_often_as_under_randomised_response(
    levels: int, epsilon: float
) -> None:
    """Why ``wide="k-rr"`` is the default: a cell holds one level, not a row of bits."""
    response = RandomizedResponse(levels, epsilon).truth_probability
    assert UnaryEncoding(levels, epsilon).truth_probability <= response * (1 + 1e-9)


def test_unary_encoding_is_chosen_from_public_numbers_alone() -> None:
    wide = Categorical("w", tuple(map(str, range(12))))
    assert isinstance(levels_report(wide, 1.0, "oue").mechanism, UnaryEncoding)  # type: ignore[attr-defined]
    assert isinstance(levels_report(wide, 1.3, "oue").mechanism, RandomizedResponse)  # type: ignore[attr-defined]
    assert isinstance(levels_report(wide, 1.0, "k-rr").mechanism, RandomizedResponse)  # type: ignore[attr-defined]


def test_a_missing_number_is_reported_like_any_other_value(audit) -> None:
    """Missing against a number, with everything the pair reveals; false alarm 1e-6.

    The planted defect tells presence truthfully and is caught.
    """
    schema = Schema((Numeric("b", 0, 10, 1, missing=True),))
    weights = np.ones(1)
    report = row(schema, Budget(1.0), weights).reports(weights)["b"]
    n = 40_000
    reported = [report.randomise(np.full(n, code), SeededSource(code)) == 11 for code in (11, 0)]
    assert 0.3 < audit(int(reported[0].sum()), int(reported[1].sum()), n) <= 1.0
    honest = [np.full(n, code) == 11 for code in (11, 0)]
    assert audit(int(honest[0].sum()), int(honest[1].sum()), n) > 1.0


def test_where_presence_is_reported_nothing_of_a_missing_value_is_left() -> None:
    schema = Schema((Numeric("b", 0, 10, 1, missing=True),))
    weights = np.ones(1)
    report = row(schema, Budget(900.0), weights).reports(weights)["b"]
    codes = np.array([11, 0, 10, 5] * 100)
    np.testing.assert_array_equal(report.randomise(codes, SeededSource(0)), codes)


def test_gaussian_noise_without_a_delta_is_refused() -> None:
    schema = Schema(COLUMNS)
    with pytest.raises(InputError, match=r"delta is 0.*noise=laplace"):
        row(schema, Budget(1.0), np.full(9, 1 / 9), noise="gaussian")
