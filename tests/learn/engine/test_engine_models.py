"""Whole models against the slow loop; what is refused; what is left on a module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune

from sfumato.errors import InputError
from sfumato.learn.clipping import Flat, per_layer
from sfumato.learn.engine import Engine, kernels

Agree = Callable[..., Any]


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets, reduction="none")


def token_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    flat = F.cross_entropy(outputs.flatten(0, 1), targets.flatten(), reduction="none")
    return flat.view(targets.shape).mean(1)


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(inplace=True), nn.Linear(8, 5), nn.Linear(5, 3))


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 5, stride=2, padding=2),
        nn.Tanh(),
        nn.MaxPool2d(2, 1),
        nn.Conv2d(4, 6, 3),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.LazyLinear(3),
    )


class Residual(nn.Module):
    """A wide-residual block: pre-activation, GroupNorm, a shortcut."""

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(2, inner), nn.GroupNorm(2, outer)
        self.conv1 = nn.Conv2d(inner, outer, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(outer, outer, 3, 1, 1, bias=False)
        self.short = nn.Conv2d(inner, outer, 1, stride, bias=False)

    def forward(self, values: Tensor) -> Tensor:
        active = F.relu(self.norm1(values), inplace=True)
        deep = self.conv2(F.relu(self.norm2(self.conv1(active))))
        return deep + self.short(active)


def wide_resnet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        Residual(4, 8, 1),
        Residual(8, 12, 2),
        nn.GroupNorm(3, 12),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, 3),
    )


class LanguageModel(nn.Module):
    """Embedding, positions, one encoder layer, and a decoder whose weight may be the embedding."""

    def __init__(self, tied: str, positions: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 12, padding_idx=0)
        self.layer = nn.TransformerEncoderLayer(12, 3, 20, dropout=0.0, batch_first=True)
        self.positions = nn.Parameter(torch.randn(1, 9, 12)) if positions else None
        self.tied = tied
        if tied in ("module", "no"):
            self.decoder = nn.Linear(12, 11, bias=False)
        if tied == "module":
            self.decoder.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        values = self.embedding(tokens)
        if self.positions is not None:
            values = values + self.positions[:, : tokens.shape[1]]
        values = self.layer(values)
        if self.tied == "function":
            return F.linear(values, self.embedding.weight)
        return self.decoder(values)


class LowRank(nn.Module):
    """An adapter of two bare parameters beside a frozen layer."""

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Parameter(torch.randn(rank, base.in_features))
        self.up = nn.Parameter(torch.randn(base.out_features, rank))

    def forward(self, values: Tensor) -> Tensor:
        return self.base(values) + values @ self.down.T @ self.up.T


def images(n: int, channels: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(n, channels, 12, 12, dtype=torch.float64), torch.randint(0, 3, (n,))


def tokens(n: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(2)
    return torch.randint(0, 11, (n, 7)), torch.randint(0, 11, (n, 7))


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[int], Any], Any]] = {
    "mlp": (mlp, lambda n: (torch.randn(n, 6).double(), torch.randint(0, 3, (n,))), cross_entropy),
    "cnn": (cnn, lambda n: images(n, 1), cross_entropy),
    "wide_resnet": (wide_resnet, lambda n: images(n, 3), cross_entropy),
    "transformer": (lambda: LanguageModel("no"), tokens, token_loss),
    "tied_modules": (lambda: LanguageModel("module"), tokens, token_loss),
    "tied_by_function": (lambda: LanguageModel("function"), tokens, token_loss),
    "bare_positions": (lambda: LanguageModel("module", positions=True), tokens, token_loss),
}


def build(make: Callable[[], nn.Module], sample: Tensor) -> nn.Module:
    torch.manual_seed(0)
    module = make().double()
    module(sample)  # gives lazy layers their shape
    return module


@pytest.mark.parametrize("n", [0, 1, 7])
@pytest.mark.parametrize("name", list(MODELS))
def test_a_model_gives_the_loops_sum(name: str, n: int, agree: Agree) -> None:
    make, data, loss = MODELS[name]
    module = build(make, data(1)[0])
    inputs, targets = data(n)
    agree(module, inputs, targets, loss=loss, chunk=3)


def test_groups_are_clipped_one_by_one(agree: Agree) -> None:
    module = build(cnn, images(1, 1)[0])
    names = [name for name, _ in module.named_parameters()]
    agree(module, *images(5, 1), loss=cross_entropy, clipping=per_layer(names, 0.3))


@pytest.mark.parametrize("chunk", [1, 2, 5, None])
def test_the_chunk_changes_nothing(chunk: int | None, agree: Agree) -> None:
    agree(build(wide_resnet, images(1, 3)[0]), *images(5, 3), loss=cross_entropy, chunk=chunk)


def test_in_float32_the_sum_is_the_loops_to_1e5(agree: Agree) -> None:
    torch.manual_seed(0)
    module = wide_resnet()
    inputs, targets = images(7, 3)
    agree(module, inputs.float(), targets, loss=cross_entropy, tolerance=1e-5)


def test_outputs_may_be_tuples_and_dictionaries(agree: Agree) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 3), nn.Linear(4, 2)

        def forward(self, values: Tensor, more: Tensor) -> dict[str, Any]:
            return {"a": self.a(values), "rest": (self.b(more), "a label")}

    agree(Two().double(), (torch.randn(3, 4).double(), torch.randn(3, 4).double()), torch.ones(3))


class Positions(nn.Module):
    """Words and their places, whose numbers are the same for all examples."""

    def __init__(self, shape: tuple[int, ...], length: int) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(9, 6), nn.Embedding(length, 6)
        self.inner, self.head = nn.Linear(6, 6), nn.Linear(6, 3)
        self.shape, self.length = shape, length

    def forward(self, tokens: Tensor) -> Tensor:
        places = self.places(torch.arange(self.length).reshape(*self.shape, self.length))
        return self.head(self.inner(self.words(tokens) + places).tanh().mean(1))


@pytest.mark.parametrize("length", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("n", [1, 3, 5])
@pytest.mark.parametrize("shape", [(), (1,)])
def test_positions_that_are_nobodys_give_the_loops_sum(
    shape: tuple[int, ...], n: int, length: int, agree: Agree
) -> None:
    torch.manual_seed(0)
    module = Positions(shape, length).double()
    agree(module, torch.randint(0, 9, (n, length)), torch.randn(n).double())
    same = torch.ones(n, length, dtype=torch.long)  # equal examples: only the sizes tell
    agree(module, same, torch.ones(n).double())


def test_a_layer_whose_own_gradient_is_sparse_falls_back(agree: Agree, any_loss: Any) -> None:
    torch.manual_seed(0)
    for mode in ("sum", "mean"):
        bag = nn.EmbeddingBag(9, 4, mode=mode, sparse=True).double()
        dense = nn.EmbeddingBag(9, 4, mode=mode, _weight=bag.weight.detach().clone())
        words, targets = torch.randint(0, 9, (4, 6)), torch.rand(4).double()
        agree(dense, words, targets)
        found, expected = (
            Engine(one, any_loss, Flat(0.1)).clipped_sum(words, targets) for one in (bag, dense)
        )
        torch.testing.assert_close(found.gradients, expected.gradients)


def test_a_complex_parameter_is_refused_by_name() -> None:
    module = nn.Linear(4, 3, dtype=torch.complex64)
    with pytest.raises(InputError, match="the parameter 'weight' is complex"):
        Engine(module, cross_entropy, Flat(1.0))


class Doubled(nn.Module):
    def forward(self, values: Tensor) -> Tensor:
        return values * 2


class Attends(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, values: Tensor) -> Tensor:
        return self.inner(values, values, values, need_weights=False)[0]


@pytest.mark.parametrize("name", ["weight", "bias"])
def test_an_attention_whose_output_layer_is_parametrised_falls_back(
    name: str, agree: Agree
) -> None:
    torch.manual_seed(0)
    module = Attends()
    parametrize.register_parametrization(module.inner.out_proj, name, Doubled())
    agree(module.double(), torch.randn(3, 2, 4).double(), torch.rand(3).double())


def test_a_weight_that_was_computed_before_the_forward_is_refused_by_name() -> None:
    """No gradient would reach what it is computed from."""
    inputs, targets = torch.randn(4, 6), torch.zeros(4, dtype=torch.long)
    for whole, place in ((mlp(), "2"), (nn.Sequential(nn.GRU(6, 3, 2)), "0")):
        name = "weight_hh_l1" if place == "0" else "weight"
        prune.l1_unstructured(whole[int(place)], name, amount=0.3)
        with pytest.raises(InputError, match=rf"{place!r} is pruned by torch.nn.utils.prune"):
            Engine(whole, cross_entropy, Flat(1.0)).clipped_sum(inputs, targets)
    module = mlp()
    module.scale = nn.Parameter(torch.ones(()))
    weight = module[2].weight.detach()
    del module[2].weight
    module[2].weight = weight * module.scale
    with pytest.raises(InputError, match="Linear '2' keeps 'weight', a tensor"):
        Engine(module, cross_entropy, Flat(1.0)).clipped_sum(inputs, targets)


class Scaled(nn.Module):
    """With a parameter that is one number."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.size = nn.Linear(4, 4), nn.Parameter(torch.tensor(0.5))

    def forward(self, values: Tensor) -> Tensor:
        return values + self.size * self.inner(values).tanh()


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_parameter_may_be_a_number(
    dtype: torch.dtype, compiled: bool, agree: Agree, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not compiled:
        monkeypatch.setattr(kernels, "rows", lambda: None)
    torch.manual_seed(0)
    inputs, targets = torch.randn(5, 4, dtype=dtype), torch.rand(5, dtype=dtype)
    agree(Scaled().to(dtype), inputs, targets, tolerance=1e-5)


class Inner(nn.Module):
    """Goes on with a gradient of its own: one step of an attack on its input, or a force."""

    def __init__(self, part: nn.Module, twice: bool) -> None:
        super().__init__()
        self.part, self.twice = part, twice

    def forward(self, values: Tensor) -> Tensor:
        with torch.enable_grad():
            moved = values.detach().clone().requires_grad_()
            energy = self.part(moved).square().sum()
            (slope,) = torch.autograd.grad(energy, moved, create_graph=self.twice)
        return slope if self.twice else self.part(values + 0.1 * slope)


@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("own", [False, True])
def test_a_gradient_that_the_module_takes_for_itself_is_none_of_the_loss(
    own: bool, twice: bool, agree: Agree
) -> None:
    torch.manual_seed(0)
    part = LowRank(nn.Linear(4, 4), 2) if own else nn.Sequential(nn.Linear(4, 4), nn.Tanh())
    agree(Inner(part, twice).double(), torch.randn(4, 4).double(), torch.rand(4).double())


class Turned(nn.Module):
    """A block with a parameter of its own, which is given a table of positions by its owner."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.randn(4))
        self.inner = nn.Linear(4, 4)

    def forward(self, values: Tensor, *, table: Tensor) -> Tensor:
        return values + self.scale * self.inner(values * table).tanh()


class Table(nn.Module):
    def __init__(self, length: int) -> None:
        super().__init__()
        self.block = Turned()
        self.register_buffer("table", torch.randn(length, 4))

    def forward(self, values: Tensor) -> Tensor:
        return self.block(self.block(values, table=self.table), table=self.table)


@pytest.mark.parametrize("length", [2, 3, 5])
@pytest.mark.parametrize("n", [2, 3, 5])
def test_a_table_as_long_as_the_batch_is_not_dealt_out_to_the_examples(
    n: int, length: int, agree: Agree
) -> None:
    torch.manual_seed(0)
    agree(Table(length).double(), torch.randn(n, length, 4).double(), torch.rand(n).double())


def test_frozen_positions_are_looked_up(agree: Agree) -> None:
    torch.manual_seed(0)
    module = Positions((), 5).double()
    module.places.requires_grad_(False)
    agree(module, torch.randint(0, 9, (4, 5)), torch.randn(4).double())


@pytest.mark.filterwarnings("ignore:.*weight_norm")
@pytest.mark.parametrize("name", ["weight_norm", "spectral_norm"])
def test_a_weight_that_a_hook_computes_is_refused_by_its_remedy(name: str) -> None:
    layer = getattr(nn.utils, name)(nn.Linear(4, 3))
    with pytest.raises(InputError, match=rf"Linear '0' is normalised by torch\.nn\.utils\.{name}"):
        Engine(nn.Sequential(layer), cross_entropy, Flat(1.0))


def test_adapters_and_unknown_modules_fall_back(agree: Agree) -> None:
    module = nn.Sequential(LowRank(nn.Linear(6, 5), 2), nn.Tanh())
    module.append(LowRank(nn.Linear(5, 3), 1)).double()
    agree(module, torch.randn(5, 6).double(), torch.randint(0, 3, (5,)), loss=cross_entropy)


def test_what_vmap_cannot_do_is_looped(agree: Agree) -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Parameter(torch.randn(4)), nn.Parameter(torch.randn(4))

        def forward(self, values: Tensor) -> Tensor:
            return values * (self.a if values.sum().item() > 0 else self.b)

    module = nn.Sequential(nn.Linear(4, 4), Branching()).double()
    class_loss = MODELS["mlp"][2]
    torch.manual_seed(3)
    inputs, targets = torch.randn(6, 4).double(), torch.randint(0, 4, (6,))
    ours = Engine(module, class_loss, Flat(0.1), chunk=1).clipped_sum(inputs, targets)
    whole = Engine(module, class_loss, Flat(0.1)).clipped_sum(inputs, targets)
    for name, gradient in ours.gradients.items():
        torch.testing.assert_close(gradient, whole.gradients[name])
    agree(module, inputs, targets, loss=class_loss)


class Multiplied(torch.autograd.Function):
    """Of the older kind, which ``torch.func`` refuses."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(values, weight)
        return values @ weight.t()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        values, weight = ctx.saved_tensors
        return gradient @ weight, gradient.t() @ values


def test_an_autograd_function_of_the_older_kind_is_looped(agree: Agree) -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 4))
            self.unused = nn.Parameter(torch.randn(2))

        def forward(self, values: Tensor) -> Tensor:
            return Multiplied.apply(values, self.weight)

    module = nn.Sequential(nn.Linear(4, 4), Own(), nn.Linear(4, 3)).double()
    agree(module, torch.randn(5, 4).double(), torch.randint(0, 3, (5,)), loss=cross_entropy)


