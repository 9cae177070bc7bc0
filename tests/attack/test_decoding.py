"""Decoders are chosen on people that they had not seen, and used as far as they are of use."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.linear_model import RidgeCV
from tests.attack.overfitted import digits, unproven

from sfumato import registry
from sfumato.attack import Evidence
from sfumato.attack.decoding import LINEAR, Pairs, decode
from sfumato.attack.finding import Finding
from sfumato.attack.generative import fit_decoder
from sfumato.data import ImageSet


def known_and_attacked(noise: float, mixed: bool = False) -> tuple[Pairs, Pairs]:
    """Two halves of 400 people, released with noise; or other people's pictures in their place."""
    held: Any = digits("train", 0, 400)
    rng = np.random.default_rng(2)
    shown = held.images[rng.permutation(400)] if mixed else held.images
    seen = np.clip(shown + noise * rng.standard_normal(shown.shape), 0, 1)
    people = Pairs(seen, held.images, np.asarray(held.labels), np.arange(400))
    return people.at(np.arange(200)), people.at(np.arange(200, 400))


def recovered(found: Any, known: Pairs, attacked: Pairs) -> float:
    spread = np.square(known.pictures.mean(axis=0) - attacked.pictures).sum()
    return float(1 - np.square(found - attacked.pictures).sum() / spread)


def test_an_attacker_recovers_what_a_ridge_regression_does() -> None:
    """Planted: the network alone, which fits the noise of 200 pairs and ends below the class."""
    known, attacked = known_and_attacked(0.6)
    made = decode(known, attacked.seen, attacked.labels, steps=800, seed=0)
    own, others = (
        np.hstack([part.seen.reshape(200, -1), np.eye(10)[part.labels]])
        for part in (known, attacked)
    )
    fitted = RidgeCV(np.geomspace(0.1, 1000, 13)).fit(own, known.pictures.reshape(200, -1))
    plain = fitted.predict(others).reshape(attacked.pictures.shape)
    found = recovered(made.found, known, attacked)
    assert made.way == LINEAR
    assert found > recovered(plain, known, attacked) - 0.02
    assert found > recovered(made.without, known, attacked) + 0.03
    network = fit_decoder(known.seen, known.pictures, steps=800)(attacked.seen)
    assert recovered(network, known, attacked) < recovered(made.without, known, attacked)


def test_a_decoder_of_others_pictures_is_not_used() -> None:
    known, attacked = known_and_attacked(0.1, mixed=True)
    made = decode(known, attacked.seen, attacked.labels, steps=100, seed=0)
    assert made.weight == 0
    assert np.array_equal(made.found, made.without)


def test_without_a_release_a_class_of_few_is_drawn_towards_all() -> None:
    """Two known people a class: their mean is a poor guess, and no baseline to be proud to beat."""
    known, attacked = known_and_attacked(0.1, mixed=True)
    rows = np.concatenate([np.flatnonzero(known.labels == k)[:2] for k in range(10)])
    few = known.at(rows)
    made = decode(few, attacked.seen, attacked.labels, steps=20, seed=0)
    means = np.stack([few.pictures[few.labels == k].mean(axis=0) for k in range(10)])
    assert recovered(made.without, few, attacked) > recovered(means[attacked.labels], few, attacked)


def test_decoders_of_others_pictures_are_no_leak() -> None:
    """In 12 releases of others' pictures none is significant at 99 % (by luck, 0.06 would be)."""
    members, others = digits("train", 0, 300), digits("train", 300, 600)
    given = Evidence(members, others)
    for seed in range(12):
        rows = np.random.default_rng(seed).permutation(300)
        released = ImageSet.from_arrays(others.images[rows], members.labels, members.schema.classes)
        built = registry.build("attack", "inversion.learned", {"steps": 20, "confidence": 0.99})
        found = built(unproven(released, aligned=True), given, seed=seed)
        assert isinstance(found, Finding)
        assert not found.better_than_chance
