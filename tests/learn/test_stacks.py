"""Stacks of gradients: each clipped as a whole, added up exactly, charged as a whole."""

from __future__ import annotations

import math

import pytest
import torch

from sfumato.errors import InputError
from sfumato.learn.stacks import StackSum
from sfumato.privacy import accounting, events
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import SeededSource

ADD, REPLACE = Neighbours.ADD_REMOVE, Neighbours.REPLACE_ONE


def test_a_stack_is_clipped_as_a_whole_and_by_itself() -> None:
    stacks = torch.randn(5, 3, 7) * torch.tensor([0.01, 1.0, 100.0, 1e6, torch.inf])[:, None, None]
    clipped = StackSum(2.0, 1.0).clip(stacks)
    norms = clipped.flatten(1).norm(dim=1)
    assert (norms <= 2.0).all()
    assert torch.equal(clipped[0], stacks[0].double())  # a short one is left as it is
    assert norms[2:4].tolist() == pytest.approx([2.0, 2.0])
    assert norms[4] == 0  # and one that is no number says nothing
    alone = StackSum(2.0, 1.0).clip(stacks[1:2])
    assert torch.equal(alone[0], clipped[1])


def test_no_neighbour_is_further_apart_than_the_sensitivity() -> None:
    stacks = torch.randn(6, 4, 5)
    other = stacks.clone()
    other[2] = -50 * stacks[2]
    total = StackSum(1.5, 1.0)
    apart = (total.clip(stacks).sum(0) - total.clip(other).sum(0)).norm()
    assert total.sensitivity(ADD) == 3.0
    assert 2.9 < apart <= 3.0
    assert total.sensitivity(REPLACE) == pytest.approx(3 * math.sqrt(2))


def test_sums_are_exact_whatever_their_order() -> None:
    stacks = torch.randn(200, 3, 4)
    total = StackSum(1.0, 0.5)
    one = total.release(stacks, ADD, SeededSource(3))
    other = total.release(stacks.flip(0), ADD, SeededSource(3))
    assert torch.equal(one, other)
    exact = total.clip(stacks).sum(0)
    quiet = StackSum(1.0, 1e-3).release(stacks, ADD, SeededSource(3))
    assert (quiet - exact).abs().max() < 0.01
    assert 0.2 < (one - exact).std() < 1.0


def test_rounds_compose_before_anything_else() -> None:
    total = StackSum(1.0, 8.0)
    rounds = total.event(ADD, 16)
    once = events.GaussianDpEvent(8.0 / 2 / 4)  # sixteen rounds: a quarter of the noise
    assert accounting.epsilon(rounds, 1e-5, ADD) == pytest.approx(
        accounting.epsilon(once, 1e-5, ADD), rel=1e-3
    )


@pytest.mark.parametrize("given", [(0.0, 1.0), (1.0, 0.0), (math.nan, 1.0), (1.0, math.inf)])
def test_what_bounds_nothing_is_refused(given: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="stack"):
        StackSum(*given)