def test_a_parametrised_weight_falls_back(agree: Agree) -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)))
    module.append(nn.utils.parametrizations.orthogonal(nn.Linear(3, 3)))
    inputs, targets = torch.randn(5, 4).double(), torch.randint(0, 3, (5,))
    agree(module.double(), inputs, targets, loss=cross_entropy)


def test_frozen_parameters_are_not_recorded(agree: Agree) -> None:
    module = build(cnn, images(1, 1)[0])
    for parameter in list(module.parameters())[:-1]:
        parameter.requires_grad_(False)
    engine = agree(module, *images(5, 1), loss=cross_entropy)
    assert list(engine._plan(engine._look())) == ["6"]


def test_dropout_in_the_fallback_draws_the_same_numbers_twice() -> None:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(50, dtype=torch.float64))

        def forward(self, values: Tensor) -> Tensor:
            return F.dropout(values, 0.5) * self.scale

    kept: list[Tensor] = []

    def loss(outputs: Tensor, _: Tensor) -> Tensor:
        kept.append(outputs.detach())
        return outputs.sum(1)

    engine = Engine(Noisy(), loss, Flat(1e9))
    ours = engine.clipped_sum(torch.ones(6, 50, dtype=torch.float64), torch.zeros(6))
    torch.testing.assert_close(ours.gradients["scale"], kept[0].sum(0))
    assert 0.3 < float((kept[0] == 0).double().mean()) < 0.7


