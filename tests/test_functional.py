"""Modules called with other weights: parts with two names, tied parameters, and what is left."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from sfumato.attack.gradients.inversion import gradients_of
from sfumato.functional import call_with, slots


class TwoNames(nn.Module):
    """``first`` and ``again`` are one part; ``last`` has the weight of ``first`` by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.again = self.first
        self.last = nn.Linear(3, 3, bias=False)
        self.last.weight = self.first.weight
        self.register_buffer("shift", torch.ones(3))

    def forward(self, values: Tensor) -> Tensor:
        out: Tensor = self.last(self.again(self.first(values))) + self.shift
        return out


def test_every_place_of_a_weight_is_known_once() -> None:
    assert slots(TwoNames()) == {
        "first.weight": ["first.weight", "last.weight"],
        "first.bias": ["first.bias"],
        "shift": ["shift"],
    }


def test_all_places_have_the_other_weight_and_nothing_is_left_behind() -> None:
    module, values = TwoNames(), torch.randn(2, 3)
    other = {"first.weight": 2 * torch.eye(3), "first.bias": torch.zeros(3)}
    found = call_with(module, slots(module), other, (values,))
    assert torch.allclose(found, 8 * values + 1)
    assert [name for name, _ in module.named_parameters()] == ["first.weight", "first.bias"]
    assert all(isinstance(p, nn.Parameter) for p in module.parameters())


@pytest.mark.parametrize("times", [1, 2])
def test_an_attack_leaves_a_model_with_a_part_of_two_names_as_it_was(times: int) -> None:
    """Planted: its parameters were plain tensors afterwards, and no optimiser found them."""
    module = TwoNames()
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    pictures, targets = torch.randn(4, 3), torch.randint(0, 3, (4,))
    for _ in range(times):
        found = gradients_of(module, functional.cross_entropy, pictures, targets)
    assert {n: p.tolist() for n, p in module.named_parameters()} == {
        n: p.tolist() for n, p in before.items()
    }
    for i in range(4):
        module.zero_grad()
        functional.cross_entropy(module(pictures[i : i + 1]), targets[i : i + 1]).backward()
        own = torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])
        assert torch.allclose(found[i], own, atol=1e-6)
