"""The record holds every field that a privacy officer checks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from sfumato.data import Fact
from sfumato.privacy import events
from sfumato.privacy.events import (
    ComposedDpEvent,
    DiscreteLaplaceDpEvent,
    GaussianDpEvent,
    PoissonSampledDpEvent,
    SelfComposedDpEvent,
)
from sfumato.privacy.guarantee import Central
from sfumato.release.card import Card, figures_of
from sfumato.report import record
from sfumato.report.bounds import bounds

Make = Callable[..., Any]


def lines(card: Card) -> dict[str, record.Row]:
    return {row.name: row for row in record.rows(card, bounds(card))}


def with_event(card: Card, event: Any, delta: float = 1e-5) -> Card:
    guarantee = Central(event, delta)
    return replace(card, guarantee=guarantee.to_dict(), figures=figures_of(guarantee))


def test_every_required_field_is_there(make_release: Make) -> None:
    found = lines(make_release().card)
    required = {
        "Guarantee",
        "As the card says it",
        "Unit",
        "Neighbours",
        "δ",
        "ε at other δ",
        "ε under replace-one",
        "Gaussian DP",
        "Best true-positive rate",
        "Accountant",
        "Sampler",
        "Noise",
        "Arithmetic",
        "Tuning",
        "Ledger entry",
        "Release",
        "Created",
        "Seeds",
        "Check",
    }
    assert required == set(found)
    assert "regret" in found["Gaussian DP"].value
    assert found["Seeds"].value == "sampling 11"
    assert found["Ledger entry"].value == f"no. 7, {'cd' * 32}"
    assert found["Check"].value == "the printed figures agree with the event"


def test_what_is_unknown_is_said_to_be(make_release: Make) -> None:
    card = make_release(seeds={}, facts=()).card
    found = lines(card)
    assert found["Seeds"].value == "none"
    assert "not public" in found["δ"].note
    unbounded = lines(make_release(guarantee="empirical").card)
    assert "ε under replace-one" not in unbounded
    assert unbounded["Guarantee"].value == "no guarantee"
    card = make_release().card
    blind = replace(bounds(card), other_epsilon=None)
    rows = {row.name: row.value for row in record.rows(card, blind)}
    assert rows["ε under replace-one"] == "none known"


def test_the_rule_for_delta_is_checked(make_release: Make) -> None:
    few = lines(make_release(facts=(Fact("records", 400),)).card)
    many = lines(make_release(facts=(Fact("records", 1_000_000),)).card)
    assert few["δ"].note.startswith("Below 1/(10 × records)")
    assert many["δ"].note.startswith("Above 1/(10 × records)")
    assert lines(make_release(guarantee="local").card)["δ"].note == "Pure: no allowance."


def test_a_touched_figure_shows_in_the_check(make_release: Make) -> None:
    card = make_release().card
    touched = replace(card, figures={**card.figures, "gdp_mu": 0.01})
    assert "the card says gdp mu 0.01" in lines(touched)["Check"].value


def test_sampler_and_arithmetic_follow_from_the_event(make_release: Make) -> None:
    card = make_release().card
    sampled = SelfComposedDpEvent(PoissonSampledDpEvent(0.01, GaussianDpEvent(1.0)), 10)
    assert lines(with_event(card, sampled))["Sampler"].value == "Poisson"
    assert lines(with_event(card, sampled))["Arithmetic"].value.startswith("steps of a public grid")
    counted = ComposedDpEvent([DiscreteLaplaceDpEvent(0.1, 1), DiscreteLaplaceDpEvent(0.2, 1)])
    assert lines(with_event(card, counted))["Sampler"].value == "none: every record is used"
    assert lines(with_event(card, counted))["Arithmetic"].value.startswith("integers throughout")


def test_noise_that_can_be_repeated_is_said_to_be_insecure(make_release: Make) -> None:
    found = lines(make_release(noise={"source": "seeded (tests only)", "secure": False}).card)
    assert found["Noise"].note.startswith("Not secure")


def test_the_tree_names_every_event_and_counts_equal_ones() -> None:
    event = ComposedDpEvent(
        [
            GaussianDpEvent(2.0),
            GaussianDpEvent(2.0),
            SelfComposedDpEvent(PoissonSampledDpEvent(0.5, GaussianDpEvent(3.0)), 1200),
            events.PureDpEvent(0.5, "add-remove"),
        ]
    )
    root = record.tree(events.to_dict(event))
    assert root is not None
    assert root.label == "All of these, on the same records"
    twice, repeated, pure = root.children
    assert (twice.label, len(twice.children)) == ("2 times", 1)
    assert twice.children[0].label == "Gaussian noise: noise multiplier 2"
    assert repeated.label == "1,200 times"
    assert repeated.children[0].label == "On a Poisson sample of the records, rate 0.5"
    assert pure.label == "A pure ε-DP mechanism: epsilon 0.5, neighbours add-remove"
    assert record.tree(None) is None


@pytest.mark.parametrize("name", sorted(events._FIELDS))
def test_every_kind_of_event_has_words(name: str) -> None:
    assert name in record._EVENTS


def test_ceilings_are_rounded_up(make_release: Make) -> None:
    card = make_release().card
    line = lines(card)["Best true-positive rate"].value.replace("\xa0", " ")
    assert [part.split(" % at ")[1] for part in line.split("; ")] == [
        "0.1 %",
        "1 %",
        "10 % false positives",
    ]
    for part, (_, exact) in zip(line.split("; "), card.figures["tpr_ceiling"], strict=True):
        assert float(part.split(" %")[0]) >= 100 * exact