MIXING = {
    "BatchNorm2d": (lambda: nn.BatchNorm2d(3), "GroupNorm"),
    "SyncBatchNorm": (lambda: nn.SyncBatchNorm(3), "GroupNorm"),
    "InstanceNorm2d": (lambda: nn.InstanceNorm2d(3, track_running_stats=True), "track_running"),
    "Embedding": (lambda: nn.Embedding(3, 3, scale_grad_by_freq=True), "scale_grad_by_freq"),
    "LazyLinear": (lambda: nn.LazyLinear(3), "Run the model once"),
}


@pytest.mark.parametrize("kind", list(MIXING))
def test_a_layer_that_mixes_examples_is_refused_by_name(kind: str) -> None:
    make, remedy = MIXING[kind]
    with pytest.raises(InputError, match=rf"{kind} '1.inner'.*{remedy}"):
        Engine(nn.Sequential(nn.Tanh(), nn.ModuleDict({"inner": make()})), cross_entropy, Flat(1.0))


def test_a_layer_that_mixes_examples_later_is_refused_at_the_call() -> None:
    module = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).eval()
    engine = Engine(module, cross_entropy, Flat(1.0))
    module.train()
    with pytest.raises(InputError, match="BatchNorm1d '1'"):
        engine.clipped_sum(torch.randn(4, 4), torch.zeros(4, dtype=torch.long))


