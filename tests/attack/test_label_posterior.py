"""Labels from what was released: more of members' than anybody else could tell."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.attack.overfitted import digits, fitted, unproven

from sfumato import registry
from sfumato.attack import Evidence
from sfumato.attack.finding import Finding
from sfumato.attack.label import score
from sfumato.data import Table
from sfumato.errors import InputError


def attack(release: Any, evidence: Evidence, **settings: Any) -> Finding:
    found = registry.build("attack", "label.posterior", settings)(release, evidence)
    assert isinstance(found, Finding)
    return found


def guessed(make_people: Any, rows: int, seed: int) -> Table:
    """Rows whose target says nothing about them, nor they about it."""
    table = make_people(rows, seed)
    owner = np.random.default_rng(1000 + seed).integers(0, 2, rows)
    return Table.from_codes({**table.codes(), "owner": owner}, table.schema)


def test_a_model_that_learnt_labels_by_heart_tells_them(make_people: Any) -> None:
    members, others = guessed(make_people, 150, 1), guessed(make_people, 200, 2)
    finding = attack(unproven(fitted(members, hidden=(64,), steps=300)), Evidence(members, others))
    assert finding.value > 0.6
    assert finding.better_than_chance
    assert finding.details["members_minus_non_members"][1] > 0.2
    # Control: the same model, and people it never saw.
    control = attack(
        unproven(fitted(members, hidden=(64,), steps=300)),
        Evidence(guessed(make_people, 150, 3), others),
    )
    assert not control.better_than_chance


def test_what_a_model_of_the_population_tells_is_no_leak(make_people: Any) -> None:
    members, others = make_people(200, 1), make_people(400, 2)
    finding = attack(unproven(make_people(400, 3)), Evidence(members, others))
    assert finding.details["success_rate"]["members"] > 0.6
    assert not finding.better_than_chance


def test_what_the_attacker_has_too_few_records_to_know_is_no_leak(make_people: Any) -> None:
    """The release is of other people, and tells more than the twenty that the attacker holds."""
    release = unproven(make_people(1000, 3))
    finding = attack(release, Evidence(make_people(600, 1), make_people(46, 2)))
    rates = finding.details["success_rate"]
    assert finding.interval[0] > score(finding.details["without_the_release"], 2)  # once a leak
    assert not finding.better_than_chance
    assert finding.details["population"] > rates["non_members"]
    assert "people in general" in finding.summary


def test_released_labels_of_aligned_rows_are_bounded_by_the_guarantee(
    make_people: Any, make_release: Any, make_pure: Any
) -> None:
    members, others = guessed(make_people, 300, 1), guessed(make_people, 200, 2)
    leaky = attack(make_release(members, make_pure(1.0), aligned=True), Evidence(members, others))
    assert leaky.value == 1.0
    assert leaky.breaks_guarantee
    flipped = members.codes()["owner"] ^ (np.random.default_rng(0).random(300) < 1 / (1 + np.e))
    honest = Table.from_codes({**members.codes(), "owner": flipped}, members.schema)
    finding = attack(make_release(honest, make_pure(1.0), aligned=True), Evidence(members, others))
    assert finding.better_than_chance
    assert not finding.breaks_guarantee
    assert finding.ceiling == pytest.approx(2 * np.e / (np.e + 1) - 1, abs=0.1)


def test_pictures_and_given_auxiliary_records_work_too() -> None:
    members, others = digits("train", 0, 100), digits("test", 0, 100)
    evidence = replace(Evidence(members, others), auxiliary=digits("train", 200, 100))
    finding = attack(unproven(fitted(members, hidden=(32,))), evidence)
    assert finding.details["success_rate"]["members"] > 0.95


def test_too_few_non_members_to_set_some_aside_are_refused(make_people: Any) -> None:
    members = make_people(60, 1)
    with pytest.raises(InputError, match="set half of them aside"):
        attack(unproven(members), Evidence(members, make_people(30, 2)))
