"""Singling out, linkability and inference, each with its control."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from sfumato import registry
from sfumato.attack import Evidence
from sfumato.attack.inference import close
from sfumato.attack.singling_out import Query, SinglingOut, _multivariate, _tries, _univariate
from sfumato.data import Categorical, Numeric, Schema, Table
from sfumato.errors import InputError

ALL = ("anonymeter.singling_out", "anonymeter.linkability", "anonymeter.inference")
EACH = pytest.mark.parametrize("name", ALL)


def attack(name: str, release: Any, evidence: Evidence, seed: int = 0, **settings: Any) -> Any:
    return registry.build("attack", name, settings)(release, evidence, seed=seed)


@EACH
def test_a_release_of_the_members_themselves_is_broken(
    name: str, make_people: Any, make_release: Any
) -> None:
    members, others = make_people(300, 1), make_people(300, 2)
    finding = attack(name, make_release(members), Evidence(members, others))
    assert finding.better_than_chance
    if name != "anonymeter.singling_out":
        assert finding.breaks_guarantee
    assert "for people in the data" in finding.summary


@EACH
def test_a_release_independent_of_the_members_is_not(
    name: str, make_people: Any, make_release: Any
) -> None:
    evidence = Evidence(make_people(300, 3), make_people(300, 4))
    finding = attack(name, make_release(make_people(300, 5)), evidence, confidence=0.999)
    assert not finding.better_than_chance
    assert finding.interval[0] <= 0 <= finding.interval[1]


def test_the_naive_guess_of_a_secret_looks_at_no_release(
    make_people: Any, make_release: Any
) -> None:
    """Where everybody has one job, who saw the release always guesses it, and nobody else does."""
    one, other, third = (make_people(200, seed) for seed in (1, 2, 3))

    def employed(people: Table) -> Table:
        return Table.from_codes({**people.codes(), "job": np.full(200, 3)}, people.schema)

    evidence = Evidence(employed(one), employed(other))
    rows = [
        attack("anonymeter.inference", make_release(data), evidence, secrets=["job"]).details[
            "secrets"
        ][0]
        for data in (third, employed(third))
    ]
    assert rows[0]["success"]["naive"] == rows[1]["success"]["naive"]
    assert rows[0]["naive_control"] == rows[1]["naive_control"]
    right, of = rows[1]["success"]["naive"]
    assert binom.ppf(1e-6, of, 1 / 9) <= right <= binom.isf(1e-6, of, 1 / 9)  # 8 jobs, and missing
    assert rows[1]["drawn_from_the_release"] == [[200, 200], [200, 200]]


LUCKY = [pytest.param(n, 20 if n == "anonymeter.singling_out" else 60, id=n) for n in ALL]
MORE = pytest.param("anonymeter.singling_out", 60, id="more", marks=pytest.mark.slow)


@pytest.mark.parametrize(("name", "runs"), [*LUCKY, MORE])
def test_nothing_is_found_by_luck_more_often_than_stated(
    name: str, runs: int, make_people: Any, make_release: Any
) -> None:
    alarms = 0
    for run in range(runs):
        base = 20_000 + 3 * run
        evidence = Evidence(make_people(60, base), make_people(60, base + 1))
        release = make_release(make_people(60, base + 2))
        alarms += attack(name, release, evidence, seed=run).better_than_chance
    assert alarms <= binom.isf(1e-6, runs, 0.025)


@EACH
def test_findings_hold_no_record_and_repeat(name: str, make_people: Any, make_release: Any) -> None:
    members, others = make_people(60, 1), make_people(50, 2)
    one, again = (attack(name, make_release(members), Evidence(members, others)) for _ in "ab")
    assert one == again
    text = json.dumps(one.to_dict())
    assert not any(level in text for level in ("town-", "job-", "college"))


@EACH
def test_pictures_are_left_out(name: str, make_pictures: Any, make_release: Any) -> None:
    assert "images" not in registry.find("attack", name).kinds
    if name == "anonymeter.singling_out":
        pictures = make_pictures(30, 0)
        with pytest.raises(InputError, match="only rows can be described"):
            attack(name, make_release(pictures), Evidence(pictures, make_pictures(30, 1)))


SMALL = Schema((Numeric("age", 0, 9, 1, missing=True), Categorical("town", ("a", "b", "c"))))
CODES = np.array([[0, 0], [3, 1], [3, 1], [5, 2], [10, 2]], np.int32)  # the last age is missing


@pytest.mark.parametrize(
    ("conditions", "fits"),
    [
        (((0, "<=", 3),), [0, 1, 2]),
        (((0, ">=", 4),), [3]),  # a missing age is not above anything
        (((0, "==", 10),), [4]),
        (((0, ">=", 1), (1, "==", 1)), [1, 2]),
        (((1, "==", 0), (0, ">=", 1)), []),
    ],
)
def test_a_description_fits_what_it_says(conditions: Any, fits: list[int]) -> None:
    query = Query(conditions)
    assert query.fits(CODES, SMALL.columns).tolist() == fits
    assert query.isolates(CODES, SMALL.columns) == (fits[0] if len(fits) == 1 else -1)


def test_values_that_one_row_has_and_the_ends_describe_rows() -> None:
    made = set(_univariate(CODES, SMALL.columns, np.random.default_rng(0)))
    expected = {(0, "==", 0), (0, "==", 5), (0, "==", 10), (0, "<=", 0), (0, ">=", 5)}
    assert made == {Query((c,)) for c in expected | {(1, "==", 0)}}


def test_many_conditions_lie_on_their_side_of_the_median() -> None:
    made = _multivariate(CODES, SMALL.columns, 2, np.random.default_rng(0))
    seen = {next(made) for _ in range(60)}
    assert Query(((0, ">=", 5), (1, "==", 2))) in seen
    assert Query(((0, "<=", 3), (1, "==", 1))) in seen
    assert Query(((0, "==", 10), (1, "==", 2))) in seen
    assert len(seen) == 4


def test_nobody_is_singled_out_twice() -> None:
    """Planted: five descriptions of one member would count five times, and luck would be a leak."""
    same = [Query(((0, "<=", code),)) for code in range(3)] + [Query(((1, "==", 0),))]
    (own, control), every = _tries(same, (CODES, CODES[3:]), SMALL.columns)
    assert every == (4, 0)
    assert (own.right, own.of, control.right) == (1, 1, 0)


def test_a_release_without_a_single_description_singles_nobody_out(make_release: Any) -> None:
    schema = Schema((Categorical("town", ("a", "b")),))
    flat = Table.from_codes({"town": np.arange(60) % 2}, schema)
    finding = SinglingOut(queries=20)(make_release(flat), Evidence(flat, flat))
    assert finding.value == 0
    assert "No description" in finding.summary


def test_holders_have_the_columns_they_are_given(make_people: Any, make_release: Any) -> None:
    members, others = make_people(80, 1), make_people(80, 2)
    given = {"first": ("age", "income"), "neighbours": 3}
    finding = attack(ALL[1], make_release(members), Evidence(members, others), **given)
    assert finding.details["holders"][0] == ["age", "income"]
    assert finding.details["holders"][1] == ["town", "job", "degree", "owner"]
    assert finding.records.rows.tolist() == list(range(80))
    with pytest.raises(InputError, match="both holders have 'age'"):
        attack(ALL[1], None, None, first=("age",), second=("age",))


def test_equals_do_not_meet_by_their_order(make_release: Any) -> None:
    """Planted: with the first of equals on both lists, every pair of equal rows is linked."""
    schema = Schema((Categorical("a", ("x", "y")), Categorical("b", ("x", "y"))))
    rng = np.random.default_rng(0)

    def drawn() -> Table:
        return Table.from_codes({c: rng.integers(0, 2, 400) for c in ("a", "b")}, schema)

    finding = attack(ALL[1], make_release(drawn()), Evidence(drawn(), drawn()))
    linked, tried = finding.details["success"]["control"]
    assert linked / tried < 0.05


def test_a_wrong_guess_of_a_negative_number_is_wrong() -> None:
    """Divided by the signed guess, every error of a negative number would be small."""
    debt = Numeric("debt", -1000, 0, 1, missing=True)
    truth = np.array([900, 900, 1001, 1001, 5])  # -100, -100, missing, missing, -995
    guess = np.array([0, 904, 1001, 3, 1001])
    assert close(guess, truth, debt, 0.05).tolist() == [False, True, True, False, False]


def test_levels_are_guessed_only_if_they_are_equal() -> None:
    town = Categorical("town", ("a", "b", "c"))
    assert close(np.array([0, 1]), np.array([0, 2]), town, 0.9).tolist() == [True, False]


@pytest.mark.parametrize(
    ("name", "settings", "named"),
    [
        (ALL[0], {"queries": 0}, "queries is 0"),
        (ALL[0], {"columns": 1.5}, "columns is 1.5"),
        (ALL[1], {"neighbours": 0}, "neighbours is 0"),
        (ALL[1], {"first": "age"}, "first is 'age'"),
        (ALL[2], {"tolerance": 1}, "tolerance is 1"),
        (ALL[2], {"secrets": "age"}, "secrets is 'age'"),
    ],
)
def test_settings_that_cannot_be_are_refused(name: str, settings: Any, named: str) -> None:
    with pytest.raises(InputError, match=named):
        registry.build("attack", name, settings)
