"""Private critics: whose records they are, what they say, and what one record can change."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sfumato.errors import InputError
from sfumato.learn.frequencies import LowFrequencies
from sfumato.learn.own_noise import keys_of
from sfumato.learn.pate.critics import Critics, crowding, owners

TEACHERS, CLASSES = 5, 3


def dealt(images: Tensor, labels: Tensor, bandwidth: float = 1.0, places: int = 20) -> Critics:
    return Critics.of(
        images.flatten(1),
        labels,
        owners(keys_of(images), TEACHERS, 1),
        keys_of(images),
        classes=CLASSES,
        teachers=TEACHERS,
        places=places,
        bandwidth=bandwidth,
    )


def pictures(n: int = 60) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(3)
    return torch.rand(n, 1, 4, 4, generator=draws), torch.randint(3, (n,), generator=draws)


def test_a_records_teacher_hangs_on_itself_alone() -> None:
    images, _ = pictures(500)
    whole = owners(keys_of(images), 7, seed=4)
    order = torch.randperm(500)
    assert torch.equal(owners(keys_of(images[order]), 7, seed=4), whole[order])
    assert torch.equal(owners(keys_of(images[:100]), 7, seed=4), whole[:100])
    assert not torch.equal(owners(keys_of(images), 7, seed=5), whole)
    counts = torch.bincount(whole, minlength=7)
    assert counts.sum() == 500
    assert counts.min() > 30
    with pytest.raises(InputError, match="teachers is 1"):
        owners(keys_of(images), 1, seed=4)


def test_every_record_is_with_exactly_one_teacher() -> None:
    images, labels = pictures()
    critics = dealt(images, labels)
    assert int(critics.present.sum()) == len(images)
    held = critics.records[critics.present]
    assert len(torch.unique(torch.cat([held, images.flatten(1)]), dim=0)) == len(images)


def test_one_record_more_moves_one_teacher_in_one_class_to_the_last_bit() -> None:
    images, labels = pictures()
    asked = torch.rand(4, 16)
    without = [dealt(images[1:], labels[1:]).pulls(label, asked)[0] for label in range(CLASSES)]
    within = [dealt(images, labels).pulls(label, asked)[0] for label in range(CLASSES)]
    moved = [
        (label, teacher)
        for label in range(CLASSES)
        for teacher in range(TEACHERS)
        if not torch.equal(without[label][teacher], within[label][teacher])
    ]
    assert moved == [(int(labels[0]), int(owners(keys_of(images[:1]), TEACHERS, 1)[0]))]


def test_a_teacher_pulls_toward_its_nearest_records() -> None:
    images, labels = pictures()
    critics = dealt(images, labels, bandwidth=1e-3)
    asked = torch.rand(1, 16)
    pulls, present = critics.pulls(0, asked)
    for teacher in range(TEACHERS):
        own = images.flatten(1)[(labels == 0) & (owners(keys_of(images), TEACHERS, 1) == teacher)]
        if not len(own):
            assert not present[teacher]
            continue
        nearest = own[torch.cdist(asked, own).argmin()]
        assert torch.allclose(asked[0] + pulls[teacher, 0], nearest, atol=1e-4)


def test_a_wide_kernel_pulls_toward_the_shards_mean() -> None:
    images, labels = pictures()
    asked = torch.rand(1, 16)
    pulls, _ = dealt(images, labels, bandwidth=1e3).pulls(1, asked)
    own = images.flatten(1)[(labels == 1) & (owners(keys_of(images), TEACHERS, 1) == 2)]
    assert torch.allclose(asked[0] + pulls[2, 0], own.mean(dim=0), atol=1e-4)


def test_a_full_cell_holds_its_places_and_no_more() -> None:
    images, _ = pictures(200)
    critics = dealt(images, torch.zeros(200, dtype=torch.int64), places=3)
    assert critics.present.sum(dim=2).max() == 3
    assert critics.present[1:].sum() == 0
    pulls, present = critics.pulls(2, torch.rand(2, 16))
    assert not present.any()
    assert (pulls == 0).all()


def test_what_a_full_cell_holds_is_no_matter_of_places() -> None:
    images, labels = pictures(200)
    usual = dealt(images, labels, places=3)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(5))
    other = dealt(images[order], labels[order], places=3)
    assert usual.present.all()
    assert torch.equal(other.records, usual.records)


@pytest.mark.parametrize("shape", [(1, 9, 9), (1, 25, 25), (1, 27, 31), (3, 25, 25)])
def test_full_cells_of_other_teachers_hold_the_same_where_the_first_record_is_gone(
    shape: tuple[int, int, int],
) -> None:
    """Sizes at which a product of floating-point matrices changes in its last bits."""
    basis = LowFrequencies(shape, 100)
    images = torch.rand(400, *shape, generator=torch.Generator().manual_seed(6))

    def made(images: Tensor) -> Critics:
        keys = keys_of(images)
        labels = torch.zeros(len(images), dtype=torch.int64)
        return Critics.of(
            basis.coordinates(images),
            labels,
            owners(keys, 10, 7),
            keys,
            classes=1,
            teachers=10,
            places=8,
            bandwidth=2.0,
        )

    asked = basis.coordinates(torch.rand(3, *shape, generator=torch.Generator().manual_seed(7)))
    without, within = made(images[1:].clone()), made(images)
    others = torch.arange(10) != owners(keys_of(images[:1]), 10, 7)
    assert within.present.all()  # cells are fuller than they have places
    assert torch.equal(without.records[:, others], within.records[:, others])
    assert torch.equal(without.pulls(0, asked)[0][others], within.pulls(0, asked)[0][others])


def test_images_crowd_where_others_are() -> None:
    others = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    near = crowding(torch.tensor([[0.9, 0.0]]), others, bandwidth=0.2)
    assert torch.allclose(near, torch.tensor([[0.1, 0.0]]), atol=1e-3)
    middle = crowding(torch.tensor([[0.0, 0.0]]), others, bandwidth=0.2)
    assert torch.allclose(middle, torch.zeros(1, 2), atol=1e-6)
