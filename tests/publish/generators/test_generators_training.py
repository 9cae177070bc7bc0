"""Training: the loss is what it says, and reaches what it is given."""

from __future__ import annotations

import inspect
import math

import numpy as np
import torch

from sfumato.publish.generators import training as module
from sfumato.publish.generators.embedding import NoisyEmbedding
from sfumato.publish.generators.features import FourierFeatures
from sfumato.publish.generators.networks import Architecture, weights
from sfumato.publish.generators.training import Training, squared_distances, train

FEATURES = FourierFeatures((1, 6, 6), 2, (3.0,), 0.0, 300, 0.04, 0)
PLAN = Architecture((1, 6, 6), 2, latent=2, hidden=16, width=8)
SHORT = Training(steps=3, batch=8, learning_rate=0.01, frequencies=50)


def embedding_of(images: np.ndarray) -> NoisyEmbedding:
    """The exact embedding of one image a class (K, c, h, w), both classes as large."""
    phase = images.reshape(len(images), -1) @ FEATURES.angular
    shares = np.full(len(images), 1 / len(images))
    return NoisyEmbedding(
        shares, np.cos(phase) / len(images), np.sin(phase) / len(images), 1e-9, 1e-9
    )


def test_the_loss_compares_different_images_only() -> None:
    """Against a plain double sum over pairs."""
    rng = np.random.default_rng(0)
    phase = torch.from_numpy(rng.normal(size=(2, 4, 5)))
    cosines, sines = (torch.from_numpy(rng.normal(size=(2, 5))) for _ in range(2))
    got = squared_distances(phase, cosines, sines)
    for k in range(2):
        own = np.mean(
            [
                math.cos(phase[k, i, j] - phase[k, other, j])
                for i in range(4)
                for other in range(4)
                if i != other
                for j in range(5)
            ]
        )
        cross = np.mean(
            [
                math.cos(phase[k, i, j]) * float(cosines[k, j])
                + math.sin(phase[k, i, j]) * float(sines[k, j])
                for i in range(4)
                for j in range(5)
            ]
        )
        assert abs(float(got[k]) - (own - 2 * cross)) < 1e-12


def test_a_generator_learns_the_images_of_an_embedding() -> None:
    targets = np.zeros((2, 1, 6, 6), np.float32)
    targets[0, :, :3], targets[1, :, :, :3] = 1, 1
    long = Training(steps=200, batch=16, learning_rate=0.02, frequencies=300)
    made = train(
        embedding_of(targets), FEATURES, PLAN, long, seed=1, device="cpu", progress=lambda n: None
    )
    with torch.no_grad():
        labels = torch.tensor([0] * 5 + [1] * 5)
        images = PLAN.images(made, labels, torch.Generator().manual_seed(0)).numpy()
    for label, drawn in enumerate(np.split(images, 2)):
        assert np.abs(drawn - targets[label]).mean() < 0.1
        assert np.abs(drawn - targets[1 - label]).mean() > 0.4


def test_training_takes_nothing_that_could_hold_an_image() -> None:
    """Its arguments are the noisy embedding and public choices; the module knows no data."""
    taken = inspect.signature(train).parameters
    assert list(taken) == [
        "embedding", "features", "architecture", "training", "seed", "device", "progress"
    ]  # fmt: skip
    assert "sfumato.data" not in inspect.getsource(module)


def test_training_is_a_function_of_the_embedding_and_the_seed() -> None:
    given = embedding_of(np.ones((2, 1, 6, 6), np.float32))
    first, again, other = (
        weights(train(given, FEATURES, PLAN, SHORT, seed=s, device="cpu", progress=lambda n: None))
        for s in (1, 1, 2)
    )
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert any(not np.array_equal(first[name], other[name]) for name in first)


def test_training_leaves_the_random_state_of_torch_alone() -> None:
    given = embedding_of(np.ones((2, 1, 6, 6), np.float32))
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    train(given, FEATURES, PLAN, SHORT, seed=1, device="cpu", progress=lambda n: None)
    assert torch.equal(before, torch.random.get_rng_state())


def test_progress_ends_at_the_last_step() -> None:
    told: list[int] = []
    given = embedding_of(np.ones((2, 1, 6, 6), np.float32))
    train(given, FEATURES, PLAN, SHORT, seed=1, device="cpu", progress=told.append)
    assert told[-1] == SHORT.steps
