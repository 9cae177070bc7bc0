"""One example moves no other: what mixes them is refused by name, what does not is let through."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.errors import InputError
from sfumato.learn.clipping import Flat
from sfumato.learn.engine import Engine, engine

WORDS = 11


def plain(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets, reduction="none")


def numbers(n: int = 8) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, 4, generator=generator), torch.arange(n) % 3


def tokens(n: int = 8) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, WORDS, (n, 5), generator=generator), torch.arange(n) % 3


def dense(*more: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), *more, nn.Linear(6, 3))


class Words(nn.Module):
    """A network of integers, with a part of its own between."""

    def __init__(self, inner: nn.Module | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table, self.inner = nn.Embedding(WORDS, 6), inner or nn.Identity()
        self.head = nn.Linear(6, 3)

    def forward(self, words: Tensor) -> Tensor:
        return self.head(self.inner(self.table(words).mean(1)))


class Does(nn.Module):
    """A part that is one function."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, values: Tensor) -> Tensor:
        return self.function(values)


def look(module: nn.Module, data: Any, loss: Callable[..., Tensor] = plain) -> Any:
    return Engine(module, loss, Flat(1.0)).clipped_sum(*data)


# --- Losses ---------------------------------------------------------------------------------------


def contrastive(outputs: Tensor, targets: Tensor) -> Tensor:
    unit = F.normalize(outputs, dim=1)
    return F.cross_entropy(unit @ unit.T, torch.arange(len(unit)), reduction="none")


def centred(outputs: Tensor, targets: Tensor) -> Tensor:
    losses = plain(outputs, targets)
    return losses - losses.mean()


def scaled(outputs: Tensor, targets: Tensor) -> Tensor:
    losses = plain(outputs, targets)
    return losses / losses.mean().detach()


def hardest(outputs: Tensor, targets: Tensor) -> Tensor:
    losses = plain(outputs, targets)
    return losses * (losses >= losses.max())


def normalised(outputs: Tensor, targets: Tensor) -> Tensor:
    wanted = F.batch_norm(F.one_hot(targets, 3).float(), None, None, training=True)
    return (outputs - wanted).square().sum(1)


def balanced(outputs: Tensor, targets: Tensor) -> Tensor:
    counts = torch.bincount(targets, minlength=3)
    return plain(outputs, targets) / counts[targets]


def same_class(outputs: Tensor, targets: Tensor) -> Tensor:
    alike = (targets[:, None] == targets).float()
    centres = alike @ outputs.detach() / alike.sum(1, keepdim=True)
    return (outputs - centres + 1).square().sum(1)


def next_to_it(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - outputs.detach().roll(1, 0) + 1).square().sum(1)


@pytest.mark.parametrize(
    "loss",
    [contrastive, centred, scaled, hardest, normalised, balanced, same_class, next_to_it],
)
@pytest.mark.parametrize("integers", [False, True])
@pytest.mark.parametrize("drops", [False, True])
def test_a_loss_that_sets_examples_against_each_other_is_refused_by_name(
    loss: Callable[..., Tensor], integers: bool, drops: bool
) -> None:
    drop = nn.Dropout(0.5) if drops else nn.Identity()
    module, data = (Words(drop), tokens()) if integers else (dense(drop), numbers())
    with pytest.raises(InputError, match=f"the loss '{loss.__name__}' mixes examples"):
        look(module, data, loss)


def test_without_the_look_a_loss_that_mixes_was_let_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine, "check_apart", lambda *args: True)
    look(dense(), numbers(), contrastive)


@pytest.mark.parametrize("drops", [False, True])
def test_a_loss_divided_by_the_number_of_examples_is_refused(drops: bool) -> None:
    def shared(outputs: Tensor, targets: Tensor) -> Tensor:
        return plain(outputs, targets) / len(targets)

    module = dense(nn.Dropout(0.5) if drops else nn.Identity())
    with pytest.raises(InputError, match="'shared' of an example changes with the number of"):
        look(module, numbers(), shared)
    assert module.training


