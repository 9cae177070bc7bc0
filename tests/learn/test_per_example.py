"""Each example's own gradient against a loop over the examples."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tests.learn.scaled import Scaled
from torch import Tensor, nn

from sfumato.errors import InputError
from sfumato.learn.per_example import PerExample


def losses(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets, reduction="none")


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, stride=2), nn.GroupNorm(1, 3), nn.Sigmoid(), nn.Flatten(),
        nn.Linear(27, 5),
    )  # fmt: skip


def batch(n: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n)
    return torch.randn(n, 1, 8, 8, generator=generator), torch.arange(n) % 5


def loop(module: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    rows = []
    parameters = [p for p in module.parameters() if p.requires_grad]
    for at in range(len(targets)):
        loss = losses(module(inputs[at : at + 1]), targets[at : at + 1]).sum()
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)]))
    return torch.stack(rows)


@pytest.mark.parametrize("block", [None, 1, 3])
def test_gradients_are_those_of_a_loop_whatever_the_block(block: int | None) -> None:
    module = network()
    per_example = PerExample(module, losses, block=block)
    inputs, targets = batch(7)
    found = list(per_example.blocks(inputs, targets))
    assert [len(part) for part in found] == {None: [7], 1: [1] * 7, 3: [3, 2, 2]}[block]
    assert torch.allclose(torch.cat(found), loop(module, inputs, targets), atol=1e-6)
    assert all(p.grad is None for p in module.parameters())


def test_memory_bounds_the_block() -> None:
    module = nn.Linear(4096, 4096)  # 67 MB of parameters: one gradient fills the block
    per_example = PerExample(module, lambda outputs, targets: outputs.sum(1))
    found = [len(part) for part in per_example.blocks(torch.zeros(3, 4096), torch.zeros(3))]
    assert found == [1, 1, 1]


@pytest.mark.parametrize("kind", ["lstm", "attention", "tied", "unused"])
def test_what_layers_of_other_kinds_give_is_that_of_a_loop(kind: str) -> None:
    torch.manual_seed(0)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.look = nn.Embedding(6, 4)
            self.lstm = nn.LSTM(4, 4, batch_first=True) if kind == "lstm" else None
            self.attend = (
                nn.MultiheadAttention(4, 2, batch_first=True) if kind == "attention" else None
            )
            self.idle = nn.Linear(2, 2) if kind == "unused" else None

        def forward(self, words: Tensor) -> Tensor:
            found = self.look(words)
            if self.lstm is not None:
                found = self.lstm(found)[0]
            if self.attend is not None:
                found = self.attend(found, found, found, need_weights=False)[0]
            return (found @ self.look.weight.T).mean(1) if kind == "tied" else found.mean(1)

    module, words = Net(), torch.randint(6, (5, 3))
    targets = torch.arange(5) % 4
    found = torch.cat(list(PerExample(module, losses, block=2).blocks(words, targets)))
    parameters = list(module.parameters())
    for at in range(5):
        loss = losses(module(words[at : at + 1]), targets[at : at + 1]).sum()
        own = torch.autograd.grad(loss, parameters, materialize_grads=True, allow_unused=True)
        assert torch.allclose(found[at], torch.cat([g.flatten() for g in own]), atol=1e-6)


def test_a_broken_example_is_not_finite_and_spoils_no_other() -> None:
    module = network()
    inputs, targets = batch(4)
    clean = torch.cat(list(PerExample(module, losses).blocks(inputs, targets)))
    inputs[2] = torch.nan
    [found] = PerExample(module, losses).blocks(inputs, targets)
    assert not found[2].isfinite().all()
    assert torch.allclose(found[[0, 1, 3]], clean[[0, 1, 3]], atol=1e-6)


def test_no_examples_give_no_block() -> None:
    assert list(PerExample(network(), losses).blocks(*batch(0))) == []


def test_frozen_parameters_have_no_coordinates_and_names_come_back() -> None:
    module = network()
    module[0].requires_grad_(False)  # type: ignore[index]
    per_example = PerExample(module, losses)
    inputs, targets = batch(4)
    [found] = per_example.blocks(inputs, targets)
    assert found.shape == (4, per_example.size)
    assert per_example.size == 3 + 3 + 5 * 27 + 5
    assert torch.allclose(found, loop(module, inputs, targets), atol=1e-6)
    named = per_example.named(found[0])
    assert list(named) == ["1.weight", "1.bias", "4.weight", "4.bias"]
    assert named["4.weight"].shape == (5, 27)


def test_a_module_of_several_arguments_is_differentiated() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(3, 2)

        def forward(self, left: Tensor, right: Tensor) -> Tensor:
            return self.inner(left * right)

    module = Both()
    left, right = torch.randn(5, 3), torch.randn(5, 3)
    found = torch.cat(list(PerExample(module, losses).blocks((left, right), torch.arange(5) % 2)))
    loss = losses(module(left[2:3], right[2:3]), torch.tensor([0])).sum()
    own = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(module.parameters()))])
    assert torch.allclose(found[2], own, atol=1e-6)


def test_what_mixes_examples_is_refused() -> None:
    with pytest.raises(InputError, match="mixes the examples of a batch"):
        PerExample(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), losses)

    class Centred(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(3, 2)

        def forward(self, inputs: Tensor) -> Tensor:
            return self.inner(inputs - inputs.mean(0))

    with pytest.raises(InputError, match="mixes examples"):
        list(PerExample(Centred(), losses).blocks(torch.randn(4, 3), torch.zeros(4).long()))


def test_a_loss_of_the_whole_batch_is_refused() -> None:
    def mean(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets)

    with pytest.raises(InputError, match="one loss an example"):
        list(PerExample(network(), mean).blocks(*batch(2)))


def test_nothing_to_train_is_refused() -> None:
    with pytest.raises(InputError, match="no trainable parameter"):
        PerExample(nn.Linear(2, 2).requires_grad_(False), losses)
    with pytest.raises(InputError, match="block is 0"):
        PerExample(nn.Linear(2, 2), losses, block=0)


def test_a_parameter_may_be_a_number() -> None:
    module, (inputs, targets) = Scaled(), batch(4)
    found = torch.cat(list(PerExample(module, losses).blocks(inputs, targets)))
    torch.testing.assert_close(found, loop(module, inputs, targets))
