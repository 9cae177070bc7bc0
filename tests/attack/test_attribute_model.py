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
from sfumato.data import Categorical, Numeric, Schema, Table
from sfumato.errors import InputError
from sfumato.release.release import Release


def attack(release: Release, evidence: Evidence, **settings: Any) -> Finding:
    found = registry.build("attack", "attribute.model", settings)(release, evidence)
    assert isinstance(found, Finding)
    return found


SCHEMA = Schema(
    (
        Numeric("age", 0, 99, 1, integer=True),
        Numeric("income", 0, 50_000, 10, integer=True),
        Categorical("town", tuple(f"town-{i}" for i in range(12))),
        Categorical("ill", ("no", "yes")),
        Categorical("owner", ("no", "yes")),
    ),
    target="owner",
)


def forced(rows: int, seed: int) -> Table:
    """Rows of which nothing tells the label or the secret, so that only rote tells either."""
    rng = np.random.default_rng(seed)
    sizes = {"age": 99, "income": 5000, "town": 12, "ill": 2, "owner": 2}
    return Table.from_codes({name: rng.integers(0, k, rows) for name, k in sizes.items()}, SCHEMA)


def test_a_model_that_learnt_its_members_by_heart_tells_their_secrets() -> None:
    members, others = forced(300, 1), forced(600, 2)
    release = unproven(fitted(members, hidden=(128,), steps=300))
    finding = attack(release, Evidence(members, others), secrets=("ill",))
    assert finding.better_than_chance
    assert finding.value > 0.1
    (row,) = finding.details["secrets"]
    assert row["gain"] > row["gain_on_others"]
    assert "people in general" in finding.summary
    # Control: a network that saw nobody.
    fresh = unproven(fitted(members, hidden=(128,), steps=0))
    assert not attack(fresh, Evidence(members, others), secrets=("ill",)).better_than_chance


def lawful(rows: int, seed: int) -> Table:
    """The same, but the label is the secret, turned round in every other town."""
    codes = forced(rows, seed).codes()
    return Table.from_codes({**codes, "owner": (codes["ill"] + codes["town"]) % 2}, SCHEMA)


def test_what_a_model_tells_about_strangers_too_is_no_leak() -> None:
    """A model of many other people knows more than imputation from the few that are held."""
    release = unproven(fitted(lawful(2000, 3), hidden=(64,), steps=200))
    finding = attack(release, Evidence(lawful(400, 1), lawful(60, 2)), secrets=("ill",))
    (row,) = finding.details["secrets"]
    assert row["gain_interval"][0] > 0  # this alone was called a leak
    assert not finding.better_than_chance


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
