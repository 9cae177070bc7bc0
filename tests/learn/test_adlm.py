"""Training behind a scale that relevance decides: one event for all that is drawn."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sfumato.errors import InputError
from sfumato.learn import adlm, noise
from sfumato.learn.adlm import AdLm, rescale
from sfumato.learn.architectures import build
from sfumato.learn.architectures.scaled import ScaledNet
from sfumato.learn.clipping import Flat
from sfumato.learn.mechanism import DpSgd
from sfumato.learn.sampling import PoissonSampling
from sfumato.learn.trainer import PrivateTrainer
from sfumato.privacy import accounting, events
from sfumato.privacy.budget import Budget
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import SeededSource

BUDGET = Budget(2.0, 1e-4)
DENSE = {"family": "dense", "shape": [1, 3, 3], "classes": 3, "hidden": [5]}


def scaled(inner: dict[str, Any] | None = None) -> ScaledNet:
    module = build({"family": "scaled", "inner": inner or DENSE}, seed=0)
    assert isinstance(module, ScaledNet)
    return module


def images(n: int) -> tuple[Tensor, Tensor]:
    """Of nine pixels the first three show the class; the others are noise."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(3, (n,), generator=generator)
    pixels = torch.rand(n, 9, generator=generator) / 2
    pixels[:, :3] = torch.nn.functional.one_hot(labels, 3).float()
    return pixels.view(n, 1, 3, 3), labels


def small(**settings: Any) -> AdLm:
    return AdLm(**{"sample_rate": 0.2, "steps": 30, "warmup": 10, **settings})


@pytest.mark.parametrize("neighbours", [Neighbours.ADD_REMOVE, Neighbours.REPLACE_ONE])
def test_steps_and_relevance_together_meet_the_budget(neighbours: Neighbours) -> None:
    calibrated = small().calibrate(BUDGET, records=200, neighbours=neighbours)
    assert 0.995 * BUDGET.epsilon < calibrated.guarantee().epsilon() <= BUDGET.epsilon
    steps = accounting.epsilon(calibrated.dp_sgd.event, BUDGET.delta, neighbours)
    assert steps < calibrated.guarantee().epsilon()
    mean = events.GaussianDpEvent(calibrated.mean.noise_multiplier)
    assert calibrated.event == events.compose(mean, calibrated.dp_sgd.event)


def draws(monkeypatch: pytest.MonkeyPatch, **settings: Any) -> list[float]:
    """The standard deviation of the noise of every draw of a fit."""
    seen: list[float] = []
    original, double = noise.add_gaussian, noise.add_gaussian_double

    def told_double(values: Any, stddev: float, *args: Any) -> Any:
        seen.append(stddev)
        return double(values, stddev, *args)

    def told(tensors: Any, stddevs: Any, *args: Any, **named: Any) -> Any:
        seen.extend(set(stddevs))
        return original(tensors, stddevs, *args, **named)

    monkeypatch.setattr(noise, "add_gaussian", told)
    monkeypatch.setattr(noise, "add_gaussian_double", told_double)
    calibrated = small(**settings).calibrate(BUDGET, records=200)
    calibrated.fit(scaled(), images(200), source=SeededSource(1))
    assert seen.count(calibrated.mean.noise_multiplier) == 1
    return seen


def test_as_much_is_drawn_as_is_paid_for(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = draws(monkeypatch, max_grad_norm=0.5)
    assert len(seen) == 30 + 1
    assert len(set(seen[:10])) == 1
    assert set(seen[11:]) == set(seen[:10])


def test_what_matters_is_found_and_enters_stronger() -> None:
    calibrated = small(steps=80, warmup=60, learning_rate=2.0).calibrate(
        Budget(60.0, 1e-3), records=400
    )
    module = scaled()
    beta = calibrated.fit(module, images(400), source=SeededSource(1))
    assert float(beta.mean()) == pytest.approx(1.0)
    assert float(beta[:3].mean()) > 3 * float(beta[3:].mean())
    torch.testing.assert_close(module.scale.flatten(), beta.sqrt())
    pixels, labels = images(400)
    assert float((module(pixels).argmax(dim=1) == labels).double().mean()) > 0.9


def trainer_of(module: ScaledNet) -> PrivateTrainer:
    dp_sgd = DpSgd(PoissonSampling(50, 0.2), Flat(1.0), 1.0, 5, 1e-4)
    optimizer = torch.optim.SGD(module.parameters(), 0.1, momentum=0.9)
    loss = nn.CrossEntropyLoss(reduction="none")
    trainer = PrivateTrainer(
        module, loss, optimizer, dp_sgd, images(50), averaging=0.5, source=SeededSource(1)
    )
    trainer.fit(3)
    return trainer


def test_a_linear_first_layer_computes_what_it_did() -> None:
    module = scaled()
    trainer = trainer_of(module)
    pixels, _ = images(20)
    before = module(pixels)
    average = {name: value.clone() for name, value in trainer.average.weights.items()}  # type: ignore[union-attr]
    beta = torch.linspace(0.1, 1.9, 9)
    rescale(trainer, module, beta)
    torch.testing.assert_close(module(pixels), before)
    first = "2.1.weight"
    torch.testing.assert_close(
        trainer.average.weights[first] * beta.sqrt(),  # type: ignore[union-attr]
        average[first],
    )
    trainer.fit()  # the rest goes on


def test_a_convolution_is_scaled_pixel_by_pixel() -> None:
    module = scaled({"family": "small-cnn", "shape": [1, 16, 16], "classes": 3})
    pixels = torch.rand(4, 1, 16, 16)
    before = module(pixels)
    module.scale.fill_(0.5)
    assert not torch.allclose(module(pixels), before)
    torch.testing.assert_close(module(2 * pixels), before)


def test_rows_of_a_table_are_scaled_behind_their_encoder() -> None:
    columns = [{"size": 4, "grid": None}, {"size": 9, "grid": 8}]
    module = scaled({"family": "table-dense", "columns": columns, "classes": 2, "hidden": [3]})
    assert module.scale.shape == (6,)
    codes = torch.tensor([[0, 8], [3, 0]], dtype=torch.int32)
    calibrated = small(sample_rate=0.5, steps=4, warmup=1).calibrate(BUDGET, records=40)
    data = codes.repeat(20, 1), torch.arange(40) % 2
    beta = calibrated.fit(module, data, source=SeededSource(1))
    assert beta.shape == (6,)


def test_a_network_out_of_sequence_is_refused() -> None:
    inner = {"family": "wide-resnet", "shape": [1, 8, 8], "classes": 3, "depth": 10, "width": 1}
    with pytest.raises(InputError):
        small().calibrate(BUDGET, records=200).fit(scaled(inner), images(200))


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 10},
        {"warmup": 0},
        {"floor": 0.0},
        {"relevance_share": 1.0},
        {"momentum": 1.0},
        {"sample_rate": 0.0},
        {"learning_rate": float("inf")},
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        small(**settings)


def test_relevance_is_propagated_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    calibrated = small(steps=3, warmup=1).calibrate(BUDGET, records=60)
    whole = calibrated.fit(scaled(), images(60), source=SeededSource(1))
    monkeypatch.setattr(adlm, "_CHUNK", 7)
    parts = calibrated.fit(scaled(), images(60), source=SeededSource(1))
    torch.testing.assert_close(whole, parts)
