"""Secrets from a model's answers: more than imputation for those whom it learnt by heart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.attack.overfitted import census, digits, fitted, unproven

from sfumato import registry
from sfumato.attack import Evidence
from sfumato.attack.attribute_model import beyond, paired
from sfumato.attack.finding import Finding
from sfumato.data import Categorical, Numeric, Schema, Table
from sfumato.errors import InputError
from sfumato.measure import intervals
from sfumato.release.foreign.interface import Interface, numbers_of
from sfumato.release.foreign.model import ForeignModel
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


def answering(known: Table, true: float, other: float, stranger: tuple[float, float]) -> Release:
    """A model that answers by rote.

    Args:
        known: Rows that it knows.
        true: What it says of a known row's label.
        other: What it says of that label where the row is right but for ``ill``.
        stranger: What it says of the label ``ill`` of somebody who is not ill, and who is.
    """
    codes = known.codes()
    names = [column.name for column in SCHEMA.features]
    matrix = numbers_of(SCHEMA, np.stack([codes[name] for name in names], axis=1))
    ill = names.index("ill")
    by_rote = {
        tuple(np.delete(row, ill)): (row[ill], label)
        for row, label in zip(matrix, codes["owner"], strict=True)
    }

    def answer(rows: Any) -> Any:
        found = np.empty((len(rows), 2))
        for i, row in enumerate(np.asarray(rows)):
            rest = tuple(np.delete(row, ill))
            if rest in by_rote:
                value, label = by_rote[rest]
                sure = true if value == row[ill] else other
            else:
                label, sure = int(row[ill]), stranger[int(row[ill])]
            found[i, int(label)], found[i, 1 - int(label)] = sure, 1 - sure
        return found

    how = Interface(rows="numbers", outputs="probabilities")
    return unproven(ForeignModel.of(answer, SCHEMA, name="rote", interface=how))


def test_a_little_more_certainty_of_the_true_record_is_memory() -> None:
    """0.9999 against 0.95: to the logarithm less than what the forest's guesses differ by."""
    members, others = forced(300, 1), forced(600, 2)
    release = answering(members, 0.9999, 0.95, (0.5, 0.5))
    finding = attack(release, Evidence(members, others), secrets=("ill",))
    assert finding.better_than_chance
    assert finding.details["secrets"][0]["accuracy"]["members"] > 0.95
    # Control: it knows other people as well.
    release = answering(forced(300, 3), 0.9999, 0.95, (0.5, 0.5))
    assert not attack(release, Evidence(members, others), secrets=("ill",)).better_than_chance


def mirrored(rows: int, seed: int) -> Table:
    """Rows of which three in four have the secret for a label."""
    codes = forced(rows, seed).codes()
    flip = np.random.default_rng(seed + 100).random(rows) < 0.25
    return Table.from_codes({**codes, "owner": codes["ill"] ^ flip}, SCHEMA)


def test_misleading_about_strangers_tells_nothing_of_members() -> None:
    """The label is the secret; of strangers the model says the opposite, of members nothing."""
    members, others = mirrored(300, 1), mirrored(600, 2)
    release = answering(members, 0.5, 0.5, (0.01, 0.01))
    finding = attack(release, Evidence(members, others), secrets=("ill",))
    (row,) = finding.details["secrets"]
    assert row["gain"] - row["gain_on_others"] > 0.3
    assert finding.value == row["gain"]
    assert not finding.better_than_chance


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


def test_the_interval_beyond_strangers_covers_as_stated() -> None:
    """1,000 pairs of studies in which both bounds bind: missed below 7 % (5 % stated, at 1e-3)."""
    rng, missed = np.random.default_rng(0), 0
    each = 1 - 0.05 / 2
    for _ in range(1000):
        rates = np.array([[0.7, 0.6], [0.6, 0.6]])  # members gain 0.1, strangers nothing
        sides = rng.random((2, 2, 200)) < rates[:, :, None]
        gains = [float(a.mean() - b.mean()) for a, b in sides]
        around = [paired(a, b, each) for a, b in sides]
        _, (low, high) = beyond((gains[0], gains[1]), (around[0], around[1]))
        missed += not low <= 0.1 <= high
    assert missed < 70
    value, interval = beyond((0.1, 0.2), ((0.0, 0.2), (0.1, 0.3)))
    assert value == pytest.approx(-0.1)
    assert interval == pytest.approx(intervals.of_difference((0.1, 0.2), ((0.0, 0.2), (0.1, 0.3))))
