"""Copies of models: closer to them than what the attacker could train anyway."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pytest
from tests.attack.overfitted import census, digits, fitted, unproven

from sfumato import registry
from sfumato.attack import Evidence
from sfumato.attack.finding import Finding
from sfumato.data import ImageSet
from sfumato.errors import InputError
from sfumato.release.release import Release


def attack(release: Release, evidence: Evidence, **settings: Any) -> Finding:
    found = registry.build("attack", "stealing.surrogate", settings)(release, evidence)
    assert isinstance(found, Finding)
    return found


def test_a_logistic_regression_is_solved_for_its_weights() -> None:
    members, others = census("train"), census("test")
    finding = attack(unproven(fitted(members, steps=100)), Evidence(members, others))
    assert finding.value > 0.9
    assert finding.better_than_chance
    assert finding.details["copy"]["stolen"] == "solved log-odds"
    assert finding.details["agreement"]["own"] < finding.value


def odd(start: int, count: int) -> ImageSet:
    """Digits under wrong names: only whoever asks the model learns them."""
    data = digits("train", start, count)
    return ImageSet.from_arrays(data.images, (data.labels + 3) % 10, data.schema.classes)


def test_a_model_of_pictures_is_copied_and_labels_alone_suffice() -> None:
    release = unproven(fitted(odd(0, 200), hidden=(32,)))
    evidence = Evidence(odd(0, 200), digits("train", 200, 600))
    for answers in ("scores", "labels"):
        finding = attack(release, evidence, answers=answers)
        assert finding.value > 0.8
        assert finding.details["agreement"]["own"] < 0.2
        assert finding.better_than_chance


def test_a_model_without_a_pattern_is_not_copied() -> None:
    """Control: answers that follow from nothing in the record teach nothing about others."""
    members, others = census("train"), census("test")
    release = unproven(fitted(members, steps=100))
    model = release.model
    rng = np.random.default_rng(0)
    answers = lambda rows: rng.dirichlet(np.ones(2), len(rows))  # noqa: E731
    object.__setattr__(model, "probabilities_from", answers)
    assert not attack(release, Evidence(members, others)).better_than_chance


def test_copies_are_judged_on_people_who_were_not_asked_about() -> None:
    """Planted: on the attacker's own records, which a forest knows by heart."""
    members, others = census("train"), census("test")
    release = unproven(fitted(members, steps=0))

    def answers(rows: Any) -> Any:  # of a record always the same, and nothing of others
        sure = np.array([zlib.crc32(row.tobytes()) % 2 for row in np.ascontiguousarray(rows)])
        return np.eye(2)[sure]

    object.__setattr__(release.model, "probabilities_from", answers)
    finding = attack(release, Evidence(members, others))
    assert not finding.better_than_chance
    assert finding.value < 0.65


def test_the_attacker_without_the_model_has_as_many_records() -> None:
    """Planted: fewer. Who is told true labels by the model has no more than who knows them."""
    members, others = digits("train", 0, 200), digits("train", 200, 500)
    release = unproven(fitted(members, steps=0))
    known = {
        image.tobytes(): label
        for image, label in zip(others.images, np.asarray(others.labels), strict=True)
    }

    def answers(images: Any) -> Any:
        return np.eye(10)[[known[image.tobytes()] for image in np.float32(images)]]

    object.__setattr__(release.model, "probabilities_from", answers)
    finding = attack(release, Evidence(members, others), answers="labels")
    agreement = finding.details["agreement"]
    assert agreement["own"] == agreement["stolen"] > 0.8
    assert not finding.better_than_chance


def test_unknown_answers_are_refused() -> None:
    with pytest.raises(InputError, match="answers is 'all'"):
        registry.build("attack", "stealing.surrogate", {"answers": "all"})