class Centres(nn.Module):
    """A loss that keeps running means of what it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("centres", torch.zeros(3, 3))

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        losses = (outputs - self.centres[targets]).square().sum(1)
        self.centres = self.centres.index_add(0, targets, 0.1 * outputs.detach())
        return losses


def test_running_statistics_in_a_loss_are_refused_and_left_as_they_were() -> None:
    centres = Centres()
    with pytest.raises(InputError, match=r"a buffer 'Centres\.centres' that examples reach"):
        look(Words(), tokens(), centres)
    assert not centres.centres.any()


# --- Modules --------------------------------------------------------------------------------------


def ranked(values: Tensor) -> Tensor:
    return values * values.detach().argsort(0).argsort(0)


def above_median(values: Tensor) -> Tensor:
    return values * (values > values.nanmedian(0).values)


MIXING = {
    "the mean": lambda x: x - x.mean(0),
    "the mean, cut": lambda x: x - x.detach().mean(0),
    "the largest": lambda x: x / x.abs().amax(),
    "ranks": ranked,
    "the median": above_median,
    "earlier ones": lambda x: x.cumsum(0),
    "later ones": lambda x: x.flip(0).cumsum(0).flip(0),
    "attention": lambda x: (x @ x.T).softmax(1) @ x,
}


@pytest.mark.parametrize("how", list(MIXING))
@pytest.mark.parametrize("drops", [False, True])
def test_a_part_that_mixes_examples_is_refused_by_name_whatever_goes_in(
    how: str, drops: bool
) -> None:
    part = nn.Sequential(nn.Dropout(0.2 if drops else 0.0), Does(MIXING[how]))
    with pytest.raises(InputError, match=r"Does 'inner\.1' mixes examples"):
        look(Words(part), tokens())


def test_a_module_that_depends_on_the_number_of_examples_is_refused() -> None:
    with pytest.raises(InputError, match="the output of Words changes with the number"):
        look(Words(Does(lambda x: x / len(x))), tokens())


class Averaged(torch.autograd.Function):
    """Mixes in the backward pass alone."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return values.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0] - gradients[0].mean(0)


@pytest.mark.parametrize("integers", [False, True])
def test_mixing_in_a_backward_alone_is_refused(integers: bool) -> None:
    part = Does(Averaged.apply)
    module, data = (Words(part), tokens()) if integers else (dense(part), numbers())
    with pytest.raises(InputError, match="an example's gradient changes with the others"):
        look(module, data)


class Counting(nn.Module):
    """Counts what it is given in a buffer: words, examples, or passes."""

    counts: Tensor

    def __init__(self, what: str, anew: bool, owner: bool) -> None:
        super().__init__()
        size, dtype = (WORDS, torch.float32) if what == "words" else (1, torch.int64)
        self.register_buffer("counts", torch.zeros(size, dtype=dtype))
        self.table = nn.Embedding(WORDS, 6)
        self.head = nn.Linear(6, 3)
        # A module with a parameter of its own is taken apart example by example.
        self.scale = nn.Parameter(torch.ones(6)) if owner else 1.0
        self.what, self.anew = what, anew

    def forward(self, words: Tensor) -> Tensor:
        if self.training:
            if self.what == "words":
                seen = F.one_hot(words, WORDS).sum((0, 1)).float()
            else:
                seen = torch.full((1,), len(words) if self.what == "examples" else 1)
            if self.anew:
                self.counts = self.counts + seen
            else:
                self.counts += seen
        return self.head(self.table(words).mean(1) * self.scale)


@pytest.mark.parametrize("anew", [False, True])
@pytest.mark.parametrize("what", ["words", "examples"])
def test_a_buffer_that_integers_or_their_number_reach_is_refused_and_left(
    what: str, anew: bool
) -> None:
    module = Counting(what, anew, owner=False)
    for _ in range(2):
        with pytest.raises(InputError, match="a buffer 'counts' that examples reach"):
            look(module, tokens())
        assert not module.counts.any()


@pytest.mark.parametrize("anew", [False, True])
def test_a_buffer_in_a_part_with_a_parameter_of_its_own_is_refused(anew: bool) -> None:
    module = Counting("words", anew, owner=True)
    with pytest.raises(InputError, match="a buffer 'counts' that examples reach"):
        look(module, tokens())
    assert not module.counts.any()


@pytest.mark.parametrize("anew", [False, True])
def test_a_buffer_that_counts_passes_may_change(anew: bool) -> None:
    module = Counting("passes", anew, owner=False)
    look(module, tokens())
    assert module.counts.item() == 1


# --- No false alarm -------------------------------------------------------------------------------


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(WORDS, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.3, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, words: Tensor) -> Tensor:
        return self.head(self.layer(self.table(words))[:, 0])


class Remembering(nn.Module):
    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.cell = kind(4, 5, num_layers=2, dropout=0.3, batch_first=True)
        self.head = nn.Linear(5, 3)

    def forward(self, values: Tensor) -> Tensor:
        return self.head(self.cell(values.unsqueeze(1).expand(-1, 3, -1))[0][:, -1])


class Gammas(nn.Module):
    """Draws as many random numbers as the values ask for."""

    def __init__(self) -> None:
        super().__init__()
        self.rate, self.head = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, values: Tensor) -> Tensor:
        drawn = torch._standard_gamma(F.softplus(self.rate(values)) + 0.01)
        return self.head(drawn)


