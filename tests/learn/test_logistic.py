from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sfumato.errors import InputError
from sfumato.learn import logistic
from sfumato.learn.features import Column, Features
from sfumato.learn.logistic import LogisticRegression
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import SeededSource

FEATURES = Features((Column(4), Column(101, 101), Column(6, 5)))


def rows(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    codes = np.stack([rng.integers(c.size, size=n) for c in FEATURES.columns], axis=1)
    labels = (codes[:, 1] + 60 * (codes[:, 0] == 2) + rng.normal(0, 5, n) > 70).astype(int)
    return codes, labels


def model(n: int, noise: float = 1e-6, **settings: object) -> LogisticRegression:
    return LogisticRegression(FEATURES, 2, n, noise, **settings)


@pytest.mark.parametrize("clip_norm", [0.05, 1.0])
def test_every_record_contributes_at_most_the_clip_norm(clip_norm: float) -> None:
    codes, labels = rows(200)
    regression = model(200, clip_norm=clip_norm)
    for scale in (0.0, 1.0, 1e3):
        weights = np.random.default_rng(1).normal(0, scale, (FEATURES.width, 2))
        for i in range(60):
            one = regression.clipped_sum(weights, FEATURES.matrix(codes[[i]]), labels[[i]])
            assert np.linalg.norm(one) <= clip_norm * (1 + 1e-12)


def test_the_clipped_sum_is_the_sum_of_clipped_gradients() -> None:
    """Against gradients computed record by record; clipping a batch's mean would differ."""
    codes, labels = rows(100)
    weights = np.random.default_rng(1).normal(0, 2, (FEATURES.width, 2))
    regression = model(100, clip_norm=0.3)
    matrix = FEATURES.matrix(codes)
    total = np.zeros_like(weights)
    clipped = 0
    for x, y in zip(matrix.toarray(), labels, strict=True):
        p = logistic.softmax(x[None] @ weights)[0]
        gradient = np.outer(x, p - np.eye(2)[y])
        norm = np.linalg.norm(gradient)
        clipped += norm > 0.3
        total += gradient * min(1, 0.3 / norm)
    assert 10 < clipped < 100
    np.testing.assert_allclose(regression.clipped_sum(weights, matrix, labels), total, atol=1e-12)


def test_batch_size_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    codes, labels = rows(300)
    results = []
    for size, kept in ((300, 1 << 24), (7, 1 << 24), (50, 100)):
        monkeypatch.setattr(logistic, "KEPT_ENTRIES", kept)

        def batches(size: int = size):
            return ((codes[i : i + size], labels[i : i + size]) for i in range(0, 300, size))

        results.append(model(300).fit(batches, SeededSource(3)))
    np.testing.assert_allclose(results[1], results[0], atol=1e-9)
    np.testing.assert_allclose(results[2], results[0], atol=1e-9)


def test_learns_what_can_be_learnt() -> None:
    codes, labels = rows(5000)
    weights = model(5000, 0.5).fit(lambda: [(codes, labels)], SeededSource(0))
    test, truth = rows(2000, seed=1)
    assert np.mean((FEATURES.matrix(test) @ weights).argmax(axis=1) == truth) > 0.85


def noise_of_a_step(regression: LogisticRegression, trials: int) -> np.ndarray:
    """Coordinates of the noise of one step: the fit on records whose gradients vanish is noise."""
    codes = np.zeros((0, 3), int)
    one = replace(regression, steps=1, momentum=0.0, learning_rate=1.0)
    fits = [one.fit(lambda: [(codes, codes[:, 0])], SeededSource(i)) for i in range(trials)]
    return np.stack(fits).reshape(trials, -1) * regression.records


def test_noise_is_what_the_event_says_in_every_coordinate_on_its_own() -> None:
    """Five standard errors: false alarm 6e-7 a check, and its planted defects are 2 and all off."""
    regression = model(50, 3.0, clip_norm=2.0)
    noise = noise_of_a_step(regression, 400)
    variance = np.mean(noise**2)
    error = 36 * np.sqrt(2 / noise.size)
    assert abs(variance - 36) < 5 * error
    # Radius for diameter, or a forgotten clip norm, is outside of the same interval.
    assert not abs(variance / 4 - 36) < 5 * error
    pairs = np.corrcoef(noise.T)[np.triu_indices(noise.shape[1], 1)]
    assert abs(pairs.mean()) < 5 / np.sqrt(400)
    shared = np.repeat(noise[:, :1], noise.shape[1], axis=1)
    assert np.corrcoef(shared.T)[np.triu_indices(noise.shape[1], 1)].mean() > 5 / np.sqrt(400)


def test_divides_by_the_public_number_of_records() -> None:
    codes, labels = rows(40)
    seen = [
        model(n, steps=1, momentum=0.0).fit(lambda: [(codes, labels)], SeededSource(0))
        for n in (40, 400)
    ]
    np.testing.assert_allclose(seen[0], 10 * seen[1], atol=1e-7)


def test_steps_are_accounted_as_one_gaussian() -> None:
    from sfumato.privacy import accounting

    regression = model(10, 50.0, steps=16)
    mu = accounting.gdp_mu(regression.event, Neighbours.REPLACE_ONE)
    assert mu == pytest.approx(2 * 4 / 50)


def test_progress_is_told_each_step() -> None:
    codes, labels = rows(20)
    told: list[tuple[int, int]] = []
    model(20, steps=3).fit(
        lambda: [(codes, labels)],
        SeededSource(0),
        lambda done, total, label: told.append((done, total)),
    )
    assert told == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"classes": 0},
        {"records": 0},
        {"steps": 0},
        {"noise_multiplier": 0.0},
        {"noise_multiplier": float("nan")},
        {"clip_norm": -1.0},
        {"learning_rate": 0.0},
        {"momentum": 1.0},
    ],
)
def test_refuses_settings_out_of_range(wrong: dict) -> None:
    with pytest.raises(InputError):
        replace(model(5), **wrong)
