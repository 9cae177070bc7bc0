"""``generators.taught`` end to end on small images."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sfumato.data import ImageSchema, ImageSet, datasets
from sfumato.errors import InputError
from sfumato.measure.cnn import CONVOLUTIONAL, classifier
from sfumato.privacy import events
from sfumato.privacy.budget import Budget
from sfumato.privacy.ledger import Ledger
from sfumato.privacy.neighbours import Neighbours
from sfumato.publish.generators import sample
from sfumato.publish.generators.proxies import Mixture, proxies
from sfumato.publish.generators.taught import Taught
from sfumato.publish.generators.teaching import balanced
from sfumato.release.release import Release

FACTS = ImageSchema(3, 9, 12, ("cat", "dog", "eel"), records=60)
BUDGET = Budget(1.0, 1e-5)
QUICK = Taught(samples=30, steps=4, sample_rate=0.3, coefficients=27, seed=7)


def images(seed: int = 0, n: int = 60) -> ImageSet:
    rng = np.random.default_rng(seed)
    pixels = rng.random((n, *FACTS.shape), dtype=np.float32)
    return ImageSet.from_arrays(pixels, rng.integers(0, 3, n), FACTS.classes)


def publish(method: Taught = QUICK, data: ImageSet | None = None) -> Release:
    return method.calibrate(BUDGET, FACTS)(data or images(), ledger=Ledger.in_memory())


@pytest.fixture(scope="module")
def release() -> Release:
    return publish()


# -- the guarantee ---------------------------------------------------------------------------


@pytest.mark.parametrize("relation", ["add-remove", "replace-one"])
def test_the_event_is_description_mean_and_steps_together(relation: str) -> None:
    made = replace(QUICK, neighbours=relation).calibrate(BUDGET, FACTS)
    drawn = events.compose(
        events.GaussianDpEvent(made.plan["description_noise_multiplier"]),
        events.GaussianDpEvent(made.plan["mean_noise_multiplier"]),
        events.repeat(
            events.PoissonSampledDpEvent(0.3, events.GaussianDpEvent(made.plan["noise_multiplier"]))
            if relation == "add-remove"
            else made.run.teacher.dp_sgd.sampling.event(made.plan["noise_multiplier"]),
            4,
        ),
    )
    from sfumato.privacy import accounting

    spent = made.guarantee.epsilon()
    again = accounting.epsilon(drawn, 1e-5, Neighbours(relation))
    assert spent == pytest.approx(again, rel=1e-6)
    assert 0.99 < spent <= 1.0


def test_what_the_description_costs_is_taken_from_the_teacher() -> None:
    with_it = QUICK.calibrate(BUDGET, FACTS)
    without = replace(QUICK, description_share=0.0, textured=0.0, outlines=0.0)
    alone = without.calibrate(BUDGET, FACTS)
    assert alone.plan["description_noise_multiplier"] is None
    assert with_it.plan["noise_multiplier"] > 1.01 * alone.plan["noise_multiplier"]
    assert alone.guarantee.epsilon() <= 1.0


def test_the_card_is_the_same_whatever_the_private_images_are(release: Release) -> None:
    cards = [release.card.to_dict(), publish(data=images(seed=9)).card.to_dict()]
    for card in cards:
        del card["release_id"], card["created"], card["ledger"]
        assert set(card["plan"].pop("class_shares")) == set(FACTS.classes)
        del card["plan"]["directions"]
    assert cards[0] == cards[1]
    json.dumps(cards[0], allow_nan=False)


# -- the artefact ----------------------------------------------------------------------------


def test_a_release_travels_with_its_soft_labels(release: Release, tmp_path: Path) -> None:
    data: Any = release.data
    assert data.images.shape == (30, *FACTS.shape)
    assert data.soft_labels.shape == (30, 3)
    assert np.array_equal(data.soft_labels.argmax(axis=1), data.labels)
    release.save(tmp_path / "out")
    again: Any = Release.load(tmp_path / "out").data
    for name in ("images", "labels", "soft_labels"):
        assert np.array_equal(getattr(again, name), getattr(data, name)), name


def test_labels_are_of_the_images_that_are_released(release: Release) -> None:
    """Rounded to bytes first: whoever has the teacher finds the same labels."""
    data: Any = release.data
    assert np.array_equal(np.rint(data.images * 255) / np.float32(255), data.images)


def test_hard_labels_are_released_where_they_are_asked_for() -> None:
    data: Any = publish(replace(QUICK, labels="hard")).data
    assert data.soft_labels is None
    assert len(data) == 30


def test_a_fixed_set_cannot_be_drawn_from(release: Release) -> None:
    with pytest.raises(InputError, match="no generator"):
        sample(release, 3)


def test_without_a_budget_limit_a_classifier_learns_the_digits() -> None:
    """1437 images of 8 x 8, which need a large epsilon; chance is 10 %."""
    train, test = (datasets.load("digits", split=split) for split in ("train", "test"))
    method = Taught(samples=6000, seed=1)
    calibrated = method.calibrate(Budget(30.0, 1e-5), train.schema.with_records(len(train)))
    data: Any = calibrated(train, ledger=Ledger.in_memory()).data
    model = classifier(CONVOLUTIONAL, data.images, data.soft_labels, 10, seed=0)
    right = model.predict(test.images).argmax(axis=1) == test.labels  # type: ignore[union-attr]
    assert right.mean() > 0.7


# -- pictures --------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 9, 12)])
def test_pictures_follow_from_the_seed(shape: tuple[int, int, int]) -> None:
    mixture = Mixture(1, 2, 3, 4)
    assert mixture.counts(10, described=False) == {
        "drawings": 3,
        "silhouettes": 7,
        "textured": 0,
        "outlines": 0,
    }
    made = proxies(20, shape, mixture, None, 3)
    assert made.shape == (20, *shape)
    assert float(made.min()) >= 0
    assert float(made.max()) <= 1
    assert np.array_equal(made, proxies(20, shape, mixture, None, 3))
    assert not np.array_equal(made, proxies(20, shape, mixture, None, 4))


def test_classes_get_their_shares_as_far_as_candidates_allow() -> None:
    labels = np.array([0] * 50 + [1] * 8 + [2] * 42)
    chosen = balanced(labels, np.array([0.2, 0.4, 0.4]), 50)
    assert len(set(chosen.tolist())) == 50
    counts = np.bincount(labels[chosen], minlength=3)
    assert counts[1] == 8  # all there are
    assert counts[2] >= 20
    assert counts[0] >= 10


def test_a_class_with_too_few_candidates_repeats_them() -> None:
    labels = np.array([0] * 60 + [1] * 8 + [2] * 32)
    chosen = balanced(labels, np.full(3, 1 / 3), 60, repeats=2)
    assert np.bincount(labels[chosen], minlength=3).tolist() == [24, 16, 20]
    times = np.bincount(chosen, minlength=100)
    assert times[labels == 1].tolist() == [2] * 8
    assert times[labels != 1].max() == 1


class Bright:
    """A teacher that tells the brightest tenth from the others, and sees no third class."""

    def scores(self, images: torch.Tensor) -> torch.Tensor:
        level = images.mean(dim=(1, 2, 3))
        level = level - level.quantile(0.9)
        return torch.stack([-level, level, torch.full_like(level, -9.0)], dim=1)


def test_pictures_of_a_rare_class_are_published_again_with_the_same_labels() -> None:
    method = replace(
        QUICK, samples=90, candidates=1, description_share=0.0, textured=0.0, outlines=0.0
    )
    found = {}
    for repeats in (1, 3):
        run: Any = replace(method, repeats=repeats).calibrate(BUDGET, FACTS).run
        data = run._publish(Bright(), None, lambda *_: None).content
        pictures = {
            (i.tobytes(), s.tobytes()) for i, s in zip(data.images, data.soft_labels, strict=True)
        }
        found[repeats] = len(data), len(pictures), int((data.labels == 1).sum())
    total, different, rare = found[1]
    assert (total, different) == (90, 90)
    assert rare == 9
    assert found[3] == (90, 90 - 2 * rare, 3 * rare)


# -- settings --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"samples": 0}, "samples"),
        ({"repeats": 0}, "repeats"),
        ({"temperature": 0.0}, "temperature"),
        ({"labels": "both"}, "labels"),
        ({"class_shares": "counted"}, "class_shares"),
        ({"class_shares": {"cat": -1.0}}, "cat"),
        ({"description_share": 0.999, "centre_share": 0.2}, "teacher"),
        ({"description_share": 0.0}, "no description"),
        (
            {"description_share": 0.0, "textured": 0, "outlines": 0, "class_shares": "estimated"},
            "estimated",
        ),
        ({"drawings": 0, "silhouettes": 0, "textured": 0, "outlines": 0}, "weight 0"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Taught(**settings)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (FACTS.with_records(None), "records"),
        (ImageSchema(1, 4, 4, ("a", "b"), records=60), "4 x 4"),
        (ImageSchema(1, 8, 8, ("a",), records=60), "one class"),
        (datasets.load("digits").schema.with_records(60), "class_shares names"),
    ],
)
def test_facts_that_do_not_fit_are_refused(facts: ImageSchema, said: str) -> None:
    method = replace(QUICK, class_shares={"cat": 1.0, "dog": 1.0, "eel": 0.0})
    with pytest.raises(InputError, match=said):
        method.calibrate(BUDGET, facts)
