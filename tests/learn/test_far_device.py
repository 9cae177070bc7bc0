"""Every place that a GPU would refuse, without one: see ``far.py``."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.learn.far import Far, far_device, moved
from torch import Tensor, nn

from sfumato.learn.adaptive import AdaptiveQuantile
from sfumato.learn.clipping import Automatic, Clipping, Flat
from sfumato.learn.correlated import CorrelatedNoise
from sfumato.learn.engine import Engine
from sfumato.learn.mechanism import DpSgd
from sfumato.learn.noise import STREAM, add_gaussian
from sfumato.learn.sampling import PoissonSampling
from sfumato.learn.trainer import PrivateTrainer


class _First(nn.Module):
    """The first output of a recurrent network."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, values: Tensor) -> Tensor:
        output: Tensor = self.inner(values)[0]
        return output


class _Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.decoder = nn.Embedding(9, 5), nn.Linear(5, 9, bias=False)
        self.decoder.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        found: Tensor = self.decoder(self.embedding(tokens))
        return found


class _Bare(nn.Module):
    """A parameter of no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.own = nn.Linear(4, 4), nn.Parameter(torch.randn(4, 4))

    def forward(self, values: Tensor) -> Tensor:
        return torch.tanh(self.linear(values) @ self.own) @ self.own


MODULES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(4, 3), (4,)),
    "linear, large": (lambda: nn.Linear(300, 300), (300,)),
    "linear, positions": (lambda: nn.Linear(4, 3), (5, 4)),
    "tied": (_Tied, (5,)),
    "embedding, long": (lambda: nn.Embedding(9, 4), (300,)),
    "convolution 1": (lambda: nn.Conv1d(4, 6, 3, 2, 1, groups=2), (4, 9)),
    "convolution 2": (lambda: nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"), (4, 9, 9)),
    "convolution 3": (lambda: nn.Conv3d(2, 3, 2), (2, 4, 4, 4)),
    "convolution, many channels": (lambda: nn.Conv2d(64, 64, 3), (64, 6, 6)),
    "transposed": (lambda: nn.ConvTranspose2d(4, 6, 3, 2, groups=2), (4, 5, 5)),
    "layer norm": (lambda: nn.LayerNorm([3, 4]), (2, 3, 4)),
    "rms norm": (lambda: nn.RMSNorm(4), (2, 4)),
    "group norm": (lambda: nn.GroupNorm(2, 4), (4, 3, 3)),
    "instance norm": (lambda: nn.InstanceNorm2d(4, affine=True), (4, 3, 3)),
    "frozen batch norm": (lambda: nn.BatchNorm2d(4).eval(), (4, 3, 3)),
    "encoder": (lambda: nn.TransformerEncoderLayer(6, 2, 8, 0.0, batch_first=True), (5, 6)),
    "lstm": (lambda: _First(nn.LSTM(4, 3, batch_first=True)), (2, 4)),
    "gru": (lambda: _First(nn.GRU(4, 3, batch_first=True)), (2, 4)),
    "bare": (_Bare, (5, 4)),
    "by vmap": (lambda: nn.PReLU(4), (4, 3)),
}


def _loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return outputs.flatten(1).sin().sum(1) * targets


@pytest.mark.parametrize("name", list(MODULES))
def test_a_layer_stays_on_its_device_and_gives_the_same_sum(name: str) -> None:
    make, shape = MODULES[name]
    torch.manual_seed(0)
    module, targets = make(), torch.rand(7)
    tokens = "tied" in name or "embedding" in name
    inputs = torch.randint(0, 9, (7, *shape)) if tokens else torch.randn(7, *shape)
    here = Engine(module, _loss, Flat(0.5)).clipped_sum(inputs, targets)
    with far_device():
        engine = Engine(moved(copy.deepcopy(module)), _loss, Flat(0.5), chunk=4)
        there = engine.clipped_sum(Far(inputs), Far(targets))
        empty = engine.clipped_sum(Far(inputs[:0]), Far(targets[:0]))
        formed = list(engine.per_example(Far(inputs), Far(targets)))
    for found in (there.gradients, empty.gradients, *formed):
        assert all(isinstance(value, Far) for value in found.values())
    assert isinstance(there.norms, Far)
    assert isinstance(empty.norms, Far)
    for name, value in there.gradients.items():
        torch.testing.assert_close(value.near, here.gradients[name], rtol=1e-4, atol=1e-5)


def test_noise_is_drawn_where_the_sums_are() -> None:
    with far_device():
        sums: list[Tensor] = [Far(torch.zeros(50, 40)), Far(torch.zeros(0)), Far(torch.zeros(3))]
        noisy = add_gaussian(sums, [1.0, 2.0, 2.0])
        correlated = CorrelatedNoise([1.0, 0.5])
        rows = [correlated.add(step, sums, [1.0] * 3, STREAM, divisor=1.0) for step in range(3)]
    for found in (noisy, *rows):
        assert all(isinstance(value, Far) for value in found)
        assert 0.8 < float(found[0].near.std()) < 1.5  # 1 to 1.28, give or take 0.02


@pytest.mark.parametrize("clipping", [Flat(1.0), Automatic(1.0), AdaptiveQuantile(count_stddev=3)])
@pytest.mark.parametrize("far", [True, False])
def test_a_training_runs_wherever_its_data_lie(
    clipping: Clipping | AdaptiveQuantile, far: bool, tmp_path: Path
) -> None:
    inputs, targets = torch.randn(60, 1, 6, 6), torch.randint(0, 3, (60,))
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(64, 3))
    with far_device():
        module = moved(network)
        before = [p.near.clone() for p in module.parameters() if isinstance(p, Far)]
        trainer = PrivateTrainer(
            module,
            lambda o, t: nn.functional.cross_entropy(o, t, reduction="none"),
            torch.optim.SGD(module.parameters(), 0.1, momentum=0.9),
            DpSgd(PoissonSampling(60, 0.3), clipping, 3.0, 2, 1e-3),
            (Far(inputs), Far(targets)) if far else (inputs, targets),
            averaging=0.9,
            physical_batch_size=8,
        )
        trainer.fit(2, checkpoint=tmp_path)
    after = [p.near for p in module.parameters() if isinstance(p, Far)]
    assert len(after) == len(before) > 0
    assert all(not torch.equal(a, b) for a, b in zip(after, before, strict=True))


def test_a_tensor_of_another_place_is_refused() -> None:
    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs.sum(1) + torch.ones(len(targets))

    with far_device():
        engine = Engine(moved(nn.Linear(4, 3)), loss, Flat(1.0))
        with pytest.raises(RuntimeError, match="on cuda and on the CPU"):
            engine.clipped_sum(Far(torch.randn(5, 4)), Far(torch.rand(5)))
        with pytest.raises(TypeError, match="numpy"):
            Far(torch.ones(2)).numpy()
