"""Same person or not: found under weak changes, not where the release is of somebody else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.attack.overfitted import digits, unproven

from sfumato import registry
from sfumato.attack import Evidence, reidentify
from sfumato.attack.finding import Finding
from sfumato.attack.inversion_learned import halves
from sfumato.data import ImageSet
from sfumato.errors import InputError


def attack(release: Any, evidence: Evidence, **settings: Any) -> Finding:
    quick = {"steps": 250, "networks": 1, **settings}
    found = registry.build("attack", "reidentification.siamese", quick)(release, evidence)
    assert isinstance(found, Finding)
    return found


def noisy(data: ImageSet, strength: float, seed: int = 0) -> Any:
    noise = np.random.default_rng(seed).standard_normal(data.images.shape)
    images = np.clip(data.images + strength * noise, 0, 1).astype(np.float32)
    return ImageSet.from_arrays(images, data.labels, data.schema.classes)


def test_weakly_changed_pictures_are_traced_to_their_originals() -> None:
    members, others = digits("train", 0, 400), digits("test", 0, 100)
    finding = attack(unproven(noisy(members, 0.1), aligned=True), Evidence(members, others))
    assert finding.value > 0.8
    assert finding.better_than_chance
    assert finding.details["pairs_of"] == "original and release"
    found = finding.details["retrieval"]["adaptive"]
    assert found["rank_1"]["interval"][0] > 2 * found["rank_1"]["chance"]
    assert found["map"]["interval"][0] > found["map"]["chance"]
    assert f"{found['rank_1']['value']:.1%} of searches" in finding.summary


def test_pictures_of_others_are_traced_to_nobody() -> None:
    members, others = digits("train", 0, 400), digits("train", 400, 400)
    finding = attack(unproven(noisy(others, 0.1), aligned=True), Evidence(members, others))
    assert not finding.better_than_chance
    found = finding.details["retrieval"]["adaptive"]["rank_1"]
    assert found["interval"][0] <= found["chance"] <= found["interval"][1]


def test_what_plain_distance_finds_is_found() -> None:
    """Planted: networks alone, which learn little of 200 people's noisy pictures."""
    members, others = digits("train", 0, 400), digits("test", 0, 100)
    finding = attack(unproven(noisy(members, 0.5), aligned=True), Evidence(members, others))
    assert finding.details["adaptive_goes_by"] == "distance"
    assert finding.interval[0] > 0.8
    assert finding.details["retrieval"]["adaptive"]["rank_1"]["value"] > 0.4


def test_a_stronger_network_is_kept() -> None:
    members, others = digits("train", 0, 400), digits("test", 0, 100)
    turned = ImageSet.from_arrays(1 - members.images, members.labels, members.schema.classes)
    finding = attack(unproven(turned, aligned=True), Evidence(members, others))
    assert finding.details["adaptive_goes_by"] == "network"


def test_the_way_is_chosen_by_known_people_alone() -> None:
    """Planted: a choice by those who are attacked, whose pictures are turned: distance fails."""
    members, others = digits("train", 0, 400), digits("test", 0, 100)
    plain = noisy(members, 0.5)
    _, attacked = halves(members, np.random.default_rng(0))
    images = plain.images.copy()
    images[attacked] = 1 - images[attacked]
    turned = ImageSet.from_arrays(images, members.labels, members.schema.classes)
    finding = attack(unproven(turned, aligned=True), Evidence(members, others), steps=50)
    assert finding.details["adaptive_goes_by"] == "distance"
    assert finding.value < 0.5


def test_inverted_pictures_fool_the_static_attacker_only() -> None:
    members, others = digits("train", 0, 400), digits("test", 0, 100)
    turned = ImageSet.from_arrays(1 - members.images, members.labels, members.schema.classes)
    finding = attack(unproven(turned, aligned=True), Evidence(members, others), steps=500)
    static, *_ = finding.details["static"]
    assert finding.value > static
    assert finding.interval[0] > 0.6


def people(start: int, persons: int, seed: int) -> ImageSet:
    """Four pictures of each person: a digit that belongs to them, drawn with some noise."""
    own = digits("train", start, persons)
    images = own.images.repeat(4, axis=0)
    images = images + 0.1 * np.random.default_rng(seed).standard_normal(images.shape)
    return ImageSet.from_arrays(
        np.clip(images, 0, 1).astype(np.float32),
        own.labels.repeat(4),
        own.schema.classes,
        identity=np.array([f"p{start + k}" for k in range(persons)]).repeat(4),
    )


def test_persons_are_found_in_other_pictures_of_theirs() -> None:
    members, others = people(0, 120, 1), people(300, 30, 2)
    finding = attack(unproven(noisy(members, 0.1), aligned=True), Evidence(members, others))
    assert finding.better_than_chance
    assert finding.details["pairs_of"] == "two pictures of a person"
    assert finding.details["persons_known"] == 60


def test_too_few_persons_are_refused_before_anything_is_trained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def trained(*_: Any) -> None:
        raise AssertionError("networks were trained whose figure has no interval")

    monkeypatch.setattr(reidentify, "train", trained)
    members, others = people(0, 120, 1), people(300, 30, 2)
    with pytest.raises(InputError, match="persons are too few for an interval"):
        attack(unproven(members, aligned=True), Evidence(members, others), max_targets=20)


def test_strangers_are_drawn_by_person_however_many_pictures_they_have() -> None:
    """One of 11 has 100 of 120 pictures. 6 sigma: false alarms below 1e-8."""
    whose = np.append(np.zeros(100, np.int64), 1 + np.arange(10).repeat(2))
    shown = np.zeros((120, 1, 4, 4), np.float32)
    known = reidentify._People(shown, shown, np.zeros(120, np.int64), whose, several=True)
    rng, drawn, asked = np.random.default_rng(0), 0, 0
    for _ in range(20):
        pairs = known.pairs(rng)
        assert (whose[pairs.left] == whose[pairs.same]).all()
        assert (pairs.left != pairs.same).all()
        assert (whose[pairs.left] != whose[pairs.other]).all()
        of_few = whose[pairs.left] > 0
        asked += int(of_few.sum())
        drawn += int((whose[pairs.other][of_few] == 0).sum())
    assert asked == 400
    assert abs(drawn / asked - 0.1) < 6 * (0.09 / asked) ** 0.5


def test_releases_without_pairs_are_refused() -> None:
    members, others = digits("train", 0, 100), digits("test", 0, 100)
    with pytest.raises(InputError, match=r"reidentification\.siamese needs to know"):
        attack(unproven(noisy(members, 0.1)), Evidence(members, others))


def test_the_ceiling_is_that_of_a_local_guarantee(make_release: Any, make_pure: Any) -> None:
    members, others = digits("train", 0, 200), digits("test", 0, 100)
    release = make_release(noisy(members, 0.05), make_pure(0.5), aligned=True)
    finding = attack(release, Evidence(members, others))
    assert finding.ceiling is not None
    assert finding.ceiling < 0.7
    assert finding.breaks_guarantee  # the card claims far more than such noise gives
