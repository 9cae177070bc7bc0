"""What layers' gradients tell: much of what they were made of, nothing of a coin toss."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from sfumato.attack.gradients.exposure import Exposure
from sfumato.data import datasets
from sfumato.errors import InputError
from sfumato.learn.examples import labelled
from sfumato.measure.gradient_leakage import Layer, gradient_leakage
from sfumato.publish.models.network import architecture


@cache
def digits() -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    data = datasets.load("digits", "train")
    images = torch.from_numpy(data.images[:400])
    ink = images.sum(dim=(1, 2, 3)).numpy()
    return images, torch.from_numpy(data.labels[:400]), (ink > np.median(ink)).astype(np.int64)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 10)).eval()


def layers(attribute: np.ndarray | None = None, exposure: Exposure | None = None) -> list[Layer]:
    images, labels, thick = digits()
    given = thick if attribute is None else attribute
    return list(gradient_leakage(network(), images, labels, given, exposure=exposure, width=128))


def test_layers_tell_of_input_and_attribute_and_of_no_coin_toss() -> None:
    first, last = layers()
    assert (first.name, last.name) == ("1", "3")
    assert first.parameters == 64 * 16 + 16
    assert first.attribute_interval[0] > 0.3
    assert first.attribute_bits < first.attribute_entropy < 1.05
    assert first.input_interval[0] > 0.1
    assert first.input_nats > last.input_nats
    assert first.subspace_distance > first.subspace_control
    tossed = np.random.default_rng(0).integers(0, 2, 400)
    for layer in layers(tossed):
        assert layer.attribute_interval[0] <= 0
        assert layer.attribute_bits < 0.02


def test_what_the_label_alone_tells_stands_beside() -> None:
    """Of an attribute that follows from the label, all of it; of a coin toss, nothing. Of the input
    less than the gradients tell, and more than nothing: digits of one class look alike."""
    _, labels, _ = digits()
    even = labels.numpy() % 2
    for layer in layers(even):
        assert layer.attribute_by_label > 0.9 * layer.attribute_entropy
        assert 0.05 < layer.input_by_label < layer.input_nats
    tossed = np.random.default_rng(0).integers(0, 2, 400)
    assert layers(tossed)[0].attribute_by_label < 0.02


def test_the_noise_of_training_hides_both() -> None:
    for layer in layers(exposure=Exposure(1.0, 1.0)):
        assert layer.attribute_bits < 0.05
        assert layer.input_nats < 0.02


def test_sensitivity_grows_with_the_weights_that_carry_the_input() -> None:
    images, labels, thick = digits()
    quiet, loud = network(), network()
    with torch.no_grad():
        quiet[1].weight *= 0.01
    found = [gradient_leakage(m, images, labels, thick, width=64)[1] for m in (quiet, loud)]
    assert found[0].sensitivity < 0.2 * found[1].sensitivity


def test_rows_are_measured_too() -> None:
    from sfumato.learn.architectures import build

    data = datasets.load("census-sample", "train").head(1000)
    inputs, labels = labelled(data)
    module = build(architecture(data.schema, "auto", (16,)), seed=0).eval()
    attribute = inputs[:, 0].numpy().astype(np.int64)
    first, *_ = gradient_leakage(module, inputs, labels, attribute, width=128)
    assert first.attribute_interval[0] > 0
    assert first.sensitivity > 0


def test_what_says_nothing_is_refused() -> None:
    images, labels, thick = digits()
    with pytest.raises(InputError, match="at least 40"):
        gradient_leakage(network(), images[:30], labels[:30], thick[:30])
    with pytest.raises(InputError, match="same for all"):
        gradient_leakage(network(), images, labels, np.zeros(400, np.int64))
