"""Teachers: the exact solution, of their own shard and of nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.kernel_ridge import KernelRidge as Oracle
from torch import Tensor

from sfumato.errors import InputError
from sfumato.learn.pate.shards import Shards
from sfumato.learn.pate.teachers import KernelRidge, votes_of
from sfumato.privacy.noise import SeededSource


def groups(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Three groups of points in eight dimensions, with their number."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (n,), generator=generator)
    points = torch.randn(n, 8, generator=generator)
    points[torch.arange(n), labels] += 3
    return points, labels


def test_a_teacher_solves_kernel_ridge_regression() -> None:
    points, labels = groups(60)
    queries, _ = groups(40, seed=1)
    oracle = Oracle(alpha=1e-3, kernel="rbf", gamma=0.5 / 8)
    targets = np.eye(3)[labels.numpy()]
    shares = targets.mean(axis=0)
    oracle.fit(points.double().numpy(), targets - shares)
    expected = (oracle.predict(queries.double().numpy()) + shares).argmax(axis=1)
    assert KernelRidge(3).vote(points, labels, queries).tolist() == expected.tolist()


def test_teachers_know_the_groups() -> None:
    points, labels = groups(600)
    queries, truth = groups(50, seed=1)
    shards = Shards(12).draw(600, SeededSource(1))
    votes = votes_of(KernelRidge(3), shards, lambda rows: points[rows], labels, queries)
    assert votes.shape == (50, 3)
    assert (votes.sum(axis=1) == 12).all()
    assert (votes.argmax(axis=1) == truth.numpy()).mean() > 0.9


def moved(points: Tensor, labels: Tensor, row: int) -> int:
    """How many votes of one query change, at most, when one record becomes anything."""
    queries, _ = groups(50, seed=1)
    shards = Shards(12).draw(len(labels), SeededSource(1))
    before = votes_of(KernelRidge(3), shards, lambda rows: points[rows], labels, queries)
    points, labels = points.clone(), labels.clone()
    points[row], labels[row] = 1e3, (labels[row] + 1) % 3
    after = votes_of(KernelRidge(3), shards, lambda rows: points[rows], labels, queries)
    return int(np.abs(after - before).sum(axis=1).max())


@pytest.mark.parametrize("row", [0, 17, 119])
def test_a_record_moves_one_vote_of_a_query(row: int) -> None:
    assert moved(*groups(120), row) <= 2


def test_a_record_that_is_no_number_moves_one_vote_only() -> None:
    points, labels = groups(120)
    queries, _ = groups(50, seed=1)
    shards = Shards(12).draw(120, SeededSource(1))
    before = votes_of(KernelRidge(3), shards, lambda rows: points[rows], labels, queries)
    points[5] = torch.nan
    after = votes_of(KernelRidge(3), shards, lambda rows: points[rows], labels, queries)
    assert (after.sum(axis=1) == 12).all()
    assert np.abs(after - before).sum(axis=1).max() <= 2


def test_a_system_that_cannot_be_solved_leaves_the_commonest_class() -> None:
    points = torch.full((9, 2), 3e19)  # squares overflow
    points[::2] = -3e19
    labels = torch.tensor([2, 2, 2, 2, 2, 0, 0, 1, 1])
    assert KernelRidge(3).vote(points, labels, torch.zeros(2, 2)).tolist() == [2, 2]


def test_the_same_record_twice_does_no_harm() -> None:
    points, labels = groups(10)
    points, labels = torch.cat([points] * 30), torch.cat([labels] * 30)
    assert KernelRidge(3, ridge=1e-9).vote(points, labels, points[:4]).shape == (4,)


def test_a_teacher_without_records_says_the_first_class() -> None:
    said = KernelRidge(3).vote(torch.zeros(0, 8), torch.zeros(0, dtype=torch.int64), groups(5)[0])
    assert said.tolist() == [0] * 5


@pytest.mark.parametrize("settings", [{"classes": 1}, {"width": 0.0}, {"ridge": float("nan")}])
def test_impossible_teachers_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(InputError):
        KernelRidge(**{"classes": 3, **settings})  # type: ignore[arg-type]
