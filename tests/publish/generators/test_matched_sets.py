"""A small set of images, end to end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sfumato.data import ImageSchema, ImageSet
from sfumato.errors import InputError
from sfumato.learn.loop import PrivateLoop
from sfumato.privacy.budget import Budget
from sfumato.privacy.ledger import Ledger
from sfumato.publish.generators import sample
from sfumato.publish.generators.matching import Network, apart
from sfumato.publish.generators.psg import Psg
from sfumato.release.release import Release

FACTS = ImageSchema(3, 9, 12, ("cat", "dog", "eel"), records=60)
BUDGET = Budget(1.0, 1e-5)
SMALL: dict[str, Any] = {
    "epochs": 2.0,
    "expected_batch_size": 20,
    "images_per_class": 3,
    "width": 4,
    "turn_steps": 2,
    "turns": 2,
    "network_steps": 1,
    "seed": 7,
}


def images(n: int = 60, shape: tuple[int, int, int] = FACTS.shape) -> ImageSet:
    rng = np.random.default_rng(0)
    pixels = rng.random((n, *shape), dtype=np.float32)
    return ImageSet.from_arrays(pixels, rng.integers(0, 3, n), FACTS.classes)


def test_the_set_is_what_is_published(tmp_path: Path) -> None:
    made = Psg(**SMALL).calibrate(BUDGET, FACTS)
    release = made(images(), ledger=Ledger.in_memory())
    data: Any = release.data
    assert data.images.shape == (9, 3, 9, 12)
    assert set(data.labels.tolist()) == {0, 1, 2}
    assert 0.98 < made.guarantee.epsilon() <= 1.0
    release.save(tmp_path / "release")
    again: Any = Release.load(tmp_path / "release").data
    assert np.array_equal(again.images, data.images)
    with pytest.raises(InputError, match="holds no generator"):
        sample(release, 3)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 12), (1, 28, 28), (1, 3, 2), (1, 1, 1)])
def test_networks_fit_images_of_any_shape(shape: tuple[int, int, int]) -> None:
    module = Network(shape, 3, 4, 3).build()
    assert module(torch.rand(5, *shape)).shape == (5, 3)
    assert all(parameter.ndim > 1 for parameter in module.parameters())


def test_the_set_moves_towards_what_private_gradients_say() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    pixels = 0.05 * rng.random((300, 1, 9, 9), dtype=np.float32)
    for label in range(3):
        pixels[labels == label, :, 3 * label : 3 * label + 3] += 0.8
    private = ImageSet.from_arrays(pixels, labels, FACTS.classes)
    method = Psg(
        epochs=40, expected_batch_size=100, images_per_class=2, width=8, rate=0.05, moves=5, seed=1
    )
    facts = ImageSchema(1, 9, 9, FACTS.classes, records=300)
    release = method.calibrate(Budget(50.0, 1e-5), facts)(private, ledger=Ledger.in_memory())
    data: Any = release.data
    for label in range(3):
        rows = data.images[data.labels == label].mean(axis=(0, 1, 3)).reshape(3, 3).mean(axis=1)
        assert rows[label] > 0.1 + np.delete(rows, label).max()


def test_an_interrupted_training_goes_on_and_pays_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, folder = Ledger.in_memory(), tmp_path / "work"
    made, data = Psg(**SMALL).calibrate(BUDGET, FACTS), images()
    taken, step = [], PrivateLoop.backward

    def dies(loop: PrivateLoop) -> None:
        step(loop)
        taken.append(loop.run.taken)
        if len(taken) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(PrivateLoop, "backward", dies)
    with pytest.raises(KeyboardInterrupt):
        made(data, ledger=ledger, workspace=folder)
    with pytest.warns(UserWarning, match="they are lost, and counted"):
        made(data, ledger=ledger, workspace=folder)
    assert taken == list(range(1, made.plan["steps"] + 1))
    assert [entry.kind for entry in ledger.entries()].count("debit") == 1


def test_time_bounds_the_steps() -> None:
    made = Psg(**SMALL, max_minutes=1e-9).calibrate(BUDGET, FACTS)
    release = made(images(), ledger=Ledger.in_memory())
    assert release.card.plan["steps_taken"] == 1 < release.card.plan["steps"]


def test_what_cannot_be_is_refused_before_anything_is_spent() -> None:
    for changes, message in (
        ({"images_per_class": 0}, "images_per_class is 0"),
        ({"rate": 0}, "rate is 0"),
        ({"depth": 0}, "depth is 0"),
        ({"network_steps": -1}, "network_steps is -1"),
    ):
        with pytest.raises(InputError, match=message):
            Psg(**{**SMALL, **changes})


def test_rows_that_point_the_same_way_are_not_apart() -> None:
    one = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    assert apart(one, 5 * one) == pytest.approx(0, abs=1e-5)
    assert apart(one, -one) == pytest.approx(8, abs=1e-5)
