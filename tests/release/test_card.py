"""A card says the same after it was written, and its schema accepts nothing else."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from sfumato.errors import InputError
from sfumato.privacy import events
from sfumato.privacy.guarantee import Central
from sfumato.release.card import Card, figures_of, json_schema
from sfumato.release.release import Release

Make = Callable[..., Release]
VALIDATOR = Draft202012Validator(json_schema())


def errors_of(values: Any) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(values)]


def as_json(card: Card) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(card.to_json())
    return values


def test_a_card_is_the_same_after_a_round_trip(make: Make, any_guarantee: str) -> None:
    card = make(guarantee=any_guarantee).card
    back = Card.from_json(card.to_json())
    assert back.to_json() == card.to_json()
    assert back.facts == card.facts
    assert back.proven == card.proven
    assert back.proven.epsilon() == card.proven.epsilon()


def test_the_printed_figures_follow_from_the_event(make: Make, any_guarantee: str) -> None:
    assert make(guarantee=any_guarantee).card.verify() == []


@pytest.mark.parametrize(
    ("figure", "value"),
    [
        ("epsilon", 0.1),
        ("epsilon", None),
        ("delta", 1e-9),
        ("gdp_mu", 0.01),
        ("gdp_mu", "small"),
        ("tpr_ceiling", [[0.001, 0.001], [0.01, 0.01], [0.1, 0.1]]),
        ("tpr_ceiling", []),
        ("tpr_ceiling", None),
    ],
)
def test_a_touched_figure_is_found(figure: str, value: Any, make: Make) -> None:
    card = make().card
    touched = replace(card, figures={**card.figures, figure: value})
    (problem,) = touched.verify()
    assert problem.startswith(f"the card says {figure.replace('_', ' ')}")


def test_a_figure_of_an_unbounded_guarantee_cannot_be_added(make: Make) -> None:
    card = make(guarantee="empirical").card
    assert Card.verify(replace(card, figures={**card.figures, "epsilon": 1.0}))


def test_a_weaker_event_under_the_old_figures_is_found(make: Make) -> None:
    card = make().card
    weaker = Central(events.GaussianDpEvent(4.9), 1e-5).to_dict()
    assert len(replace(card, guarantee=weaker).verify()) == 3


def test_another_version_of_the_accountant_is_no_alarm(make: Make) -> None:
    card = make().card
    close = {**card.figures, "epsilon": card.figures["epsilon"] * (1 + 5e-5)}
    assert replace(card, figures=close).verify() == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "not a card of format 1"),
        ('{"sfumato_card": 2}', "not a card of format 1"),
        ('{"sfumato_card": 1}', "lacks release_id"),
    ],
)
def test_what_is_no_card_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Card.from_json(text)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("facts", [{"name": "x"}], "a fact of card.json"),
        ("facts", [{"name": "x", "value": 1, "provenance": "public", "more": 1}], "a fact"),
        ("facts", [3], "a fact of card.json"),
        ("facts", {}, "facts of card.json"),
        ("guarantee", [], "guarantee of card.json"),
        ("figures", None, "figures of card.json"),
        ("release_id", 7, "release_id of card.json"),
        ("unheard_of", 1, "has unheard_of"),
    ],
)
def test_a_damaged_card_is_refused_in_one_line(
    field: str, value: Any, message: str, make: Make
) -> None:
    values = {**as_json(make().card), field: value}
    with pytest.raises(InputError, match=message) as caught:
        Card.from_json(json.dumps(values))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("field", [f for f in json_schema()["required"] if f != "sfumato_card"])
def test_a_card_that_lacks_a_field_is_refused(field: str, make: Make) -> None:
    values = as_json(make().card)
    del values[field]
    with pytest.raises(InputError, match=f"lacks {field}"):
        Card.from_json(json.dumps(values))
    assert errors_of(values)


def test_a_card_never_holds_what_json_has_no_word_for(make: Make) -> None:
    card = make(plan={"scale": float("inf")}).card
    with pytest.raises(ValueError, match="JSON"):
        card.to_json()
    unbounded = figures_of(make(guarantee="empirical").card.proven)
    assert (unbounded["epsilon"], unbounded["gdp_mu"]) == (None, None)


# --- The committed schema ---


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize("kind", ["table", "images"])
def test_real_cards_are_valid(kind: str, make: Make, any_guarantee: str, tmp_path: Any) -> None:
    release = make(kind, any_guarantee)
    assert errors_of(as_json(release.card)) == []
    saved = release.save(tmp_path / "out")
    assert errors_of(json.loads((tmp_path / "out" / "card.json").read_text("utf-8"))) == []
    assert len(saved.card.artefact["files"]) == 2


def test_the_card_of_a_method_that_ran_is_valid() -> None:
    from sfumato import registry
    from sfumato.data import datasets
    from sfumato.privacy.budget import Budget
    from sfumato.privacy.ledger import Ledger

    members = datasets.load("census-sample").head(500)
    method = registry.build("method", "tables.independent")
    run = method.calibrate(Budget(1.0, 1e-6), members.schema)
    assert errors_of(as_json(run(members, ledger=Ledger.in_memory()).card)) == []


def test_the_schema_names_every_event_there_is() -> None:
    named = {
        option["properties"]["type"]["const"] for option in json_schema()["$defs"]["event"]["oneOf"]
    }
    assert named == set(events._FIELDS)
    for option in json_schema()["$defs"]["event"]["oneOf"]:
        name = option["properties"]["type"]["const"]
        assert set(option["properties"]) == {"type", *events._FIELDS[name][1]}


BROKEN: list[tuple[tuple[str | int, ...], Any]] = [
    (("more",), 1),
    (("sfumato_card",), 2),
    (("release_id",), ""),
    (("created",), "yesterday"),
    (("method", "name"), 3),
    (("method", "more"), 3),
    (("guarantee", "kind"), "vague"),
    (("guarantee", "delta"), 1.0),
    (("guarantee", "delta"), -1e-9),
    (("guarantee", "neighbours"), "similar"),
    (("guarantee", "unit"), ""),
    (("guarantee", "epsilon"), 1.0),
    (("guarantee", "event", "type"), "TrustMeDpEvent"),
    (("guarantee", "event", "noise_multiplier"), -1.0),
    (("guarantee", "event", "noise_multiplier"), "large"),
    (("guarantee", "event", "more"), 1),
    (("figures", "epsilon"), -1.0),
    (("figures", "epsilon"), "small"),
    (("figures", "tpr_ceiling"), [[0.1]]),
    (("figures", "tpr_ceiling"), [[0.1, 1.5]]),
    (("figures", "tpr_ceiling"), [[0.1, 0.2, 0.3]]),
    (("figures", "attack_auc"), 0.5),
    (("plan",), []),
    (("facts", 0, "provenance"), "looked"),
    (("facts", 0, "provenance"), "private"),
    (("facts", 0, "more"), 1),
    (("caveats",), [""]),
    (("ledger", "entry"), "none"),
    (("ledger", "sequence"), -1),
    (("ledger", "sequence"), 1.5),
    (("noise", "secure"), "yes"),
    (("noise", "seed"), 4),
    (("seeds", "sampling"), "x"),
    (("artefact", "kind"), "model.pkl"),
    (("artefact", "files"), [{"name": "../rows.csv", "sha256": "a" * 64, "bytes": 1}]),
    (("artefact", "files"), [{"name": "/rows.csv", "sha256": "a" * 64, "bytes": 1}]),
    (("artefact", "files"), [{"name": "rows.csv", "sha256": "a", "bytes": 1}]),
    (("versions", "python"), 3),
    (("evaluation",), {"findings": []}),
]


@pytest.mark.parametrize(("where", "value"), BROKEN, ids=lambda v: str(v)[:40])
def test_broken_cards_are_rejected(where: tuple[str | int, ...], value: Any, make: Make) -> None:
    values = as_json(make().card)
    assert errors_of(values) == []
    broken = copy.deepcopy(values)
    at: Any = broken
    for step in where[:-1]:
        at = at[step]
    at[where[-1]] = value
    assert errors_of(broken)


def test_a_local_guarantee_under_another_relation_is_rejected(make: Make) -> None:
    values = as_json(make(guarantee="local").card)
    values["guarantee"]["neighbours"] = "add-remove"
    assert errors_of(values)


def test_fields_of_one_kind_of_guarantee_do_not_fit_another(make: Make) -> None:
    for kind, other in (("empirical", "gaussian"), ("metric", "empirical"), ("local", "metric")):
        values = as_json(make(guarantee=kind).card)
        values["guarantee"] = {
            **as_json(make(guarantee=other).card)["guarantee"],
            "kind": values["guarantee"]["kind"],
        }
        assert errors_of(values)
