"""Secrets from a model's answers: more than imputation for those whom it learnt by heart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.attack.overfitted import census, digits, fitted, unproven

from sfumato import registry
from sfumato.attack import Evidence
from sfumato.attack.attribute_model import paired
from sfumato.attack.finding import Finding
from sfumato.data import Table
from sfumato.errors import InputError
from sfumato.release.release import Release


def attack(release: Release, evidence: Evidence, **settings: Any) -> Finding:
    found = registry.build("attack", "attribute.model", settings)(release, evidence)
    assert isinstance(found, Finding)
    return found


def forced(make_people: Any, seed: int) -> Table:
    """Rows whose label is a secret function of town and job, which differs from row to row."""
    table = make_people(200, seed)
    owner = np.random.default_rng(50 + seed).integers(0, 2, 200)
    return Table.from_codes({**table.codes(), "owner": owner}, table.schema)


def test_a_model_that_learnt_its_members_by_heart_tells_their_secrets(make_people: Any) -> None:
    members, others = forced(make_people, 1), forced(make_people, 2)
    release = unproven(fitted(members, hidden=(128,), steps=300))
    finding = attack(release, Evidence(members, others), secrets=("town", "job"))
    assert finding.better_than_chance
    assert finding.value > 0.05
    worst = next(r for r in finding.details["secrets"] if r["secret"] == finding.details["secret"])
    assert worst["gain"] > worst["gain_on_others"]
    # Control: a network that saw nobody.
    fresh = unproven(fitted(members, hidden=(128,), steps=0))
    assert not attack(fresh, Evidence(members, others), secrets=("town", "job")).better_than_chance


def test_secrets_default_to_columns_of_few_values() -> None:
    release = unproven(fitted(census("train"), steps=5))
    finding = attack(release, Evidence(census("train"), census("test")), max_targets=100)
    assert len(finding.details["secrets"]) == 3
    target = census("train").schema.target
    assert target not in [row["secret"] for row in finding.details["secrets"]]


def test_what_cannot_be_tried_is_refused() -> None:
    release = unproven(fitted(census("train"), steps=0))
    evidence = Evidence(census("train"), census("test"))
    with pytest.raises(InputError, match="trying its values"):
        attack(release, evidence, secrets=(str(census("train").schema.target),))
    pictures = digits("train", 0, 60)
    with pytest.raises(InputError, match="takes pictures"):
        attack(unproven(fitted(pictures, steps=0)), Evidence(pictures, digits("test", 0, 60)))


def test_the_paired_interval_covers_as_stated() -> None:
    """1,000 pairs of equal rates: missed at most 5 % of the time (here below 7 %, at 1e-3)."""
    rng, missed = np.random.default_rng(0), 0
    for _ in range(1000):
        one, other = rng.random((2, 200)) < 0.6
        low, high = paired(one, other, 0.95)
        missed += not low <= 0 <= high
    assert missed < 70
    low, high = paired(np.ones(50, bool), np.zeros(50, bool), 0.95)
    assert 0.8 < low < high <= 1
