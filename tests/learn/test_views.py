"""Augmentation multiplicity: one contribution an example, however many views."""

from __future__ import annotations

import pytest
import torch
from tests.learn.scaled import Scaled
from torch import Tensor, nn
from torch.nn import functional

from sfumato.errors import InputError
from sfumato.learn.clipping import Flat
from sfumato.learn.engine import Engine
from sfumato.learn.views import ViewEngine, Views

BOUND = 0.7


def losses(scores: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(scores, targets, reduction="none")


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(3 * 16, 4))


def batch(n: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.rand(n, 1, 6, 6), torch.randint(0, 4, (n,))


def test_a_view_moves_an_image_and_the_first_one_does_not() -> None:
    images, _ = batch(3)
    seen = Views(5, shift=2, mirror=True)(images, torch.Generator().manual_seed(3))
    assert seen.shape == (3, 5, 1, 6, 6)
    assert torch.equal(seen[:, 0], images)
    assert not torch.equal(seen[:, 1], images)
    # What a view shows is in the image, moved: nothing is added but black.
    values = set(images.unique().tolist()) | {0.0}
    assert set(seen.unique().tolist()) <= values


def test_one_view_gives_the_sum_of_the_one_pass_engine() -> None:
    module, (images, labels) = network(), batch(7)
    plain = Engine(module, losses, Flat(BOUND)).clipped_sum(images, labels)
    viewed = ViewEngine(module, losses, Flat(BOUND), Views(1), 0).clipped_sum(images, labels)
    for name, total in plain.gradients.items():
        assert torch.allclose(viewed.gradients[name], total, rtol=1e-4, atol=1e-6), name
    assert torch.allclose(viewed.norms, plain.norms, rtol=1e-4)


def test_the_sum_is_that_of_each_examples_clipped_mean_gradient() -> None:
    module, (images, labels), views = network(), batch(5), Views(4, shift=1)
    found = ViewEngine(module, losses, Flat(BOUND), views, 9).clipped_sum(images, labels)
    seen = views(images, torch.Generator().manual_seed(9))
    parameters = dict(module.named_parameters())
    total = {name: torch.zeros_like(p) for name, p in parameters.items()}
    for one, label in zip(seen, labels, strict=True):
        mean = losses(module(one), label.expand(4)).mean()
        gradients = torch.autograd.grad(mean, list(parameters.values()))
        norm = torch.sqrt(sum(g.square().sum() for g in gradients))
        for name, gradient in zip(parameters, gradients, strict=True):
            total[name] += gradient * min(1.0, BOUND / float(norm))
    for name, expected in total.items():
        assert torch.allclose(found.gradients[name], expected, rtol=1e-4, atol=1e-6), name


def test_no_number_of_views_lifts_a_contribution_above_the_bound() -> None:
    module, (images, labels) = network(), batch(1)
    for count in (1, 8):
        engine = ViewEngine(module, losses, Flat(1e-3), Views(count), 0)
        total = engine.clipped_sum(images, labels).gradients
        norm = torch.sqrt(sum(g.square().sum() for g in total.values()))
        assert float(norm) <= 1e-3


def test_an_example_that_is_no_number_adds_nothing_and_spoils_nobody() -> None:
    module, (images, labels) = network(), batch(4)
    engine = ViewEngine(module, losses, Flat(BOUND), Views(3), 2)
    images[1] = torch.nan
    spoilt = engine.clipped_sum(images, labels)
    rest = [0, 2, 3]
    clean = ViewEngine(module, losses, Flat(BOUND), Views(3), 2).clipped_sum(
        images[rest], labels[rest]
    )
    for name, total in clean.gradients.items():
        assert torch.allclose(spoilt.gradients[name], total, rtol=1e-4, atol=1e-6), name


def test_an_empty_batch_sums_to_zero() -> None:
    images, labels = batch(2)
    found = ViewEngine(network(), losses, Flat(1.0), Views(2), 0).clipped_sum(
        images[:0], labels[:0]
    )
    assert found.norms.shape == (1, 0)
    assert all(not total.any() for total in found.gradients.values())


def test_settings_and_inputs_without_a_meaning_are_refused() -> None:
    for wrong in ({"count": 0}, {"shift": -1}, {"mirror": 1}):
        with pytest.raises(InputError):
            Views(**wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="not images"):
        ViewEngine(network(), losses, Flat(1.0), Views(2), 0).clipped_sum(
            torch.zeros(2, 5), torch.zeros(2, dtype=torch.int64)
        )


def test_a_parameter_may_be_a_number() -> None:
    images, labels = batch(4)
    one = Engine(Scaled(), losses, Flat(BOUND)).clipped_sum(images, labels)
    seen = ViewEngine(Scaled(), losses, Flat(BOUND), Views(1), 0).clipped_sum(images, labels)
    torch.testing.assert_close(one.gradients, seen.gradients)
