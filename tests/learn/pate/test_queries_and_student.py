"""Queries that stand for the pool, and labels that spread over it: public records only."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from sfumato.errors import InputError
from sfumato.learn.pate.distil import Distillation, warped
from sfumato.learn.pate.queries import reduced, representatives
from sfumato.learn.pate.student import Spreading


def islands(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Five far groups in 20 dimensions, the last of which is rare."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(40, (n,), generator=generator) // 9
    points = torch.randn(n, 20, generator=generator)
    points[torch.arange(n), labels] += 12
    return points, labels


def test_every_group_has_a_representative() -> None:
    points, labels = islands(400)
    coordinates = reduced(points, 6, 0)[0]
    asked = representatives(coordinates, 12, 0)
    assert set(labels[asked].tolist()) == set(range(5))
    assert asked.tolist() == representatives(coordinates, 12, 0).tolist()
    assert (np.diff(asked) > 0).all()


def test_components_keep_the_distances_that_matter() -> None:
    points, _ = islands(300)
    coordinates, centre, components = reduced(points, 20, 1)
    torch.testing.assert_close(coordinates, (points - centre) @ components)
    torch.testing.assert_close(torch.pdist(coordinates), torch.pdist(points), rtol=1e-3, atol=1e-3)


def test_torch_draws_go_on_as_before() -> None:
    torch.manual_seed(4)
    expected = torch.rand(3)
    torch.manual_seed(4)
    reduced(islands(50)[0], 3, 0)
    assert torch.equal(torch.rand(3), expected)


def test_more_queries_than_records_are_refused() -> None:
    with pytest.raises(InputError, match="queries"):
        representatives(torch.randn(5, 2), 6, 0)


def test_one_label_a_group_labels_the_pool() -> None:
    points, labels = islands(400)
    asked = np.array([int((labels == k).nonzero()[0]) for k in range(5)])
    spread = Spreading().spread(points, asked, np.eye(5))
    assert np.allclose(spread.sum(axis=1), 1)
    assert (spread.argmax(axis=1) == labels.numpy()).mean() > 0.99


def test_a_wrong_label_is_outvoted_by_its_neighbours() -> None:
    points, labels = islands(400)
    asked = np.arange(60)
    said = np.eye(5)[labels[asked].numpy()]
    wrong = int((labels[asked] == 0).nonzero()[0])
    said[wrong] = np.eye(5)[3]
    spread = Spreading().spread(points, asked, said)
    assert (spread.argmax(axis=1) == labels.numpy()).mean() > 0.98


def test_what_no_label_reaches_gets_the_shares() -> None:
    points = torch.cat([torch.randn(20, 2), torch.randn(20, 2) + 1e6])
    spread = Spreading(neighbours=3).spread(points, np.array([0, 1]), np.array([[1, 0], [0, 1.0]]))
    assert np.allclose(spread[20:], 0.5)


def test_long_pools_are_searched_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    points, labels = islands(150)
    asked = np.arange(10)
    said = np.eye(5)[labels[asked].numpy()]
    whole = Spreading().spread(points, asked, said)
    monkeypatch.setattr("sfumato.learn.pate.student._BLOCK", 7)
    assert np.allclose(Spreading().spread(points, asked, said), whole, atol=1e-6)


@pytest.mark.parametrize("settings", [{"neighbours": 0}, {"reach": 1.0}, {"sharpness": -1.0}])
def test_impossible_spreading_is_refused(settings: dict[str, float]) -> None:
    with pytest.raises(InputError):
        Spreading(**settings)  # type: ignore[arg-type]


def test_a_student_learns_soft_labels() -> None:
    points, labels = islands(400)
    targets = 0.8 * torch.nn.functional.one_hot(labels, 5) + 0.04
    module = torch.nn.Linear(20, 5)
    told: list[int] = []
    lesson = Distillation(epochs=15, batch=50, learning_rate=0.02, warped=False)
    lesson.teach(module, points, targets, lambda done, total, label: told.append(done))
    assert float((module(points).argmax(dim=1) == labels).double().mean()) > 0.97
    assert told == list(range(1, 16))
    assert not module.training


def test_warped_images_keep_their_shape_and_differ() -> None:
    images = torch.rand(6, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    moved = warped(images, torch.Generator().manual_seed(1))
    again = warped(images, torch.Generator().manual_seed(1))
    assert moved.shape == images.shape
    assert torch.equal(moved, again)
    assert float((moved - images).abs().mean()) > 0.05


@pytest.mark.parametrize("settings", [{"epochs": 0}, {"batch": 1.5}, {"learning_rate": 0.0}])
def test_impossible_lessons_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(InputError):
        Distillation(**settings)  # type: ignore[arg-type]
