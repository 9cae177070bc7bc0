"""A person with several records counts once, and is on one side of every split."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.attack.overfitted import fitted, unproven

from sfumato import registry
from sfumato.attack import Evidence, auxiliary, persons, suite, targets
from sfumato.attack.distance import Distance
from sfumato.attack.domias import Domias
from sfumato.attack.membership.game import play
from sfumato.data import Categorical, ImageSet, Numeric, Schema, Table
from sfumato.errors import InputError
from sfumato.measure import evaluation


def pictures(people: int, each: int, seed: int) -> ImageSet:
    """Nearly equal pictures of each person."""
    rng = np.random.default_rng(seed)
    own = rng.uniform(0, 1, (people, 1, 1, 8, 8))
    found = np.clip(own + 0.03 * rng.standard_normal((people, each, 1, 8, 8)), 0, 1)
    return ImageSet.from_arrays(
        found.reshape(-1, 1, 8, 8).astype(np.float32),
        np.repeat(rng.integers(0, 2, people), each),
        ("a", "b"),
        identity=np.repeat(np.arange(people), each) + 1000 * seed,
    )


def patients(people: int, each: int, seed: int) -> Table:
    """Rows of patients, of whom each has the same values in all of theirs."""
    import pandas as pd

    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": np.repeat(rng.integers(0, 99, people), each),
            "ill": np.repeat(rng.choice(["no", "yes"], people), each),
            "patient": np.repeat([f"{seed}-{k}" for k in range(people)], each),
        }
    )
    columns = (Numeric("age", 0, 99, 1, integer=True), Categorical("ill", ("no", "yes")))
    return Table.from_pandas(frame, Schema(columns, target="ill", unit="patient"))


MAKERS = [pictures, patients]


@pytest.mark.parametrize("make", MAKERS)
def test_nobody_is_on_both_sides(make: Any) -> None:
    one, other, third = make(30, 2, 1), make(30, 2, 2), make(30, 2, 3)
    Evidence(one, other, third)
    for parts in ((one, one), (one, other, one), (one, other, other)):
        with pytest.raises(InputError, match="30 of the persons"):
            Evidence(*parts)


@pytest.mark.parametrize("make", MAKERS)
def test_persons_are_counted_not_records(make: Any) -> None:
    with pytest.raises(InputError, match="76 members of 19 persons are too few"):
        Evidence(make(19, 4, 1), make(30, 4, 2))
    with pytest.raises(InputError, match="30 non-members are too few to set half"):
        auxiliary.parted(Evidence(make(30, 4, 1), make(30, 4, 2)), 0)


def test_an_image_of_nobody_is_refused() -> None:
    some = pictures(30, 2, 1)
    some.identity = np.where(np.arange(60) == 7, "", some.identity.astype(str))
    with pytest.raises(InputError, match="record 7 has no identity"):
        Evidence(some, pictures(30, 2, 2))


@pytest.mark.parametrize("make", MAKERS)
def test_one_record_of_each_person_is_attacked(make: Any) -> None:
    members, others = make(40, 5, 1), make(60, 3, 2)
    for seed in range(3):
        sides = targets.balanced(Evidence(members, others), 1000, np.random.default_rng(seed))
        for data, rows in zip((members, others), sides, strict=True):
            assert len(rows) == len(np.unique(persons.of(data)[rows])) == 40
            assert (np.diff(rows) > 0).all()
    drawn = [persons.one_each(members, np.random.default_rng(s)) % 5 for s in range(3)]
    assert len(np.unique(np.concatenate(drawn))) == 5  # not always the first


def test_without_persons_nothing_is_drawn_and_all_are_taken(make_people: Any) -> None:
    rng = np.random.default_rng(0)
    assert np.array_equal(persons.one_each(make_people(30, 1), rng), np.arange(30))
    assert rng.random() == np.random.default_rng(0).random()


@pytest.mark.parametrize("make", MAKERS)
def test_what_the_attacker_holds_is_of_other_people(make: Any) -> None:
    members, others = make(60, 2, 1), make(80, 3, 2)
    evidence, whose = Evidence(members, others), persons.of(others)
    rng = np.random.default_rng(0)
    domias = replace(Domias(), max_reference=10**6)
    reference, left = domias._reference(evidence, rng)
    assert len(left) == len(np.unique(whose[left]))
    assert len(reference) == 3 * (80 - len(left))  # all records of everybody else
    used = targets.balanced(evidence, 40, rng)[1]
    spare, _ = Distance()._reference(evidence, used, rng)
    assert spare is not None
    assert len(spare) == 3 * (80 - len(used))
    judged, held = auxiliary.parted(evidence, 0)
    assert judged.shared_persons(held) == 0


@pytest.mark.parametrize("make", MAKERS)
def test_the_game_of_membership_is_of_persons(make: Any) -> None:
    members, others = make(50, 4, 1), make(90, 4, 2)
    release = unproven(fitted(members, hidden=(8,), steps=0))
    attack = registry.build("attack", "membership.loss", {})
    game = play(attack, release, Evidence(members, others), 0, auxiliary=1000, pool=1000)
    assert len(game.members) == len(game.others) == 45
    assert len(game.auxiliary) == 45
    assert len(game.pool) == 50 + 45


@pytest.mark.parametrize("make", MAKERS)
def test_whether_non_members_can_be_halved_is_a_matter_of_persons(make: Any) -> None:
    """By records, 100 of 25 persons would be enough, and the attack would refuse afterwards."""
    few, many = (Evidence(make(30, 4, 1), make(people, 4, 2)) for people in (25, 40))
    both = {"membership.entropy", "membership.quantile"}
    assert not both & set(suite.planned("model", few, None))
    assert both <= set(suite.planned("model", many, None))
    assert both <= set(suite.planned("model", replace(few, auxiliary=make(20, 1, 3)), None))
    with pytest.raises(InputError, match=r"100 non-members of 25 persons are too few for member"):
        suite.planned("model", few, ["membership.loss", "membership.entropy[max_auxiliary=50]"])
    assert suite.planned(make(1, 1, 0).kind, few, ["membership.domias"])


def test_several_pictures_of_a_person_are_no_leak() -> None:
    """Members and others are strangers to the release; by row, the attacker without it looked
    certain: he had seen everybody's other pictures."""
    members, others = pictures(60, 6, 1), pictures(60, 6, 2)
    names = ["membership.distance", "membership.domias"]
    for finding in suite.run(
        unproven(pictures(200, 1, 3)), Evidence(members, others), attacks=names
    ):
        assert not finding.better_than_chance
        assert finding.baseline is not None
        assert abs(finding.baseline - 0.5) < 0.35  # 30 against 30: 4.6 standard errors
        assert finding.details["targets"] <= 60


