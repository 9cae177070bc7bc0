"""A group of shadow models is what training them one by one gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sfumato.attack.shadows import Job, Recipe, halves
from sfumato.attack.shadows.networks import FAMILIES, Network
from sfumato.errors import InputError
from sfumato.measure import cnn


def job(family: str, group: int, models: int = 5, channels: int = 2) -> Job:
    rng = np.random.default_rng(0)
    images = rng.random((300, channels, 10, 9), dtype=np.float32)
    labels = rng.integers(0, 4, 300)
    rows = halves(300, models, seed=1)
    return Job(images, labels, 4, rows, Recipe(family, 3, group), seed=7)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few steps: rounding grows with every step of any training."""
    monkeypatch.setattr(cnn, "_LEAST_STEPS", 1)


def shares(scores: np.ndarray) -> np.ndarray:
    return torch.softmax(torch.from_numpy(scores), dim=-1).numpy()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_group_is_what_the_stated_classifier_trained_one_by_one_is(family: str) -> None:
    made = job(family, 5)
    bank = made.train()
    for found, rows, seed in zip(bank.scores(made.inputs), made.rows, made.seeds, strict=True):
        alone = cnn.classifier(family, made.inputs[rows], made.labels[rows], 4, seed=seed, epochs=3)
        np.testing.assert_allclose(shares(found), alone.predict(made.inputs), atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_neither_the_size_of_a_group_nor_the_number_of_workers_matters(family: str) -> None:
    made = [job(family, 5), job(family, 2)]
    made.append(Job(**{**vars(job(family, 1)), "workers": 2}))
    found = [np.stack(list(each.train().scores(each.inputs))) for each in made]
    for other in found[1:]:
        np.testing.assert_allclose(shares(other), shares(found[0]), atol=1e-4)


def test_each_model_learns_its_own_records_only() -> None:
    """The labels are noise, so only a model that was trained on a record can know it."""
    made = job(cnn.DENSE, 4, models=4)
    longer = Job(**{**vars(made), "recipe": Recipe(cnn.DENSE, 60, 4)})
    bank = longer.train()
    right = np.stack([s.argmax(axis=1) == made.labels for s in bank.scores(made.inputs)])
    assert right[bank.inside].mean() > 0.9
    assert right[~bank.inside].mean() < 0.5


def test_one_model_by_itself_says_what_it_says_in_the_bank() -> None:
    made = job(cnn.CONVOLUTIONAL, 2, models=3)
    bank = made.train()
    for i, found in enumerate(bank.scores(made.inputs)):
        with torch.no_grad():
            alone = bank.module(i)(torch.from_numpy(made.inputs)).numpy()
        np.testing.assert_allclose(alone, found, atol=1e-4)
    with pytest.raises(IndexError, match="3 models"):
        bank.module(3)


def test_log_odds_are_those_of_the_true_class() -> None:
    made = job(cnn.LINEAR, 3, models=3)
    bank = made.train()
    odds = bank.log_odds(made.inputs, made.labels)
    for row, scores in zip(odds, bank.scores(made.inputs), strict=True):
        p = shares(scores)[np.arange(300), made.labels]
        np.testing.assert_allclose(row, np.log(p) - np.log1p(-p), atol=1e-8)


def test_seeds_are_a_models_own_and_not_its_groups() -> None:
    few, many = job(cnn.LINEAR, 2, models=2), job(cnn.LINEAR, 3, models=9)
    assert few.seeds == many.seeds[:2]
    assert len(set(many.seeds)) == 9
    state = torch.get_rng_state()
    weights = Network(cnn.LINEAR, (3,), 2).initial([1, 1, 2])
    assert torch.equal(weights["1.weight"][0], weights["1.weight"][1])
    assert not torch.equal(weights["1.weight"][0], weights["1.weight"][2])
    assert torch.equal(torch.get_rng_state(), state)


def test_refuses_what_cannot_be_trained() -> None:
    with pytest.raises(InputError, match="family is 'transformer'"):
        Network("transformer", (1, 8, 8), 2)
    with pytest.raises(InputError, match="does not take records of shape"):
        Network(cnn.CONVOLUTIONAL, (30,), 2)
    with pytest.raises(InputError, match="epochs is 0"):
        Recipe(epochs=0)
    with pytest.raises(InputError, match="group is -1"):
        Recipe(group=-1)
