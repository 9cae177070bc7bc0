"""Moments of the classes: one record's reach, noise on every entry, right estimates."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from sfumato.errors import InputError
from sfumato.learn.moments import ClassMoments
from sfumato.privacy.noise import SeededSource

SHAPE = (1, 6, 5)
QUIET = 1e-9


def query(**changed: object) -> ClassMoments:
    settings: dict = {"shape": SHAPE, "classes": 3, "noise_multiplier": 1.0, "coefficients": 16}
    return ClassMoments(**{**settings, **changed})


def odd_images() -> list[torch.Tensor]:
    rng = np.random.default_rng(0)
    made = [torch.from_numpy(rng.normal(size=(1, *SHAPE)) * 10.0**e) for e in range(-20, 21, 4)]
    made += [torch.zeros(1, *SHAPE), torch.ones(1, *SHAPE), torch.full((1, *SHAPE), 3e38)]
    return [x.float() for x in made]


def test_one_record_reaches_no_further_than_1() -> None:
    for shape in (SHAPE, (3, 4, 9)):
        asked = query(shape=shape)
        rng = np.random.default_rng(1)
        others = torch.from_numpy(rng.random((40, *shape))).float()
        labels = torch.from_numpy(rng.integers(0, 3, 40))
        base = asked.contributions(others, labels)
        for image in odd_images():
            one = image.flatten()[:1].expand(1, *shape) if shape != SHAPE else image
            label = torch.tensor([2])
            assert float(asked.contributions(one, label).norm()) <= 1
            both = asked.contributions(torch.cat([others, one]), torch.cat([labels, label]))
            assert float((both - base).norm()) <= 1
            assert torch.equal(both[:2], base[:2]), "another class moved"


def test_a_bright_image_uses_its_whole_reach() -> None:
    full = query().contributions(torch.ones(1, *SHAPE), torch.tensor([0]))
    assert float(full.norm()) > 0.6  # of the triangle an off-diagonal entry counts once
    # Planted defect: without the cut one record reaches further.
    uncut = query(brightness=0.01)
    flat = (torch.ones(1, *SHAPE).flatten(1) / uncut._unit).norm()
    assert float(flat) > 1
    assert float(uncut.contributions(torch.ones(1, *SHAPE), torch.tensor([0])).norm()) <= 1


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_an_image_that_is_not_finite_counts_as_black(bad: float) -> None:
    image = torch.rand(1, *SHAPE)
    image[0, 0, 2, 2] = bad
    asked = query()
    assert torch.equal(asked.coordinates(image), torch.zeros(1, asked.width).double())


def test_every_entry_gets_the_noise_that_is_accounted(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = query(noise_multiplier=3.0, classes=40, coefficients=25)
    seen: list[torch.Tensor] = []
    images, labels = torch.rand(30, *SHAPE), torch.randint(0, 40, (30,))
    exact = asked.contributions(images, labels)
    monkeypatch.setattr(ClassMoments, "_estimates", lambda made, noisy: seen.append(noisy))
    asked.release(images, labels, SeededSource(1))
    drawn = (seen[0] - exact).flatten()
    assert len(drawn.unique()) > 0.99 * len(drawn)  # on a grid some coincide
    # Five standard deviations of a variance estimated from so many draws.
    assert abs(float(drawn.std()) / 3.0 - 1) < 5 / math.sqrt(2 * len(drawn))
    assert asked.event.noise_multiplier == 3.0


def test_without_noise_the_estimates_are_those_of_the_images() -> None:
    rng = np.random.default_rng(3)
    images = torch.from_numpy(rng.random((600, *SHAPE)) * 0.4).float()
    labels = torch.from_numpy(rng.choice(3, 600, p=[0.5, 0.3, 0.2]))
    asked = query(noise_multiplier=QUIET)
    found = asked.release(images, labels, SeededSource(0))
    counts = torch.bincount(labels, minlength=3)
    torch.testing.assert_close(found.shares, counts.double() / 600, rtol=1e-5, atol=1e-5)
    points = asked.coordinates(images)
    for label in range(3):
        own = points[labels == label]
        torch.testing.assert_close(found.means[label], own.mean(dim=0), rtol=1e-5, atol=1e-5)
        spread = found.factors[label] @ found.factors[label].T
        torch.testing.assert_close(spread, torch.cov(own.T, correction=0), rtol=1e-3, atol=1e-4)


def test_pictures_are_the_low_frequencies_of_images() -> None:
    smooth = torch.linspace(0, 0.3, 6)[None, None, :, None].expand(2, 1, 6, 5)
    asked = query(coefficients=36)
    torch.testing.assert_close(asked.pictures(asked.coordinates(smooth)), smooth.contiguous())


def test_noise_that_drowns_everything_leaves_no_direction_and_finite_pictures() -> None:
    found = query(noise_multiplier=1e6).release(
        torch.rand(10, *SHAPE), torch.randint(0, 3, (10,)), SeededSource(0)
    )
    pictures = found.draw(torch.tensor([0, 1, 2]), torch.Generator().manual_seed(0))
    assert pictures.shape == (3, *SHAPE)
    assert pictures.isfinite().all()
    assert float(found.shares.sum()) == pytest.approx(1.0)
    assert float(found.shares.min()) > 0


def test_the_spread_of_what_is_drawn_is_that_of_the_class() -> None:
    rng = np.random.default_rng(3)
    images = torch.from_numpy(rng.random((500, *SHAPE)) * 0.4).float()
    asked = query(noise_multiplier=QUIET)
    found = asked.release(images, torch.zeros(500, dtype=torch.int64), SeededSource(0))
    drawn = found.draw(torch.zeros(20_000, dtype=torch.int64), torch.Generator().manual_seed(0))
    again = asked.coordinates(drawn * 0.5) / 0.5  # halved, so that none is cut
    real = asked.coordinates(images)
    torch.testing.assert_close(again.std(dim=0), real.std(dim=0), rtol=0.1, atol=1e-3)


@pytest.mark.parametrize(
    "bad", [{"noise_multiplier": 0.0}, {"brightness": -1.0}, {"coefficients": 0}]
)
def test_impossible_choices_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(bad))):
        query(**bad)
