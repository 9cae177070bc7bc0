"""Known faults of the field, planted: the comparison with the slow loop catches each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.errors import InputError
from sfumato.learn.clipping import Flat
from sfumato.learn.engine import Engine, contributions, engine, registry, survey, tape
from sfumato.learn.engine.layers import norms

Agree = Callable[..., Any]


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.decoder = nn.Embedding(40, 32), nn.Linear(32, 40)
        self.decoder.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.decoder(self.embedding(tokens).tanh()).mean(1)


def loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets, reduction="none")


def tied() -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    return Tied().double(), torch.randint(0, 40, (6, 2)), torch.randint(0, 40, (6,))


def normed() -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(16, 3))
    return module.double(), torch.randn(6, 2, 4, 4).double(), torch.randint(0, 3, (6,))


@pytest.mark.parametrize("make", [tied, normed])
def test_without_a_defect_the_sums_agree(make: Callable[[], Any], agree: Agree) -> None:
    agree(*make(), loss=loss)


def test_tied_weights_whose_uses_are_clipped_apart_are_caught(
    monkeypatch: pytest.MonkeyPatch, agree: Agree
) -> None:
    def apart(self: contributions.Tied) -> Tensor:
        return self.outer.squared_norms() + self.lookup.squared_norms()

    monkeypatch.setattr(contributions.Tied, "squared_norms", apart)
    with pytest.raises(AssertionError, match="off by"):
        agree(*tied(), loss=loss)


def test_tied_weights_whose_sum_is_counted_twice_are_caught(
    monkeypatch: pytest.MonkeyPatch, agree: Agree
) -> None:
    once = contributions.Tied.add_weighted

    def twice(self: contributions.Tied, factors: Tensor, total: Tensor) -> None:
        once(self, factors, total)
        once(self, factors, total)

    monkeypatch.setattr(contributions.Tied, "add_weighted", twice)
    with pytest.raises(AssertionError, match="off by"):
        agree(*tied(), loss=loss)


def test_clipping_a_microbatch_instead_of_an_example_is_caught(
    monkeypatch: pytest.MonkeyPatch, agree: Agree
) -> None:
    right = engine._group_norms

    def pairs(*args: Any) -> Tensor:
        found = right(*args)
        return found.view(len(found), -1, 2).mean(2).repeat_interleave(2, 1)

    monkeypatch.setattr(engine, "_group_norms", pairs)
    with pytest.raises(AssertionError, match="off by"):
        agree(*normed(), loss=loss, chunk=6)


def test_one_example_changes_no_other_contribution_and_none_is_longer_than_the_bound() -> None:
    module, inputs, targets = normed()
    rest = Engine(module, loss, Flat(0.5)).clipped_sum(inputs[1:], targets[1:]).gradients
    inputs[0] *= 1000
    whole = Engine(module, loss, Flat(0.5)).clipped_sum(inputs, targets).gradients
    own = sum((whole[k] - rest[k]).square().sum() for k in rest).sqrt()
    assert 0.499 < own <= 0.5


def test_a_nan_that_reaches_the_sum_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    module, inputs, targets = normed()
    inputs[0] = float("nan")

    def finite() -> bool:
        found = Engine(module, loss, Flat(0.5)).clipped_sum(inputs, targets).gradients
        return all(bool(g.isfinite().all()) for g in found.values())

    assert finite()
    for kind in (contributions.Direct, contributions.Outer):
        # A factor of zero is not enough: zero times NaN is NaN.
        monkeypatch.setattr(kind, "kept", lambda self, good: self)
    assert not finite()


def test_batch_norm_let_through_is_caught(monkeypatch: pytest.MonkeyPatch, agree: Agree) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, momentum=None), nn.Linear(4, 3))
    data = torch.randn(6, 3).double(), torch.randint(0, 3, (6,))
    with pytest.raises(InputError, match="BatchNorm1d"):
        Engine(module.double(), loss, Flat(1.0))
    monkeypatch.setattr(survey, "refuse", lambda place, part: None)
    module.eval()
    assert agree(module, *data, loss=loss)

    def live(module: Any, tape: Any, values: Tensor) -> Tensor:
        return F.batch_norm(values, None, None, tape.expand(module.weight)[0], training=True)

    monkeypatch.setitem(registry._handlers, nn.BatchNorm1d, live)
    with pytest.raises(InputError, match="mixes examples"):
        agree(module, *data, loss=loss)
    monkeypatch.setattr(engine, "probe", lambda *args: None)
    with pytest.raises(InputError, match="BatchNorm1d '1' mixes examples"):
        agree(module, *data, loss=loss)
    monkeypatch.setattr(engine, "check_apart", lambda *args: True)
    with pytest.raises(AssertionError, match="off by"):
        agree(module, *data, loss=loss)


def test_a_norm_that_forgets_the_bias_is_caught(
    monkeypatch: pytest.MonkeyPatch, agree: Agree
) -> None:
    right = engine._group_norms

    def forgetful(found: Mapping[str, Any], *args: Any) -> Tensor:
        return right({k: v for k, v in found.items() if not k.endswith("bias")}, *args)

    monkeypatch.setattr(engine, "_group_norms", forgetful)
    with pytest.raises(AssertionError, match="off by"):
        agree(*normed(), loss=loss)


def test_a_group_norm_gradient_summed_over_the_batch_is_caught(
    monkeypatch: pytest.MonkeyPatch, agree: Agree
) -> None:
    def summed(gradients: Tensor) -> contributions.Direct:
        whole = gradients.sum(0, keepdim=True) / len(gradients)
        return contributions.Direct(whole.expand_as(gradients))

    monkeypatch.setattr(norms, "Direct", summed)
    with pytest.raises(InputError, match="gradient changes with the others of its batch"):
        agree(*normed(), loss=loss)
    monkeypatch.setattr(engine, "check_apart", lambda *args: True)
    with pytest.raises(AssertionError, match="off by"):
        agree(*normed(), loss=loss)


def test_a_gradient_lost_on_the_way_is_caught(
    monkeypatch: pytest.MonkeyPatch, agree: Agree
) -> None:
    monkeypatch.setattr(tape.Tape, "wants", lambda self, p: p is not None and p.ndim != 1)
    with pytest.raises(AssertionError, match="off by"):
        agree(*normed(), loss=loss)
