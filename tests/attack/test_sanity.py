"""What every attack must do: break what is broken, and find nothing where nothing is."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from sfumato import registry
from sfumato.attack import Evidence
from sfumato.data import ImageSet, Table
from sfumato.errors import InputError
from sfumato.measure import cnn

ALL = ("attribute.inference", "linkage.nearest", "membership.distance", "privacy_loss")
EACH = pytest.mark.parametrize("name", ALL)
TAIL = 0.025  # how often one finding's interval may lie above chance by luck


def attack(name: str, release: Any, evidence: Evidence, seed: int = 0, **settings: Any) -> Any:
    return registry.build("attack", name, settings)(release, evidence, seed=seed)


def shuffled(table: Table, seed: int) -> Table:
    """The same rows in another order."""
    order = np.random.default_rng(seed).permutation(table.num_rows)
    return Table.from_codes({k: v[order] for k, v in table.codes().items()}, table.schema)


@EACH
def test_a_release_of_the_members_themselves_is_broken(
    name: str, make_people: Any, make_release: Any
) -> None:
    members, others = make_people(400, 1), make_people(400, 2)
    finding = attack(name, make_release(shuffled(members, 0)), Evidence(members, others))
    assert finding.better_than_chance
    assert finding.breaks_guarantee  # the card claims a noise multiplier of 4
    assert "more than the guarantee allows" in finding.summary


def test_a_few_copied_members_break_a_claim_that_the_area_does_not(
    make_people: Any, make_release: Any, make_pure: Any
) -> None:
    """A tenth of the members as they are: an area far below what epsilon = 1 allows."""
    members, others, strangers = (make_people(1500, seed) for seed in (1, 2, 5))
    mixed = {
        k: np.where(np.arange(1500) < 150, v, strangers.codes()[k])
        for k, v in members.codes().items()
    }
    release = make_release(Table.from_codes(mixed, members.schema), make_pure(1.0))
    finding = attack("membership.distance", release, Evidence(members, others))
    assert finding.interval[0] < finding.ceiling
    assert finding.breaks_guarantee
    assert "more than the guarantee allows (" in finding.summary
    unclaimed = make_release(release.data, make_pure(8.0))
    found = attack("membership.distance", unclaimed, Evidence(members, others))
    assert found.finds_some
    assert not found.breaks_guarantee


@EACH
def test_a_release_independent_of_the_members_is_not(
    name: str, make_people: Any, make_release: Any
) -> None:
    evidence = Evidence(make_people(400, 3), make_people(400, 4))
    finding = attack(name, make_release(make_people(400, 5)), evidence, confidence=0.999)
    assert not finding.better_than_chance
    assert not finding.breaks_guarantee
    assert finding.interval[0] <= finding.chance <= finding.interval[1]


@EACH
def test_pictures_are_attacked_too(
    name: str, make_pictures: Any, make_release: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cnn, "_LEAST_STEPS", 40)
    members, others = make_pictures(120, 1), make_pictures(120, 2)
    leaky = attack(name, make_release(members), Evidence(members, others))
    clean = attack(
        name, make_release(make_pictures(120, 3)), Evidence(members, others), confidence=0.999
    )
    if name == "attribute.inference":  # these labels can be seen in the pictures of anybody
        assert not leaky.better_than_chance
    else:
        assert leaky.breaks_guarantee
    assert not clean.better_than_chance


def test_labels_given_at_random_leak_by_label_inference(
    make_pictures: Any, make_release: Any
) -> None:
    rng = np.random.default_rng(0)

    def noisy(seed: int) -> ImageSet:
        images = make_pictures(150, seed).images
        return ImageSet.from_arrays(images, rng.integers(0, 3, 150), ("left", "middle", "right"))

    members, others = noisy(1), noisy(2)
    finding = attack("attribute.inference", make_release(members), Evidence(members, others))
    assert finding.details["secret"] == "label"
    assert finding.breaks_guarantee


def false_alarms(name: str, runs: int, make_people: Any, make_release: Any, **own: Any) -> int:
    """How often an attack on a release that knows nothing of its evidence claims a success."""
    alarms = 0
    for run in range(runs):
        base = 10_000 + 3 * run
        evidence = Evidence(make_people(40, base), make_people(45, base + 1))
        release = make_release(make_people(40, base + 2))
        alarms += attack(name, release, evidence, seed=run, **own).better_than_chance
    return alarms


FORESTS = ("privacy_loss", "attribute.inference")  # each trains some: slow tests alone guess
GUESSED = [pytest.param(n, 25, id=n) for n in ALL if n not in FORESTS]
MORE = [pytest.param(n, 150, id=f"{n}, more", marks=pytest.mark.slow) for n in ALL]


@pytest.mark.parametrize(("name", "runs"), GUESSED + MORE)
def test_guessing_is_never_found_to_succeed_more_often_than_stated(
    name: str, runs: int, make_people: Any, make_release: Any
) -> None:
    """At most 2.5 % of findings by luck; more than the bound has probability 1e-6."""
    settings = {"max_training": 40} if name == "privacy_loss" else {}
    alarms = false_alarms(name, runs, make_people, make_release, **settings)
    assert alarms <= binom.isf(1e-6, runs, TAIL)


def test_an_attack_that_is_judged_on_what_it_learnt_from_is_caught(
    make_people: Any, make_release: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted defect: the privacy-loss classifier scores the half it was trained on."""
    from sklearn.tree import DecisionTreeClassifier

    from sfumato.attack import blind

    def careless(members: Any, others: Any, parts: Any) -> Any:
        members, others = members[parts[0][1]], others[parts[1][1]]
        x = np.concatenate([members, others])
        y = np.repeat([1, 0], [len(members), len(others)])
        tree = DecisionTreeClassifier(random_state=0).fit(x, y)
        return tree.predict(members) - 0.5, tree.predict(others) - 0.5

    monkeypatch.setattr(blind, "split_scores", careless)

    # Who is without the release sees nothing, and does not share the defect.
    monkeypatch.setattr(blind, "plain", lambda records, classes: np.zeros((len(records), 1)))
    runs = 8
    alarms = false_alarms("privacy_loss", runs, make_people, make_release, max_training=40)
    assert alarms > binom.isf(1e-6, runs, TAIL)


