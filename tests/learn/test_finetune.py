"""Fine-tuning touches private images through clipped, noisy sums and in no other way."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.learn.lite0 import random_network
from torch import Tensor, nn

from sfumato.errors import InputError
from sfumato.learn.clipping import Flat
from sfumato.learn.finetune import CalibratedFineTune, FineTune, frozen_features
from sfumato.learn.mechanism import DpSgd
from sfumato.learn.sampling import PoissonSampling
from sfumato.learn.trainable import Trainable
from sfumato.privacy.budget import Budget
from sfumato.privacy.noise import SeededSource
from sfumato.vision import efficientnet_lite
from sfumato.vision.efficientnet_lite import FrozenNorm, Prepare, between

BASE = random_network(32)
SOURCE = SeededSource(5)
KINDS = ("head", "last-1", "norms-2", "bias-2", "lora-1", "all")


def images(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, 1, 28, 28, generator=generator), torch.arange(n) % 3


def quiet(records: int, sigma: float = 1e-6, **choices: Any) -> CalibratedFineTune:
    """A training with a noise multiplier of our choice, every record at every step."""
    plain = {"steps": 1, "momentum": 0.0, "learning_rate": 1.0, "body_rate": 1.0}
    choices = plain | {"averaging": 0.0, "max_grad_norm": 0.1} | choices
    method = FineTune(3, side=32, base=BASE, sample_rate=1.0, **choices)
    sampling = PoissonSampling(records, 1.0)
    clip = Flat(method.max_grad_norm)
    return CalibratedFineTune(method, DpSgd(sampling, clip, sigma, method.steps, 1e-5))


@pytest.mark.parametrize("word", KINDS)
def test_what_is_not_trained_is_the_public_network(word: str) -> None:
    private, labels = images(6)
    model = quiet(6, trainable=word, steps=2).fit(private, labels, source=SOURCE)
    changed = set(model.changed(BASE))
    trainable = Trainable.parse(word)
    network = random_network(32)
    suffix = between(network, trainable.cut(network), len(network))
    trainable.prepare(suffix, torch.Generator())
    allowed = {name for name, p in suffix.named_parameters() if p.requires_grad}
    if word.startswith("lora"):
        allowed = {name.rpartition(".")[0].rpartition(".")[0] + ".weight" for name in allowed}
    assert changed - {"head.weight", "head.bias"} <= allowed
    assert {"head.weight", "head.bias"} <= changed
    assert (word == "head") == (changed == {"head.weight", "head.bias"})
    for name, buffer in model.network.named_buffers():
        assert torch.equal(buffer, BASE.state_dict()[name]), f"{name} is a private statistic"


@pytest.mark.parametrize("word", ["head", "last-1", "bias-1"])
def test_one_step_is_the_clipped_sum_of_a_loop_over_records(word: str) -> None:
    private, labels = images(5)
    bound = 0.3
    calibrated = quiet(5, trainable=word, max_grad_norm=bound, steps=2)
    model = calibrated.fit(private, labels, source=SOURCE)
    network = random_network(32)
    head = nn.Linear(1280, 3)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    network.add_module("head", head)
    Trainable.parse(word).prepare(
        between(network, Trainable.parse(word).cut(BASE), len(BASE)), torch.Generator()
    )
    parameters = {name: p for name, p in network.named_parameters() if p.requires_grad}
    for step in range(2):
        total = {name: torch.zeros_like(p) for name, p in parameters.items()}
        for image, label in zip(private, labels, strict=True):
            loss = F.cross_entropy(network(image[None]), label[None])
            found = torch.autograd.grad(loss, list(parameters.values()))
            norm = math.sqrt(sum(float(g.double().square().sum()) for g in found))
            for name, gradient in zip(parameters, found, strict=True):
                total[name] += gradient * min(1.0, bound / norm)
        rate = (1 + math.cos(math.pi * step / 2)) / 2
        with torch.no_grad():
            for name, p in parameters.items():
                p -= rate * total[name] / 5
    for name, p in parameters.items():
        found = model.network.state_dict()[name]
        torch.testing.assert_close(found, p.detach(), atol=2e-4, rtol=1e-3)


def test_an_image_of_a_thousand_times_the_brightness_moves_nothing_beyond_the_clip() -> None:
    private, labels = images(8)
    wild = private.clone()
    wild[0] *= 1000
    weights = []
    for part in (private, wild):
        model = quiet(8, trainable="head").fit(part, labels, source=SOURCE)
        weights.append(
            torch.cat([p.flatten() for p in model.network.get_submodule("head").parameters()])
        )
    assert float((weights[0] - weights[1]).norm()) <= 2 * 0.1 / 8 * (1 + 1e-4)


def test_a_broken_image_contributes_nothing() -> None:
    private, labels = images(4)
    private[1] = math.nan
    fewer = [0, 2, 3]
    model = quiet(4).fit(private, labels, source=SOURCE)
    other = quiet(4).fit(private[fewer], labels[fewer], source=SOURCE)
    weight = "head.weight"
    torch.testing.assert_close(
        model.network.state_dict()[weight], other.network.state_dict()[weight]
    )


def test_frozen_features_of_an_image_do_not_depend_on_the_others() -> None:
    private, _ = images(70)  # more than one chunk
    frozen = between(BASE, 0, 5)
    whole = frozen_features(frozen, private)
    near = {"atol": 1e-3, "rtol": 0}
    torch.testing.assert_close(whole[3:4], frozen_features(frozen, private[3:4]), **near)
    torch.testing.assert_close(whole[69:], frozen_features(frozen, private[69:]), **near)
    assert frozen_features(frozen, private[:0]).shape == (0, *whole.shape[1:])
    assert frozen_features(between(BASE, 0, 0), private) is private


class _LiveNorm(nn.BatchNorm2d):
    """The planted defect: statistics of the batch, and running ones of everything seen."""


def _with_live_norms() -> nn.Sequential:
    network = random_network(32)
    for part in list(network.modules()):
        for name, child in list(part.named_children()):
            if isinstance(child, FrozenNorm):
                live = _LiveNorm(child.num_features)
                live.load_state_dict({**live.state_dict(), **child.state_dict()})
                setattr(part, name, live.train())
    return network


@pytest.mark.parametrize("word", ["head", "last-1", "all"])
def test_planted_batch_norms_in_train_mode_are_refused(word: str) -> None:
    private, labels = images(4)
    calibrated = quiet(4, trainable=word)
    live = dataclasses.replace(
        calibrated, method=dataclasses.replace(calibrated.method, base=_with_live_norms())
    )
    with pytest.raises(InputError, match="mixes the examples of a batch"):
        live.fit(private, labels, source=SOURCE)


class _PrivatePrepare(Prepare):
    """The planted defect: normalised by the mean and spread of the private images."""

    def forward(self, images: Tensor) -> Tensor:
        prepared = super().forward(images)
        return (prepared - prepared.mean()) / prepared.std()


def _depends_on_others(network: nn.Sequential) -> bool:
    """Whether an image's features change with the images beside it."""
    private, _ = images(6)
    alone = frozen_features(between(network, 0, 3), private[:1])
    beside = frozen_features(between(network, 0, 3), torch.cat([private[:1], 0.2 * private[1:]]))
    return not torch.allclose(alone, beside[:1], atol=1e-4)


