"""Relevance: handed back exactly, bounded record by record, noised once. False alarm <= 1e-6."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import chi2
from torch import Tensor, nn

from sfumato.errors import InputError
from sfumato.learn import relevance
from sfumato.learn.relevance import RelevanceMean, propagated, unit, weights
from sfumato.privacy.noise import SeededSource

ALARM = 1e-6


def without_bias(network: nn.Sequential) -> nn.Sequential:
    for layer in network.modules():
        if getattr(layer, "bias", None) is not None:
            nn.init.zeros_(layer.bias)
    return network


def dense() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))


def convolutional() -> nn.Sequential:
    torch.manual_seed(0)
    features = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    return nn.Sequential(features, nn.Flatten(), nn.Linear(3 * 4, 3))


def by_hand(network: nn.Sequential, inputs: Tensor, target: int) -> Tensor:
    """The epsilon rule, one number at a time."""
    first, _, last = network
    hidden = torch.relu(first(inputs))
    scores = last(hidden)
    out = torch.zeros(len(inputs))
    share = torch.zeros(len(hidden))
    stabilised = float(scores[target]) + math.copysign(1e-6, float(scores[target]))
    for k in range(len(hidden)):
        share[k] = hidden[k] * last.weight[target, k] / stabilised * scores[target]
    before = first(inputs)
    for k in range(len(hidden)):
        stabilised = float(before[k]) + (1e-6 if before[k] >= 0 else -1e-6)
        for j in range(len(inputs)):
            out[j] += inputs[j] * first.weight[k, j] / stabilised * share[k]
    return out


def test_relevance_is_the_epsilon_rule() -> None:
    network = dense()
    inputs = torch.randn(7, 6)
    targets = torch.arange(7) % 3
    found = propagated(network, inputs, targets)
    for i in range(7):
        with torch.no_grad():
            expected = by_hand(network, inputs[i], int(targets[i]))
        torch.testing.assert_close(found[i], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", [dense, convolutional])
def test_without_biases_it_is_gradient_times_input(make: object) -> None:
    network = without_bias(make())  # type: ignore[operator]
    shape = (4, 6) if make is dense else (4, 2, 4, 4)
    inputs = torch.randn(shape).requires_grad_()
    targets = torch.arange(4) % 3
    chosen = network(inputs)[torch.arange(4), targets]
    (gradient,) = torch.autograd.grad(chosen.sum(), inputs)
    found = propagated(network, inputs, targets)
    torch.testing.assert_close(found, (gradient * inputs).detach(), rtol=1e-2, atol=1e-3)
    torch.testing.assert_close(found.flatten(1).sum(dim=1), chosen.detach(), rtol=1e-2, atol=1e-3)


def test_a_records_relevance_depends_on_no_other_record() -> None:
    network, inputs = convolutional(), torch.randn(5, 2, 4, 4)
    targets = torch.arange(5) % 3
    before = propagated(network, inputs, targets)
    inputs[2] *= 1000
    after = propagated(network, inputs, targets)
    others = torch.arange(5) != 2
    assert torch.equal(before[others], after[others])


def test_parameters_get_no_gradient() -> None:
    network = dense()
    propagated(network, torch.randn(3, 6), torch.zeros(3, dtype=torch.int64))
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("layer", [nn.BatchNorm1d(5), nn.LSTM(5, 5), nn.LayerNorm(5)])
def test_other_layers_are_refused_by_name(layer: nn.Module) -> None:
    with pytest.raises(InputError, match=type(layer).__name__):
        relevance.check(nn.Sequential(nn.Linear(6, 5), layer))


def longest(relevances: Tensor) -> float:
    return float(unit(relevances).norm(dim=1).max())


def test_no_record_contributes_more_than_one() -> None:
    rows = torch.randn(40, 9) * torch.logspace(-30, 30, 40)[:, None]
    assert 0.999 < longest(rows) <= 1
    rows[3, 2], rows[4] = torch.nan, torch.inf
    rows[5] = 0
    found = unit(rows)
    assert (found[3:6] == 0).all()
    assert 0.999 < float(found.norm(dim=1).max()) <= 1


def test_planted_scaling_by_extremes_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Brought to [0, 1] by the extremes of all records, a record may contribute sqrt(d)."""

    def scaled(rows: Tensor) -> Tensor:
        return (rows.abs() - rows.abs().min()) / (rows.abs().max() - rows.abs().min())

    rows = torch.zeros(4, 9)
    rows[0] = 1.0
    assert longest(rows) <= 1
    assert float(scaled(rows).norm(dim=1).max()) > 2


def squares(noise_multiplier: float, claimed: float) -> float:
    """The sum of 20,000 squares of the noise, in units of what is claimed."""
    parts = [torch.randn(30, 20_000), torch.randn(11, 20_000)]
    found = RelevanceMean(noise_multiplier, 50).release(parts, SeededSource(1))
    truth = sum(unit(part).sum(dim=0) for part in parts)
    return float(((found.double() * 50 - truth) / claimed).square().sum())


def test_the_noise_is_that_of_the_event() -> None:
    made = RelevanceMean(3.0, 50)
    assert made.event.noise_multiplier == 3.0
    bounds = chi2.isf([1 - ALARM / 2, ALARM / 2], 20_000)
    assert bounds[0] < squares(3.0, 3.0) < bounds[1]


def test_planted_noise_over_the_batch_is_caught() -> None:
    assert squares(3.0 / 41, 3.0) < chi2.isf(1 - ALARM / 2, 20_000)


def test_the_mean_is_over_the_declared_number() -> None:
    rows = torch.ones(40, 4)
    found = RelevanceMean(1e-9, 80).release([rows], SeededSource(1))
    torch.testing.assert_close(found, torch.full((4,), 0.25), rtol=1e-4, atol=0)


def test_weights_have_mean_one_and_a_floor() -> None:
    found = weights(torch.tensor([4.0, 0.0, -1.0, 2.0]), 0.2)
    torch.testing.assert_close(found.mean(), torch.tensor(1.0))
    assert float(found.min()) == pytest.approx(0.2)
    assert float(found[0]) > float(found[3]) > float(found[1])
    assert weights(torch.tensor([-1.0, -2.0]), 0.2).tolist() == [1.0, 1.0]
    assert weights(torch.tensor([5.0, 1.0]), 1.0).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("settings", [(0.0, 5), (math.inf, 5), (1.0, 0)])
def test_impossible_means_are_refused(settings: tuple[float, int]) -> None:
    with pytest.raises(InputError):
        RelevanceMean(*settings)


def test_no_records_are_refused() -> None:
    with pytest.raises(InputError, match="no records"):
        RelevanceMean(1.0, 5).release([], SeededSource(1))
