"""Queries that stand for the pool, and labels that spread over it: public records only."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torch import Tensor

from sfumato.errors import InputError
from sfumato.learn.pate.queries import reduced, representatives
from sfumato.learn.pate.spreading import Spreading
from sfumato.learn.pate.student import Layer, Student


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
    monkeypatch.setattr("sfumato.learn.pate.spreading._BLOCK", 7)
    assert np.allclose(Spreading().spread(points, asked, said), whole, atol=1e-6)


@pytest.mark.parametrize("settings", [{"neighbours": 0}, {"reach": 1.0}, {"sharpness": -1.0}])
def test_impossible_spreading_is_refused(settings: dict[str, float]) -> None:
    with pytest.raises(InputError):
        Spreading(**settings)  # type: ignore[arg-type]


def taught(student: Student, targets: Tensor, points: Tensor) -> Layer:
    return student.learn(points, points, targets.double().numpy(), Spreading())


def test_one_lesson_is_ridge_regression() -> None:
    points, labels = islands(400)
    targets = torch.nn.functional.one_hot(labels, 5)
    layer = taught(Student(ridge=0.3, lessons=1), targets, points)
    centred = (points - points.mean(dim=0)).numpy()
    scale = np.square(centred).sum(axis=0).mean()
    oracle = Ridge(alpha=0.3 * scale).fit(points.numpy(), 8 * targets.numpy())
    expected = torch.from_numpy(oracle.predict(points.numpy()))
    torch.testing.assert_close(layer.scores(points).double(), expected.double(), atol=1e-3, rtol=0)


def test_a_student_is_right_where_patches_of_its_labels_are_not() -> None:
    points, labels = islands(600)
    said = labels.clone()
    patch = ((points[:, 10] > 0.8) & (labels == 1)).nonzero()[:, 0]
    said[patch] = 2
    layer = taught(Student(), torch.nn.functional.one_hot(said, 5), points)
    right = layer.scores(points).argmax(dim=1) == labels
    assert len(patch) > 10
    assert float(right.double().mean()) > 0.98


def test_a_student_of_equal_records_does_not_fail() -> None:
    layer = taught(Student(), torch.full((20, 3), 1 / 3), torch.ones(20, 4))
    assert bool(torch.isfinite(layer.scores(torch.ones(2, 4))).all())


@pytest.mark.parametrize("settings", [{"ridge": 0.0}, {"lessons": 0}])
def test_impossible_students_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(InputError):
        Student(**settings)  # type: ignore[arg-type]


def test_a_record_that_only_copies_surround_has_no_weight_and_spoils_nothing() -> None:
    """Twelve equal records, and one so far that its weights to them are zero."""
    points = torch.zeros(13, 2)
    points[-1] = 1000.0
    spread = Spreading(neighbours=3).spread(points, np.array([0, 1]), np.eye(2)[[0, 0]])
    assert np.isfinite(spread).all()
    assert (spread[:12].argmax(axis=1) == 0).all()
