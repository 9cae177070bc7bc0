"""Budgets: their ranges, their sums, and the relation names beside them."""

from __future__ import annotations

import math

import pytest
from dp_accounting import NeighboringRelation
from hypothesis import given
from hypothesis import strategies as st

from sfumato.errors import BudgetError, InputError, LedgerError, MissingExtraError, SfumatoError
from sfumato.privacy.budget import Budget
from sfumato.privacy.neighbours import Neighbours

epsilons = st.floats(1e-6, 1e6)
deltas = st.floats(0, 0.4)


@pytest.mark.parametrize("epsilon", [0, -1, math.inf, math.nan, "1", None])
def test_an_epsilon_that_is_no_finite_positive_number_is_refused(epsilon: float) -> None:
    with pytest.raises(InputError, match="epsilon is"):
        Budget(epsilon)


@pytest.mark.parametrize("delta", [-1e-9, 1, 2, math.nan, math.inf, "0"])
def test_a_delta_outside_zero_and_one_is_refused(delta: float) -> None:
    with pytest.raises(InputError, match="delta is"):
        Budget(1.0, delta)


@given(epsilons, deltas, epsilons, deltas)
def test_budgets_add_in_both_coordinates(a: float, b: float, c: float, d: float) -> None:
    assert Budget(a, b) + Budget(c, d) == Budget(a + c, b + d)


def test_a_sum_of_deltas_stays_below_one() -> None:
    assert (Budget(1, 0.9) + Budget(1, 0.9)).delta < 1


@given(epsilons, deltas, st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=20))
def test_the_parts_of_a_split_sum_to_the_whole(e: float, d: float, weights: list[float]) -> None:
    parts = Budget(e, d).split(*weights)
    assert math.fsum(part.epsilon for part in parts) == pytest.approx(e, rel=1e-12)
    assert math.fsum(part.delta for part in parts) == pytest.approx(d, rel=1e-12, abs=1e-300)
    assert parts[0].epsilon / e == pytest.approx(weights[0] / math.fsum(weights), rel=1e-12)


@pytest.mark.parametrize("weights", [(), (1, 0), (1, -1), (1, math.nan)])
def test_a_split_by_weights_that_are_not_positive_is_refused(weights: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="weights"):
        Budget(1.0).split(*weights)


def test_a_delta_of_one_over_the_records_is_refused_with_a_better_one() -> None:
    with pytest.raises(InputError, match="1/records for 1000"):
        Budget(1, 1e-3).check_records(1000)
    Budget(1, 9e-4).check_records(1000)
    Budget(1, 0.5).check_records(0)
    Budget(1).check_records(10**9)


def test_a_budget_prints_as_it_is_written_in_papers() -> None:
    assert str(Budget(1.5)) == "ε = 1.5"
    assert str(Budget(1.5, 1e-6)) == "ε = 1.5, δ = 1e-06"


def test_relations_keep_their_meaning_in_the_accounting_library() -> None:
    assert Neighbours.ADD_REMOVE.relation is NeighboringRelation.ADD_OR_REMOVE_ONE
    assert Neighbours.REPLACE_ONE.relation is NeighboringRelation.REPLACE_ONE
    assert Neighbours.ZERO_OUT.relation is NeighboringRelation.REPLACE_SPECIAL


def test_relations_read_in_plain_words() -> None:
    phrases = {relation.phrase.format(unit="patient") for relation in Neighbours}
    assert len(phrases) == 3
    assert all("patient" in phrase for phrase in phrases)


def test_errors_are_one_line_with_their_remedy_and_exit_code() -> None:
    error = InputError("epsilon is 0.", "Give a number above 0.")
    assert str(error) == "epsilon is 0. Give a number above 0."
    assert str(SfumatoError("something broke")) == "something broke."
    assert (error.exit_code, BudgetError("x").exit_code, LedgerError("x").exit_code) == (2, 3, 4)
    missing = MissingExtraError("mbi", "marginals", "tables.mst")
    assert "pip install 'sfumato[marginals]'" in str(missing)
