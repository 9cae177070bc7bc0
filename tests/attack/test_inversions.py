"""Pictures of classes and of people, from models and from releases."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import numpy as np
import pytest
from tests.attack.overfitted import digits, fitted, unproven

from sfumato import registry
from sfumato.attack import Evidence
from sfumato.attack.auxiliary import labelled
from sfumato.attack.finding import Finding
from sfumato.attack.generative import fit_decoder, fit_prior
from sfumato.attack.nearest import nearest_pixels
from sfumato.attack.representatives import Judge
from sfumato.data import ImageSet
from sfumato.errors import InputError
from sfumato.measure import intervals
from sfumato.release.model import Model
from sfumato.release.release import Release

pytestmark = pytest.mark.xdist_group("inversions")  # one trained model

QUICK: dict[str, dict[str, Any]] = {
    "inversion.ascent": {"each": 4, "iterations": 100},
    "inversion.prior": {"each": 4, "iterations": 80, "starts": 2, "steps": 600},
    "inversion.learned": {"steps": 500},
}


@cache
def model(steps: int) -> Model:
    return fitted(digits("train", 0, 300), hidden=(32,), steps=steps)


def evidence() -> Evidence:
    return Evidence(digits("train", 0, 300), digits("train", 300, 600))


def attack(name: str, release: Release, given: Evidence | None = None, **settings: Any) -> Finding:
    built = registry.build("attack", name, {**QUICK[name], **settings})
    found = built(release, given or evidence())
    assert isinstance(found, Finding)
    return found


@cache
def of_trained(name: str) -> Finding:
    """An attack on the trained model."""
    return attack(name, unproven(model(150)))


@pytest.mark.parametrize("name", QUICK)
def test_a_trained_model_gives_pictures_away_and_a_fresh_one_does_not(name: str) -> None:
    leaky = of_trained(name)
    assert leaky.better_than_chance
    fresh = attack(name, unproven(model(0)))
    assert fresh.value < leaky.value
    if name != "inversion.learned":
        assert not fresh.better_than_chance


@pytest.mark.parametrize("name", QUICK)
def test_pictures_are_shown_to_whoever_asks_only(name: str) -> None:
    assert "revealed" not in json.dumps(of_trained(name).to_dict())
    shown = attack(name, unproven(model(150)), reveal=True)
    assert np.shape(shown.details["revealed"]) == (8, 1, 8, 8)


def test_prototypes_are_told_from_people() -> None:
    finding = of_trained("inversion.ascent")
    low, high = finding.details["membership_auc"][1:]
    assert low < 0.6 < high + 0.2
    assert "show a class" in finding.summary or "more than a class" in finding.summary


def test_the_two_intervals_of_an_inversion_share_the_error() -> None:
    """The class that is shown and the persons who are near: both hold together at 95 %."""
    rng = np.random.default_rng(0)

    def part(seed: int) -> Any:
        return labelled(model(0), digits("train", seed, 40), 40, rng)

    asked = np.tile(np.arange(10), 2)
    drawn = rng.random((2, 20, 1, 8, 8), dtype=np.float32)
    judge = Judge(part(0), part(40), 10, 0.95)
    finding = judge.finding("x", asked, drawn[0], drawn[1], np.ones(20), False, "Guessing")
    assert finding.interval == intervals.clopper_pearson(round(20 * finding.value), 20, 0.975)
    inside, outside = (
        -nearest_pixels(side.x.reshape(40, -1), drawn[0].reshape(20, -1))[0]
        for side in (judge.members, judge.others)
    )
    area, between = intervals.auc(inside, outside, 0.975)
    assert finding.details["membership_auc"] == [area, *between]


def pairs(noise: float, mixed: bool = False) -> tuple[Release, Evidence]:
    """Aligned releases: members' pictures with noise, or those of others in their place."""
    given = evidence()
    members: Any = given.members
    shown: Any = given.non_members if mixed else members
    images = shown.images[: len(members)]
    images = images + noise * np.random.default_rng(0).standard_normal(images.shape)
    images = np.clip(images, 0, 1).astype(np.float32)
    released = ImageSet.from_arrays(images, members.labels, members.schema.classes)
    return unproven(released, aligned=True), given


def test_a_decoder_undoes_weak_noise_and_finds_nobody_in_others_pictures() -> None:
    leaky = attack("inversion.learned", *pairs(0.1))
    assert leaky.value > 0.5
    assert leaky.better_than_chance
    control = attack("inversion.learned", *pairs(0.1, mixed=True))
    assert not control.better_than_chance


def test_what_has_no_pairs_is_refused() -> None:
    release, given = pairs(0.1)
    with pytest.raises(InputError, match="which released picture"):
        attack("inversion.learned", unproven(release.data), given)
    with pytest.raises(InputError, match="from 1"):
        attack("inversion.prior", release, latent=0)


def test_rows_are_refused(make_people: Any) -> None:
    members = make_people(60, 1)
    release = unproven(fitted(members, steps=0))
    for name in QUICK:
        with pytest.raises(InputError, match="rows of a table"):
            attack(name, release, Evidence(members, make_people(60, 2)))


def test_a_prior_makes_pictures_like_those_it_was_fitted_to() -> None:
    import torch

    held = digits("train", 0, 300).images
    prior = fit_prior(held, latent=8, steps=600)
    made = prior.decode(torch.randn(200, 8, generator=torch.Generator().manual_seed(1))).numpy()
    assert made.shape == (200, 1, 8, 8)
    assert np.abs(made.mean(axis=0) - held.mean(axis=0)).mean() < 0.05
    assert made.std(axis=0).mean() > 0.4 * held.std(axis=0).mean()


def test_a_decoder_learns_the_way_back() -> None:
    held = digits("train", 0, 400).images
    seen = held.reshape(400, -1) @ np.random.default_rng(0).standard_normal((64, 40))
    invert = fit_decoder(seen[:300], held[:300], steps=800)
    error = np.square(invert(seen[300:]) - held[300:]).mean()
    assert error < 0.5 * held[300:].var(axis=0).mean()
