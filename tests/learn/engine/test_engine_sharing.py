"""What shares memory, a name or compiled code: views, parts with two names, compiled modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.learn.clipping import Flat
from sfumato.learn.engine import Engine, tape
from sfumato.learn.views import ViewEngine, Views

Agree = Callable[..., Any]
WIDTH = 6


def sequences(n: int = 5) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(n, 4, WIDTH).double(), torch.randn(n).double()


class Written(nn.Module):
    """Goes on in place, with all of a layer's output or with a part of it."""

    def __init__(self, layer: nn.Module, write: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.layer, self._write = layer, write

    def forward(self, values: Tensor) -> Tensor:
        values = self.layer(values)
        self._write(values)
        return values


WRITES: dict[str, Callable[[Tensor], Any]] = {
    "all": lambda values: values.relu_(),
    "some": lambda values: values[..., :2].mul_(3.0),
    "through a view": lambda values: values.view(len(values), -1).sigmoid_(),
    "what torch does not follow": lambda values: values.detach().mul_(2.0),
}


class Bare(nn.Module):
    """Has no function of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.randn(WIDTH))

    def forward(self, values: Tensor) -> Tensor:
        return (values * self.scale).transpose(1, 2).transpose(1, 2)


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(WIDTH, WIDTH),
    "instance norm": lambda: nn.InstanceNorm1d(4, affine=True),
    "convolution": lambda: nn.Conv1d(4, 4, 1),
    "layer norm": lambda: nn.LayerNorm(WIDTH),
    "fallback": Bare,
}


@pytest.mark.parametrize("layer", list(LAYERS))
@pytest.mark.parametrize("write", list(WRITES))
def test_an_output_may_be_written_to_in_place(layer: str, write: str, agree: Agree) -> None:
    torch.manual_seed(0)
    written = Written(LAYERS[layer](), WRITES[write])
    agree(nn.Sequential(nn.Linear(WIDTH, WIDTH), written).double(), *sequences())


def test_a_gradient_that_a_view_loses_is_caught(
    agree: Agree, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The defect: a hook on a view, whose history torch makes anew when it is written to.
    monkeypatch.setattr(tape, "unviewed", lambda values: values)
    written = Written(nn.Linear(WIDTH, WIDTH), WRITES["all"])
    with pytest.raises(AssertionError):
        agree(nn.Sequential(nn.Linear(WIDTH, WIDTH), written).double(), *sequences())


class Reads(nn.Module):
    """Reads a weight without calling its layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(WIDTH, WIDTH)

    def forward(self, values: Tensor) -> Tensor:
        return self.layer(values) + F.linear(values, self.layer.weight)


def test_a_part_with_two_names_is_one_part_and_stays_what_it_was(agree: Agree) -> None:
    # torch's functional_call would leave plain tensors in the place of its parameters.
    part = Reads()
    module = nn.Sequential(part, part, nn.Linear(WIDTH, 2)).double()
    before = dict(module.named_parameters())
    for _ in range(2):
        agree(module, *sequences())
    after = dict(module.named_parameters())
    assert list(after) == list(before)
    assert all(after[name] is before[name] for name in before)


def test_views_of_images_leave_a_part_with_two_names_what_it_was() -> None:
    part = nn.Conv2d(1, 1, 3, padding=1)
    module = nn.Sequential(part, part, nn.Flatten(), nn.Linear(16, 2))
    before = dict(module.named_parameters())
    images, targets = torch.randn(3, 1, 4, 4), torch.tensor([0, 1, 1])

    def losses(outputs: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(outputs, labels, reduction="none")

    still = Views(1)
    ours = ViewEngine(module, losses, Flat(0.1), still, 0).clipped_sum(images, targets)
    plain = Engine(module, losses, Flat(0.1)).clipped_sum(images, targets)
    for name, total in plain.gradients.items():
        assert torch.allclose(ours.gradients[name], total, atol=1e-6), name
    assert all(value is before[name] for name, value in module.named_parameters())


class Indexed(nn.Module):
    """Looks up what an input says, and has no row for NaN."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.rows = nn.Linear(WIDTH, WIDTH), nn.Embedding(5, WIDTH)

    def forward(self, values: Tensor) -> Tensor:
        index = values[..., 0].detach().abs().long().clamp(max=4)
        return self.layer(values) + self.rows(index)


def test_a_module_may_have_no_row_for_what_is_no_number(agree: Agree) -> None:
    torch.manual_seed(0)
    agree(Indexed().double(), *sequences())


@pytest.mark.parametrize("compiled", ["wrapped", "itself", "a function of its own"])
def test_a_compiled_module_gives_the_loops_sum(compiled: str, agree: Agree) -> None:
    # The defect: the first layer was compiled together with what records it, and recorded nothing.
    torch.manual_seed(0)
    layers = [nn.Linear(WIDTH, WIDTH), nn.Tanh(), Reads(), nn.ReLU(inplace=True)]
    module = nn.Sequential(*layers).double()
    if compiled == "itself":
        module.compile(backend="eager")
    inner = module
    if compiled == "a function of its own":
        module = Called(inner)
    agree(torch.compile(module, backend="eager") if compiled == "wrapped" else module, *sequences())


class Called(nn.Module):
    """Calls a module from a compiled function."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self._compiled = torch.compile(lambda values: inner(values).sin(), backend="eager")

    def forward(self, values: Tensor) -> Any:
        return self._compiled(values)


class Gate(nn.Module):
    """Gives its input on, beside what follows from it."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.randn(WIDTH))

    def forward(self, values: Tensor) -> tuple[Tensor, Tensor]:
        return values, torch.sigmoid(values + self.shift)


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.gate = nn.Linear(WIDTH, WIDTH), Gate()

    def forward(self, values: Tensor) -> Tensor:
        through, gate = self.gate(self.first(values))
        through += gate
        return torch.tanh(through).sum(2)


def test_an_input_that_is_given_on_and_written_to_is_not_read_again_as_if_it_were_not() -> None:
    """Planted: the backward pass read what was written, and gradients were wrong by a tenth."""
    values, targets = sequences()
    torch.manual_seed(0)
    with pytest.raises(RuntimeError, match="is being modified inplace"):
        Engine(Gated().double(), lambda out, _: out.sum(1), Flat(1e9)).clipped_sum(values, targets)
