"""Noisy central images."""

from __future__ import annotations

import pytest
import torch

from sfumato.errors import InputError
from sfumato.learn.centres import Centres
from sfumato.privacy.noise import SeededSource

RNG = torch.Generator().manual_seed(0)
IMAGES = torch.rand(60, 3, 4, 5, generator=RNG)
LABELS = torch.arange(60) % 2


def test_one_image_moves_one_cell_by_at_most_one() -> None:
    centres = Centres((3, 4, 5), 2, 4, 1.0)
    whole = centres.sums(IMAGES, LABELS)
    for i in (0, 7, 59):
        kept = torch.arange(60) != i
        apart = (whole - centres.sums(IMAGES[kept], LABELS[kept])).norm(dim=2)
        assert (apart > 1e-12).sum() == 1
        assert apart.max() <= 1
    bright = torch.full((1, 3, 4, 5), 1e9)
    assert centres.sums(bright, LABELS[:1]).norm() <= 1
    assert not centres.sums(torch.full((1, 3, 4, 5), torch.nan), LABELS[:1]).any()


def test_sums_are_exact_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    centres = Centres((3, 4, 5), 2, 2, 1.0)
    images = torch.rand(5000, 3, 4, 5, generator=torch.Generator().manual_seed(1)) ** 4
    labels = torch.arange(5000) % 2
    whole = centres.sums(images, labels)
    order = torch.randperm(5000, generator=torch.Generator().manual_seed(2))
    assert torch.equal(centres.sums(images[order], labels[order]), whole)
    without = centres.sums(images[1:], labels[1:])
    assert torch.equal(whole - without, centres.sums(images[:1], labels[:1]))


def test_sums_are_divided_by_expected_counts() -> None:
    centres = Centres((3, 4, 5), 2, 1, 1e-6, brightness=1.0)
    shares = torch.tensor([0.25, 0.75], dtype=torch.float64)
    found = centres.release(IMAGES, LABELS, 100, shares, SeededSource(0))
    for label, expected in ((0, 25), (1, 75)):
        wanted = IMAGES[label == LABELS].sum(dim=0) / expected
        assert torch.allclose(found[0, label], wanted, atol=1e-4)


def test_what_cannot_be_is_refused() -> None:
    for values in ({"parts": 0}, {"noise_multiplier": 0.0}, {"brightness": -1.0}):
        with pytest.raises(InputError, match=next(iter(values))):
            Centres(
                **{"shape": (1, 2, 2), "classes": 2, "parts": 1, "noise_multiplier": 1.0} | values
            )