@EACH
def test_the_same_seed_gives_the_same_finding(
    name: str, make_people: Any, make_release: Any
) -> None:
    evidence = Evidence(make_people(80, 1), make_people(60, 2))
    release = make_release(make_people(70, 3))
    one, again = (attack(name, release, evidence, seed=5, max_targets=30) for _ in range(2))
    assert one == again
    other = attack(name, release, evidence, seed=6, max_targets=30)
    assert other.to_dict() != one.to_dict()


@EACH
def test_the_order_of_records_and_levels_does_not_matter(
    name: str, make_people: Any, make_release: Any
) -> None:
    """Relabelling the classes of every part in the same way changes no verdict."""
    members, others = make_people(300, 1), make_people(300, 2)

    def renamed(table: Table) -> Table:
        codes = table.codes()
        town = np.random.default_rng(9).permutation(12)
        return Table.from_codes(
            {**codes, "owner": 1 - codes["owner"], "town": town[codes["town"]]}, table.schema
        )

    plain = attack(name, make_release(shuffled(members, 1)), Evidence(members, others))
    turned = attack(
        name,
        make_release(shuffled(renamed(members), 2)),
        Evidence(renamed(members), shuffled(renamed(others), 3)),
    )
    assert plain.breaks_guarantee
    assert turned.breaks_guarantee
    assert turned.value == pytest.approx(plain.value, abs=0.12)


@EACH
def test_unequal_parts_are_balanced(name: str, make_people: Any, make_release: Any) -> None:
    evidence = Evidence(make_people(500, 1), make_people(30, 2))
    finding = attack(name, make_release(make_people(100, 3)), evidence)
    drawn = finding.details.get("targets", finding.details.get("judged"))
    if drawn is not None:
        assert drawn == 30
    else:
        assert finding.details["line_up"] == 60


@EACH
def test_a_finding_holds_no_record(name: str, make_people: Any, make_release: Any) -> None:
    members, others = make_people(60, 1), make_people(60, 2)
    finding = attack(name, make_release(members), Evidence(members, others))
    text = json.dumps(finding.to_dict())
    for level in ("town-", "job-", "college", "doctor"):
        assert level not in text
    assert len(text) < 20_000


@EACH
def test_evidence_of_another_schema_is_refused(
    name: str, make_people: Any, make_release: Any, make_pictures: Any
) -> None:
    table = make_people(40, 1)
    codes = table.codes()
    fewer = Table.from_codes(
        {k: codes[k] for k in ("age", "town")}, table.schema.select("age", "town")
    )
    with pytest.raises(InputError, match="other columns"):
        attack(name, make_release(fewer), Evidence(table, table))
    with pytest.raises(InputError, match="is about images"):
        attack(name, make_release(make_pictures(30, 0)), Evidence(table, table))
    with pytest.raises(InputError, match="auxiliary records have other columns"):
        attack(name, make_release(table), Evidence(table, table, fewer))