def test_planted_normalisation_by_private_statistics_is_caught() -> None:
    assert not _depends_on_others(BASE)
    planted = nn.Sequential(_PrivatePrepare(32), *list(BASE)[1:])
    assert _depends_on_others(planted)


def test_the_guarantee_is_that_of_the_steps_and_their_sampling() -> None:
    calibrated = FineTune(3, steps=50, sample_rate=0.1).calibrate(Budget(3.0, 1e-5), records=2_000)
    assert 2.99 < calibrated.guarantee().epsilon() <= 3.0
    assert calibrated.dp_sgd.sampling.expected_batch_size == pytest.approx(200)
    assert calibrated.guarantee().event == calibrated.dp_sgd.event


def test_a_smaller_budget_means_more_noise_and_the_same_clip() -> None:
    method = FineTune(3, steps=20)
    loud, soft = (method.calibrate(Budget(e, 1e-5), records=500).dp_sgd for e in (1.0, 8.0))
    assert loud.noise_multiplier > soft.noise_multiplier
    assert loud.clipping == soft.clipping


def test_the_divisor_is_the_declared_expectation_not_the_number_of_rows() -> None:
    private, labels = images(4)
    full = quiet(4).fit(private, labels, source=SOURCE).network.state_dict()["head.bias"]
    half = quiet(8).fit(private, labels, source=SOURCE).network.state_dict()["head.bias"]
    torch.testing.assert_close(half, full / 2, atol=1e-6, rtol=1e-4)


def test_it_learns_what_colour_an_image_is() -> None:
    generator = torch.Generator().manual_seed(3)
    private = 0.3 * torch.rand(60, 3, 32, 32, generator=generator)
    labels = torch.arange(60) % 3
    private[torch.arange(60), labels] += 0.7
    calibrated = quiet(60, sigma=0.05, steps=30, learning_rate=2.0, momentum=0.5)
    model = calibrated.fit(private, labels, source=SOURCE)
    assert float((model.predict(private) == labels).double().mean()) > 0.6  # chance is a third
    torch.testing.assert_close(model.probabilities(private).sum(1), torch.ones(60))


@pytest.mark.parametrize(
    ("choice", "value"),
    [
        ("classes", 1),
        ("trainable", "most"),
        ("side", 8),
        ("sample_rate", 0.0),
        ("steps", 0),
        ("max_grad_norm", 0.0),
        ("learning_rate", math.inf),
        ("body_rate", 0.0),
        ("momentum", 1.0),
        ("averaging", -0.1),
    ],
)
def test_choices_out_of_range_are_refused(choice: str, value: Any) -> None:
    with pytest.raises(InputError):
        FineTune(**{"classes": 3, choice: value}).calibrate(Budget(1.0, 1e-5), records=100)


def test_labels_that_do_not_fit_are_refused_before_anything_is_computed() -> None:
    private, labels = images(4)
    with pytest.raises(InputError, match="labels"):
        quiet(4).fit(private, labels[:3])
    with pytest.raises(InputError, match="a label is 7"):
        quiet(4).fit(private, torch.tensor([0, 1, 2, 7]))


def test_progress_is_told_of_both_halves() -> None:
    private, labels = images(4)
    told: list[tuple[int, int, str]] = []
    quiet(4, steps=2).fit(private, labels, source=SOURCE, progress=lambda *now: told.append(now))
    assert told == [(4, 4, "frozen layers"), (1, 2, "training"), (2, 2, "training")]


def test_the_network_can_be_the_default_ones_copy() -> None:
    method = FineTune(3, side=32, base=BASE)
    copy = method.network()
    assert copy is not BASE
    assert set(copy.state_dict()) == set(efficientnet_lite.network(32).state_dict())