def test_examples_in_another_dimension_are_refused() -> None:
    module = nn.TransformerEncoderLayer(8, 2, 16)  # sequence first
    engine = Engine(module, lambda o, t: o.sum((0, 2)), Flat(1.0))
    with pytest.raises(InputError, match="batch_first=True"):
        engine.clipped_sum(torch.randn(4, 4, 8).flatten(0, 1)[:12].view(3, 4, 8), torch.zeros(3))


def test_a_sequence_as_long_as_the_batch_is_not_taken_for_the_examples() -> None:
    module = nn.TransformerEncoderLayer(8, 2, 16)  # sequence first
    engine = Engine(module, lambda o, t: o.sum((0, 2)), Flat(1.0))
    with pytest.raises(InputError, match="batch_first=True"):
        engine.clipped_sum(torch.randn(4, 4, 8), torch.zeros(4))


def test_a_module_whose_own_code_mixes_examples_is_refused() -> None:
    class Centred(nn.Module):
        def forward(self, values: Tensor) -> Tensor:
            return values - values.mean(0)

    engine = Engine(nn.Sequential(nn.Linear(4, 3), Centred()), cross_entropy, Flat(1.0))
    with pytest.raises(InputError, match="mixes examples"):
        engine.clipped_sum(torch.randn(5, 4), torch.zeros(5, dtype=torch.long))


