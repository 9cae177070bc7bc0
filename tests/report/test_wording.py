"""Sentences: bounds never rounded down, attacks never called proofs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfumato.privacy.events import GaussianDpEvent, PureDpEvent
from sfumato.privacy.guarantee import Central, Local
from sfumato.privacy.neighbours import Neighbours
from sfumato.release.card import figures_of
from sfumato.report import wording
from sfumato.report.bounds import bounds

Make = Callable[..., Any]


@given(st.floats(1e-6, 1e6))
def test_a_bound_is_never_printed_too_low(value: float) -> None:
    shown = float(wording.up(value))
    assert shown >= value * (1 - 1e-8)
    assert shown <= value * 1.002


@given(st.floats(0, 1))
def test_a_share_that_bounds_is_never_printed_too_low(value: float) -> None:
    shown = float(wording.share_up(value).split("\xa0")[0]) / 100
    assert value - 1e-9 <= shown <= value + 0.0011


@given(st.floats(0.0, 2.0))
def test_a_ceiling_is_never_printed_too_low(value: float) -> None:
    assert float(wording.bound(value)) >= value - 1e-8


def test_rounding_to_nearest_would_be_caught() -> None:
    # The planted defect: what the properties above are there to exclude.
    assert float(f"{0.62241:.3f}") < 0.62241 <= float(wording.bound(0.62241))
    assert float(f"{1.23441:.4g}") < 1.23441 <= float(wording.up(1.23441))


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (1e-6, "10⁻⁶"), (2.5e-7, "2.5 × 10⁻⁷"), (0.01, "10⁻²"), (9.999e-5, "10⁻⁴")],
)
def test_delta_is_written_by_hand(value: float, shown: str) -> None:
    assert wording.delta(value) == shown


def test_numbers_and_nouns() -> None:
    assert wording.up(math.inf) == "∞"
    assert wording.up(0.0) == "0"
    assert [wording.size(n) for n in (12, 4096, 3 << 20, 5 << 30)] == [
        "12 bytes",
        "4.0 KiB",
        "3.0 MiB",
        "5.0 GiB",
    ]
    assert [wording.plural(n, "class", "classes") for n in (1, 2000)] == [
        "1 class",
        "2,000 classes",
    ]
    assert [wording.article(n) for n in ("image", "row")] == ["an image", "a row"]
    assert wording.interval(None) == ""
    assert wording.interval((0.1, 0.2)) == "0.100–0.200"
    assert wording.interval((-0.1, 0.2)) == "−0.100 to 0.200"
    assert [wording.figure(v) for v in (-0.00021, 1e-7, 0.0)] == ["−0.00021", "1e-07", "0.000"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, "yes"),
        (False, "no"),
        (None, "none"),
        (0.1 + 0.2, "0.3"),
        ([1, 2.0], "1, 2"),
        ({"lower": 0, "upper": 9.5}, "0 to 9.5"),
        (
            {"lower": 0, "upper": 9, "granularity": 1, "missing": True, "outside": "clamp"},
            "0 to 9 in steps of 1; may be missing; values outside are clamped",
        ),
        (
            {"levels": ["a", "b"], "missing": True, "outside": "missing"},
            "a, b; may be missing; values outside become missing",
        ),
        ({"count": 1200, "sha256": "ab" * 32}, "1,200 levels, SHA-256 abababababab…"),
        ({"a": {"b": 1}}, "a: b: 1"),
    ],
)
def test_facts_fit_a_line(value: Any, shown: str) -> None:
    assert wording.fact_value(value) == shown


@pytest.mark.parametrize("relation", list(Neighbours))
def test_every_relation_is_worded(relation: Neighbours, make_release: Make) -> None:
    guarantee = Central(GaussianDpEvent(4.0), 1e-6, "patient", relation)
    card = make_release(guarantee="central").card
    card = replace(card, guarantee=guarantee.to_dict(), figures=figures_of(guarantee))
    figures = bounds(card)
    said = " ".join(
        (
            wording.statement(card),
            *wording.protects(card),
            wording.meaning(card, figures),
            wording.factor(card),
            wording.found_at(card, figures, 0.01),
        )
    )
    assert "patient" in said
    expected = {
        Neighbours.ADD_REMOVE: "adding or removing one patient",
        Neighbours.REPLACE_ONE: "changing one patient to any other value",
        Neighbours.ZERO_OUT: "blanking out one patient",
    }
    assert expected[relation] in said
    assert ("first of two values" in said) == (relation is Neighbours.REPLACE_ONE)
    assert relation.value in wording.epsilon_line(card)


def test_the_factor_is_e_to_the_epsilon(make_release: Make) -> None:
    card = make_release(guarantee="local").card
    assert "more than 2.72 times as likely" in wording.factor(card)
    assert "no exceptions" in wording.factor(card)
    noisy = Central(GaussianDpEvent(4.0), 1e-6)
    central = replace(card, guarantee=noisy.to_dict(), figures=figures_of(noisy))
    assert f"{wording.up(math.exp(noisy.epsilon()), 3)} times" in wording.factor(central)
    assert "allowance of δ\xa0=\xa010⁻⁶" in wording.factor(central)


def test_an_infinite_epsilon_is_not_a_number(make_release: Make) -> None:
    card = make_release(guarantee="local").card
    endless = replace(card, figures={**card.figures, "epsilon": None})
    assert "no finite ε" in wording.epsilon_line(endless)
    assert wording.factor(endless) == ""
    assert wording.statement(endless) == card.figures["statement"]


def test_the_local_statement_names_the_report(make_release: Make) -> None:
    guarantee = Local(PureDpEvent(1.0, "replace-one"), 0.0, "whole image")
    card = replace(
        make_release().card, guarantee=guarantee.to_dict(), figures=figures_of(guarantee)
    )
    assert wording.statement(card).startswith("Local differential privacy of each whole image with")
    assert "adding" not in wording.factor(card)


def test_a_metric_guarantee_without_distances_says_so(make_release: Make) -> None:
    card = make_release(guarantee="metric").card
    assert "same person: 2" in wording.protects(card)[1]
    bare = replace(card, guarantee={**card.guarantee, "typical_distances": {}})
    assert wording.protects(bare)[1] == "No typical distances were given."
    assert wording.not_promised(card) == ()


def test_a_metric_guarantee_with_a_worst_case_says_what_it_comes_to(make_release: Make) -> None:
    card = make_release(guarantee="metric bounded").card
    assert card.verify() == []
    said = wording.protects(card)[0]
    assert "Whatever the distance, ε\xa0=\xa01.5 holds between any two values" in said
    assert "no bound on attacks" not in said
    assert wording.epsilon_line(card) == "ε\xa0=\xa00.5 per unit of distance"


def test_a_confidence_of_nearly_all_is_not_said_to_be_all() -> None:
    """Eight attacks that hold together at 99 % were said to have their 100% interval."""
    assert [wording.level(c) for c in (0.5, 0.95, 0.99, 0.995, 1 - 0.01 / 8, 1 - 1e-9)] == [
        "50%",
        "95%",
        "99%",
        "99.5%",
        "99.87%",
        "99.99%",
    ]
