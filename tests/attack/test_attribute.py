from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sfumato.attack import Evidence
from sfumato.attack.attribute import Inference
from sfumato.data import Categorical, Schema, Table
from sfumato.errors import InputError


def test_what_anybody_could_infer_is_no_leak(make_release: Any) -> None:
    """A column that follows from another is guessed for everybody: the advantage is nil."""
    schema = Schema(
        (Categorical("cause", tuple("abcdef")), Categorical("effect", tuple("uvwxyz"))), "effect"
    )

    def rows(seed: int) -> Table:
        cause = np.random.default_rng(seed).integers(0, 6, 300)
        return Table.from_codes({"cause": cause, "effect": (cause + 1) % 6}, schema)

    members = rows(1)
    finding = Inference(secrets=("effect",))(make_release(members), Evidence(members, rows(2)))
    (row,) = finding.details["secrets"]
    assert row["accuracy"] == {"members": 1.0, "non_members": 1.0}
    assert finding.value == 0.0
    assert not finding.better_than_chance


def test_secrets_default_to_the_target_and_categorical_columns(
    make_people: Any, make_release: Any
) -> None:
    members = make_people(100, 1)
    evidence = Evidence(members, make_people(100, 2))
    finding = Inference()(make_release(members), evidence)
    assert [row["secret"] for row in finding.details["secrets"]] == ["owner", "town", "job"]
    untargeted = make_release(members.with_target(None))
    assert [
        row["secret"] for row in Inference(max_secrets=5)(untargeted, evidence).details["secrets"]
    ] == ["town", "job", "owner", "age", "income"]


def test_numbers_are_guessed_to_within_public_bins(make_people: Any, make_release: Any) -> None:
    members = make_people(300, 1)
    evidence = Evidence(members, make_people(300, 2))
    finding = Inference(secrets=("income", "degree"), bins=5)(make_release(members), evidence)
    assert finding.details["secret"] in ("income", "degree")
    assert finding.better_than_chance
    for row in finding.details["secrets"]:
        assert row["accuracy"]["members"] > 0.9
        assert 0 < row["majority"]["non_members"] < 1


def test_intervals_of_several_secrets_hold_together(make_people: Any, make_release: Any) -> None:
    members = make_people(200, 1)
    evidence = Evidence(members, make_people(200, 2))
    release = make_release(make_people(200, 3))
    (alone,) = Inference(secrets=("town",))(release, evidence).details["secrets"]
    both = Inference(secrets=("town", "job"))(release, evidence).details["secrets"]
    wide, narrow = both[0]["interval"], alone["interval"]
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_unknown_secrets_and_single_columns_are_refused(
    make_people: Any, make_release: Any
) -> None:
    table = make_people(40, 1)
    with pytest.raises(InputError, match="no column 'towns'"):
        Inference(secrets=("towns",))(make_release(table), Evidence(table, table))
    schema = Schema((Categorical("x", ("a", "b")),))
    single = Table.from_codes({"x": np.zeros(30, int)}, schema)
    with pytest.raises(InputError, match="one column"):
        Inference()(make_release(single), Evidence(single, single))


def test_imputation_without_the_release_stands_beside_the_attack(
    make_people: Any, make_release: Any
) -> None:
    """What imputes as well as the attack shows that the attack tells nothing about persons."""
    members, others = make_people(200, 1), make_people(200, 2)
    evidence = Evidence(members, others)
    finding = Inference(secrets=("owner", "income"))(make_release(members), evidence)
    owner, income = finding.details["secrets"]
    assert 0.55 < owner["imputation"]["members"] < 0.9 < owner["accuracy"]["members"]
    assert abs(owner["imputation"]["members"] - owner["imputation"]["non_members"]) < 0.2
    assert 0 < income["imputation"]["members"] < 0.9
    given = Evidence(members, others, auxiliary=make_people(300, 3))
    (again,) = Inference(secrets=("owner",))(make_release(members), given).details["secrets"]
    assert 0.55 < again["imputation"]["members"] < 0.9
    assert "never saw the release" in finding.summary


def test_the_commonest_value_is_not_read_off_whom_it_is_judged_on(
    make_release: Any,
) -> None:
    """Of the halves each is guessed by the other's commonest; auxiliary records say it for all."""
    schema = Schema((Categorical("x", ("a", "b")), Categorical("y", ("a", "b"))), "y")

    def rows(y: list[int]) -> Table:
        return Table.from_codes({"x": np.zeros(len(y), int), "y": np.array(y)}, schema)

    members, turns, known = rows([0] * 30 + [1] * 10), rows([0, 1] * 20), rows([1] * 40)
    release = make_release(members)
    (row,) = Inference(secrets=("y",))(release, Evidence(members, turns)).details["secrets"]
    assert row["majority"]["non_members"] == 0.0  # was 0.5
    evidence = Evidence(members, rows([0] * 40), auxiliary=known)
    (row,) = Inference(secrets=("y",))(release, evidence).details["secrets"]
    assert row["majority"] == {"members": 0.25, "non_members": 0.0}  # was 0.75 and 1


def test_labels_of_pictures_are_imputed_too(make_pictures: Any, make_release: Any) -> None:
    members, others = make_pictures(60, 1), make_pictures(60, 2)
    (row,) = Inference()(make_release(members), Evidence(members, others)).details["secrets"]
    assert row["imputation"]["members"] > 0.8
    # Auxiliary records of one class: that class is the commonest for everybody.
    left = make_pictures(90, 3)
    left = left.select(np.flatnonzero(left.labels == 0))
    evidence = Evidence(members, others, auxiliary=left)
    (row,) = Inference()(make_release(members), evidence).details["secrets"]
    assert row["majority"]["members"] == np.mean(members.labels == 0)
    assert row["majority"]["non_members"] == np.mean(others.labels == 0)