class Shaken(nn.Module):
    """Draws numbers of Python's own generator."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, values: Tensor) -> Tensor:
        return self.head(values) * (random.random() if self.training else 1.0)


def images(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(8, 2, 8, 8, generator=generator).to(dtype), torch.arange(8) % 3


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3),
        nn.GroupNorm(2, 4),
        nn.ReLU(),
        nn.Dropout2d(0.5),
        nn.Flatten(),
        nn.LayerNorm(144),
        nn.Linear(144, 3),
    )


@pytest.mark.parametrize(
    ("make", "data"),
    [
        (Attending, tokens),
        (lambda: Remembering(nn.LSTM), numbers),
        (lambda: Remembering(nn.GRU), numbers),
        (convolutional, images),
        (Gammas, numbers),
        (Shaken, numbers),
        (lambda: dense(nn.Softmax(1)), numbers),
    ],
    ids=["attention", "LSTM", "GRU", "GroupNorm", "gamma", "random", "softmax"],
)
@pytest.mark.parametrize("size", [1.0, 1e4])
def test_what_keeps_examples_apart_is_let_through(
    make: Callable[[], nn.Module], data: Callable[[], Any], size: float
) -> None:
    torch.manual_seed(0)
    inputs, targets = data()
    module = make()
    found = look(module, (inputs * size if inputs.is_floating_point() else inputs, targets))
    assert found.norms.isfinite().all()
    assert all(part.training for part in module.modules())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_coarse_numbers_are_no_alarm(dtype: torch.dtype) -> None:
    look(convolutional().to(dtype), images(dtype))
    look(Attending().to(dtype), tokens())


def test_autocast_is_no_alarm_and_hides_no_mixing() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        look(convolutional(), images())
        with pytest.raises(InputError, match="mixes examples"):
            look(Words(), tokens(), contrastive)


class Remembers:
    """A loss that keeps what it saw in an attribute, which no buffer shows."""

    def __init__(self) -> None:
        self.centres = torch.zeros(3, 3)

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        losses = (outputs - self.centres[targets]).square().sum(1)
        self.centres = self.centres.index_add(0, targets, 0.1 * outputs.detach())
        return losses


def test_a_state_that_moves_is_warned_of() -> None:
    with pytest.warns(UserWarning, match="over the same examples differ"):
        look(dense(), numbers(), Remembers())


def test_mixing_beside_numbers_of_python_is_seen() -> None:
    part = Does(lambda x: (x - x.mean(0)) * random.random())
    with pytest.raises(InputError, match="Does 'inner' mixes examples"):
        look(Words(part), tokens())


def test_a_hook_on_a_gradient_is_refused_by_the_parameters_name() -> None:
    module = dense()
    module[0].weight.register_hook(lambda gradient: gradient * 0)
    with pytest.raises(InputError, match=r"the parameter '0\.weight' has a hook on its gradient"):
        look(module, numbers())


def beside(values: Tensor) -> Tensor:
    """All are left out because one is no number."""
    return values if bool(values.isfinite().all()) else values * 0


@pytest.mark.parametrize("where", ["module", "loss"])
def test_what_leaves_all_out_beside_a_nan_is_refused(where: str) -> None:
    module = dense(Does(beside)) if where == "module" else dense()

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        found = plain(outputs, targets)
        return beside(found) if where == "loss" else found

    with pytest.raises(InputError, match="mixes examples: where one of them is NaN"):
        Engine(module, loss, Flat(1.0)).clipped_sum(*numbers())


def test_what_refuses_nan_is_let_through() -> None:
    def strict(values: Tensor) -> Tensor:
        if bool(values.isnan().any()):
            raise ValueError("NaN")
        return values

    Engine(dense(Does(strict)), plain, Flat(1.0)).clipped_sum(*numbers())


def test_equal_examples_show_nothing_and_are_looked_at_again() -> None:
    ours = Engine(Words(), scaled, Flat(1.0))
    words, targets = tokens()
    ours.clipped_sum(words[[0, 0, 0]], targets[[0, 0, 0]])
    ours.clipped_sum(words[:1], targets[:1])
    with pytest.raises(InputError, match="the loss 'scaled' mixes examples"):
        ours.clipped_sum(words, targets)


def test_an_example_without_a_finite_loss_is_no_alarm() -> None:
    inputs, targets = numbers()
    inputs[1] = float("nan")
    inputs[3] = float("inf")
    found = look(dense(), (inputs, targets))
    assert all(g.isfinite().all() for g in found.gradients.values())


def test_a_wrapped_buffer_of_floats_is_refused_by_name() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("last", torch.zeros(4))
            self.weight = nn.Parameter(torch.ones(4, 3))

        def forward(self, values: Tensor) -> Tensor:
            self.last = values.detach().mean(0)
            return values @ self.weight

    module = Last()
    with pytest.raises(InputError, match="a buffer 'last' that examples reach"):
        look(module, numbers())
    assert not module.last.any()