class Running(nn.Module):
    """Keeps a running mean of what it sees in training mode, in place or anew."""

    mean: Tensor

    def __init__(self, *, anew: bool = False, seen: bool = True) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(4))
        self.anew, self.seen = anew, seen

    def forward(self, values: Tensor) -> Tensor:
        if self.training:
            news = values.detach().mean(0) if self.seen else torch.ones(4)
            if self.anew:
                self.mean = 0.9 * self.mean + 0.1 * news
            else:
                self.mean.mul_(0.9).add_(news, alpha=0.1)
        return values


@pytest.mark.parametrize("anew", [False, True])
def test_a_buffer_that_examples_reach_is_refused_by_name_and_left_as_it_was(anew: bool) -> None:
    module = nn.Sequential(Running(anew=anew), nn.Linear(4, 3))
    engine = Engine(module, cross_entropy, Flat(1.0))
    given = torch.randn(5, 4), torch.zeros(5, dtype=torch.long)
    buffer = module.get_buffer("0.mean")
    for _ in range(2):
        with pytest.raises(InputError, match=r"a buffer '0\.mean' that examples reach"):
            engine.clipped_sum(*given)
        assert module.get_buffer("0.mean") is buffer
        assert not buffer.any()
    module.eval()  # where it changes nothing it is let through, and found once it does
    engine.clipped_sum(*given)
    module.train()
    with pytest.raises(InputError, match="examples reach"):
        engine.clipped_sum(*given)