def test_a_sample_still_knows_whose_its_rows_are() -> None:
    table = patients(100, 3, 1)
    sample = table.sample(120, 0).with_target("age")
    whose = persons.of(sample)
    assert sample.schema.unit is None
    assert 40 < persons.count(sample) <= 100
    rest, held = sample.split(0.5, 0)
    ages = [set(part.codes()["age"].tolist()) for part in (rest, held)]
    assert len(rest) + len(held) == 120
    assert persons.count(rest) + persons.count(held) == len(np.unique(whose))
    assert ages[0] != ages[1]
    assert len(persons.of(sample.head(10))) == 10
    assert np.array_equal(persons.of(sample.select("age")), whose)


def test_persons_of_a_part_of_a_table_are_numbered_without_gaps() -> None:
    """Drawn by numbers that have gaps, hardly anybody would be left for the attacker's sample."""
    part = patients(600, 2, 1).sample(200, 0)
    whose = part.whose()
    assert whose is not None
    assert whose.max() >= persons.count(part)  # what it would be without
    assert set(persons.of(part).tolist()) == set(range(persons.count(part)))
    game = Evidence(patients(600, 2, 2).sample(200, 0), part)
    attack = Domias(max_targets=20)
    reference, _ = attack._reference(game, np.random.default_rng(0))
    taken = max(persons.count(part) - 20, persons.count(part) // 2)
    assert len(reference) >= taken  # a row of each, at least


def test_a_large_evaluation_looks_at_persons_before_it_samples(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(evaluation, "SAMPLE", 30)
    table = patients(40, 2, 1)
    with pytest.raises(InputError, match="40 of the persons"):
        evaluation.evaluate(unproven(table.without_unit()), table, table)


def test_images_are_split_by_person_whoever_else_is_there() -> None:
    data = pictures(100, 4, 1)
    rest, held = data.split(0.3, 5)
    assert rest.shared_persons(held) == 0
    assert len(rest) + len(held) == 400
    assert data.identity is not None
    fewer = data.select(np.flatnonzero(data.identity != 1042))
    assert held.identity is not None
    again = fewer.split(0.3, 5)[1].identity
    assert again is not None
    assert set(again) == set(held.identity) - {1042}


def test_a_person_whose_pictures_come_back_counts_once() -> None:
    members, others = pictures(40, 5, 1), pictures(40, 5, 2)
    rows = np.concatenate([np.arange(5), np.arange(50, 55)])
    copies = members.select(np.concatenate([rows, rows]))
    built = registry.build("attack", "memorisation.nearest", {})
    finding = built(unproven(copies), Evidence(members, others))
    assert finding.details["reproduced"] == {"training": 2, "held_out": 0}
    assert finding.details["persons"] == {"training": 40, "held_out": 40}
    assert finding.value == pytest.approx(2 / 40)


@pytest.mark.parametrize("limit", [20_000, 60])
def test_one_picture_of_every_member_is_found_however_few_are_held_out(limit: int) -> None:
    """Of as many pictures on either side, most of a member's were not looked for."""
    rng = np.random.default_rng(0)
    shown = rng.random((625, 1, 8, 8)).astype(np.float32)
    whose = np.arange(125).repeat(5)
    data = ImageSet.from_arrays(shown, np.arange(625) % 2, ("a", "b"), identity=whose)
    members, others = data.select(np.arange(500)), data.select(np.arange(500, 625))
    released = members.select(np.arange(0, 500, 5))
    attack = registry.build("attack", "memorisation.nearest", {"max_targets": limit})
    finding = attack(unproven(released), Evidence(members, others))
    people = min(25, limit // 5)
    assert finding.details["persons"] == {"training": people, "held_out": people}
    assert finding.details["reproduced"] == {"training": people, "held_out": 0}
    assert finding.details["targets"] == finding.details["held_out"] == 5 * people
    assert finding.value == 1.0
