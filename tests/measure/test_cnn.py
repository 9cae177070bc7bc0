from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sfumato.measure import cnn

FAMILIES = (cnn.CONVOLUTIONAL, cnn.DENSE, cnn.LINEAR)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cnn, "_LEAST_STEPS", 60)


@pytest.mark.parametrize("family", FAMILIES)
def test_learns_pictures(family: str, make_pictures: Any) -> None:
    train, test = make_pictures(300, 0), make_pictures(200, 1)
    fitted = cnn.classifier(family, train.images, train.labels, 3, seed=0)
    probabilities = fitted.predict(test.images)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert np.mean(probabilities.argmax(axis=1) == test.labels) > 0.9


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (1, 5, 7), (1, 1, 1)])
@pytest.mark.parametrize("family", FAMILIES)
def test_takes_any_size_and_colour(family: str, shape: tuple[int, int, int]) -> None:
    images = np.random.default_rng(0).random((12, *shape), dtype=np.float32)
    fitted = cnn.classifier(family, images, np.arange(12) % 2, 5, seed=0)
    assert fitted.predict(images).shape == (12, 5)


def test_constant_pictures_are_no_error() -> None:
    images = np.zeros((20, 1, 8, 8), np.float32)
    fitted = cnn.classifier(cnn.LINEAR, images, np.zeros(20, np.int64), 2, seed=0)
    probabilities = fitted.predict(images)
    assert np.isfinite(probabilities).all()
    assert (probabilities.argmax(axis=1) == 0).all()


def test_the_seed_decides_and_nothing_else_is_touched(make_pictures: Any) -> None:
    data = make_pictures(60, 0)
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    told: list[int] = []

    def predict(seed: int) -> np.ndarray:
        fitted = cnn.classifier(
            cnn.CONVOLUTIONAL,
            data.images,
            data.labels,
            3,
            seed=seed,
            progress=lambda done, total, _: told.append(done * 100 // total),
        )
        return fitted.predict(data.images)

    np.testing.assert_array_equal(predict(1), predict(1))
    assert not np.array_equal(predict(1), predict(2))
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.random.get_rng_state(), state)
    assert told[0] == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_learns_from_soft_labels_what_hard_ones_do_not_say(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All pictures have the same likeliest class; only its share tells the two kinds apart."""
    monkeypatch.setattr(cnn, "_LEAST_STEPS", 240)
    rng = np.random.default_rng(0)
    images = (rng.random((400, 1, 8, 8)) * 0.1).astype(np.float32)
    bright = rng.random(400) < 0.5
    images[bright] += 0.8
    soft = np.where(bright[:, None], (0.9, 0.1), (0.6, 0.4)).astype(np.float32)
    found = cnn.classifier(family, images, soft, 2, seed=0).predict(images)
    # Hard labels would be all alike, and every share near 1.
    assert found[~bright, 0].mean() + 0.05 < found[bright, 0].mean() < 0.95