def test_a_buffer_that_examples_do_not_reach_may_change() -> None:
    module = nn.Sequential(Running(seen=False), nn.Linear(4, 3))
    engine = Engine(module, cross_entropy, Flat(1.0))
    engine.clipped_sum(torch.randn(5, 4), torch.zeros(5, dtype=torch.long))
    torch.testing.assert_close(module.get_buffer("0.mean"), torch.full((4,), 0.1))


def test_looking_for_mixed_examples_takes_no_random_numbers() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5))
    data = torch.randn(5, 4), torch.zeros(5, dtype=torch.long)
    engine = Engine(module, cross_entropy, Flat(1.0))
    found = []
    for _ in range(2):  # the first call looks, the second does not
        torch.manual_seed(1)
        found.append(engine.clipped_sum(*data).norms)
    assert torch.equal(*found)


def test_a_loss_of_the_whole_batch_is_refused() -> None:
    engine = Engine(mlp(), F.cross_entropy, Flat(1.0))
    with pytest.raises(InputError, match="reduction='none'"):
        engine.clipped_sum(torch.randn(4, 6), torch.zeros(4, dtype=torch.long))


def test_nothing_is_left_on_a_module_whose_loss_fails() -> None:
    module = mlp()
    before = [sorted(part.__dict__) for part in module.modules()]

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        Engine(module, loss, Flat(1.0)).clipped_sum(torch.randn(4, 6), torch.zeros(4))
    assert [sorted(part.__dict__) for part in module.modules()] == before
    assert all(p.requires_grad and p.grad is None for p in module.parameters())


def test_a_forward_put_on_the_module_by_its_user_stays() -> None:
    module = mlp()
    own = module[0].forward
    module[0].forward = own  # as tools that change one module's dtype do
    Engine(module, cross_entropy, Flat(1.0)).clipped_sum(
        torch.randn(2, 6), torch.zeros(2, dtype=torch.long)
    )
    assert module[0].__dict__["forward"] is own


def test_under_autocast_norms_and_sums_are_float32(loop: Callable[..., Any]) -> None:
    torch.manual_seed(0)
    module = wide_resnet()
    inputs, targets = images(5, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = Engine(module, cross_entropy, Flat(0.5)).clipped_sum(inputs.float(), targets)
    assert ours.norms.dtype == torch.float32
    assert {g.dtype for g in ours.gradients.values()} == {torch.float32}
    exact, _, _ = loop(module, cross_entropy, Flat(0.5), inputs.float(), targets)
    off = sum((ours.gradients[k] - exact[k]).square().sum() for k in exact)
    assert off.sqrt() < 0.05 * sum(e.square().sum() for e in exact.values()).sqrt()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_an_example_that_is_not_finite_contributes_zero(bad: float) -> None:
    module = build(wide_resnet, images(1, 3)[0])
    inputs, targets = images(5, 3)
    rest = Engine(module, cross_entropy, Flat(0.1)).clipped_sum(inputs[1:], targets[1:])
    inputs[0, 0, 0, 0] = bad
    ours = Engine(module, cross_entropy, Flat(0.1)).clipped_sum(inputs, targets)
    for name, gradient in ours.gradients.items():
        torch.testing.assert_close(gradient, rest.gradients[name], rtol=1e-9, atol=1e-12)
