"""A generator in training, kept and taken up again."""

from __future__ import annotations

import torch
from torch import nn

from sfumato.learn.averaging import Averaging
from sfumato.publish.generators.keeping import Kept


def begun(seed: int) -> Kept:
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    adam = torch.optim.Adam(module.parameters(), 0.1)
    return Kept(module, adam, Averaging(module, 0.5), torch.Generator().manual_seed(seed))


def step(kept: Kept, number: int) -> None:
    loss = kept.generator(torch.rand(5, 3, generator=kept.draws)).square().sum()
    kept.optimizer.zero_grad()
    loss.backward()
    kept.optimizer.step()
    kept.average.update(kept.generator, number)


def test_a_training_goes_on_as_if_it_had_never_stopped() -> None:
    first, second = begun(0), begun(1)
    step(first, 1)
    settings, flat = first.packed()
    second.unpack(settings, {name: tensor.clone() for name, tensor in flat.items()})
    for kept in (first, second):
        step(kept, 2)
    one, other = first.packed(), second.packed()
    assert one[0] == other[0]
    assert one[1].keys() == other[1].keys()
    assert all(torch.equal(tensor, other[1][name]) for name, tensor in one[1].items())


def test_one_that_has_taken_no_step_is_kept_too() -> None:
    first, second = begun(0), begun(1)
    second.unpack(*first.packed())
    assert torch.equal(first.generator[0].weight, second.generator[0].weight)
