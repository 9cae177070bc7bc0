"""Votes and signs of many teachers: what they say together, and what one of them can change."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from sfumato.errors import InputError
from sfumato.learn.pate.ballots import BinnedVotes
from sfumato.learn.pate.topagg import TopAgg
from sfumato.privacy import accounting, events
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import SeededSource

ADD = Neighbours.ADD_REMOVE
QUIET = 1e-3


def everyone(n: int) -> Tensor:
    return torch.ones(n, dtype=torch.bool)


def test_the_fullest_bin_wins() -> None:
    votes = BinnedVotes(6, 1.0, 4, 0.0, 1.0, QUIET)
    pulls = torch.full((9, 2, 3), 0.6)
    pulls[:4] = -5.0
    won = votes.release(pulls, everyone(9), ADD, SeededSource(1))
    assert won.shape == (2, 3)
    assert torch.equal(won, torch.full((2, 3), 0.75, dtype=torch.float64))
    fewer = everyone(9)
    fewer[4:8] = False  # one of five is left against four
    assert (votes.release(pulls, fewer, ADD, SeededSource(1)) == -0.75).all()


def test_too_few_votes_move_nothing() -> None:
    pulls = torch.stack([torch.full((1, 2), value) for value in (-0.9, -0.3, 0.3, 0.9)])
    split = BinnedVotes(2, 1.0, 4, 2.0, 1.0, QUIET)
    assert (split.release(pulls, everyone(4), ADD, SeededSource(1)) == 0).all()
    agreed = split.release(torch.full((4, 1, 2), 0.3), everyone(4), ADD, SeededSource(1))
    assert (agreed == 0.25).all()


def test_one_teacher_moves_two_counts_of_every_coordinate() -> None:
    votes = BinnedVotes(6, 1.0, 4, 0.0, 1.0, 1.0)
    pulls = torch.rand(9, 2, 3)
    other = pulls.clone()
    other[3] = -pulls[3] - 0.1
    apart = votes.votes(pulls, everyone(9)) - votes.votes(other, everyone(9))
    assert np.linalg.norm(apart) == pytest.approx(votes.sensitivity(ADD))
    assert votes.sensitivity(Neighbours.REPLACE_ONE) == pytest.approx(math.sqrt(2 * 12))


def test_tests_are_charged_with_the_answers() -> None:
    tested = BinnedVotes(6, 1.0, 4, 2.0, 2.0, 40.0)
    free = BinnedVotes(6, 1.0, 4, 0.0, 2.0, 40.0)
    both = events.compose(
        events.repeat(events.GaussianDpEvent(80.0), 6 * 5),  # one largest count each, moved by 1
        events.repeat(events.GaussianDpEvent(40.0 / math.sqrt(2)), 6 * 5),
    )
    found = accounting.epsilon(tested.event(ADD, 5), 1e-5, ADD)
    assert found == pytest.approx(accounting.epsilon(both, 1e-5, ADD), rel=1e-3)
    assert found > accounting.epsilon(free.event(ADD, 5), 1e-5, ADD)
    assert tested.test_stddev == 80.0
    assert free.test_stddev is None


def test_only_the_largest_coordinates_speak() -> None:
    pulls = torch.tensor([[[0.1, -3.0, 2.0, 0.0]]]).repeat(3, 1, 1)
    said = TopAgg(1, 2, 1.0, 1.0).compressed(pulls, everyone(3), torch.Generator())
    assert said[:, 0].tolist() == [[0, -1, 1, 0]] * 3
    absent = TopAgg(1, 2, 1.0, 1.0).compressed(pulls, ~everyone(3), torch.Generator())
    assert (absent == 0).all()


def test_small_numbers_speak_softly_and_without_bias() -> None:
    pulls = torch.full((40_000, 1, 1), 0.3)
    coins = torch.Generator().manual_seed(5)
    said = TopAgg(1, 1, 1.0, 1.0).compressed(pulls, everyone(40_000), coins)
    assert said.double().mean().item() == pytest.approx(0.3, abs=0.025)  # five deviations


def test_one_teacher_moves_the_sum_by_the_sensitivity_of_the_stack() -> None:
    aggregate = TopAgg(5, 3, 1e-5, 1.0)
    pulls = torch.randn(8, 5, 10)
    other = pulls.clone()
    other[2] = -pulls[2]
    one, two = (
        aggregate.compressed(p, everyone(8), torch.Generator()).sum(0).double()
        for p in (pulls, other)
    )
    assert torch.linalg.vector_norm(one - two).item() == pytest.approx(aggregate.sensitivity(ADD))
    assert aggregate.sensitivity(ADD) == pytest.approx(2 * math.sqrt(15))


def test_the_noisy_sum_is_the_sum_where_there_is_next_to_no_noise() -> None:
    pulls = torch.randn(50, 2, 6)
    quiet = TopAgg(2, 6, 1e-5, QUIET)
    found = quiet.release(pulls, everyone(50), torch.Generator(), ADD, SeededSource(2))
    assert torch.allclose(found, pulls.sign().sum(0).double(), atol=0.02)


@pytest.mark.parametrize("name", ["images", "kept", "bound", "stddev"])
def test_what_bounds_nothing_is_refused(name: str) -> None:
    given = {"images": 1, "kept": 1, "bound": 1.0, "stddev": 1.0, name: 0}
    with pytest.raises(InputError, match=name):
        TopAgg(**given)  # type: ignore[arg-type]
