"""Pictures from gradients: known strength, and none where there is nothing to find."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.attack.gradients.inversion import (
    DeepLeakage,
    InvertingGradients,
    gradients_of,
    total_variation,
)
from sfumato.attack.gradients.likeness import ssim
from sfumato.errors import InputError

SHAPE = (1, 12, 12)


def losses(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets, reduction="none")


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, stride=2, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(216, 5)
    )


def strokes() -> tuple[Tensor, Tensor]:
    """Two pictures that are no noise: a frame and a cross."""
    pictures = torch.zeros(2, *SHAPE)
    pictures[0, 0, 2:10, [2, 9]] = 1
    pictures[0, 0, [2, 9], 2:10] = 0.8
    pictures[1, 0, torch.arange(12), torch.arange(12)] = 0.9
    pictures[1, 0, torch.arange(12), 11 - torch.arange(12)] = 0.6
    return pictures, torch.tensor([3, 1])


def alike(found: Tensor, truth: Tensor) -> list[float]:
    return [float(value) for value in ssim(found.numpy(), truth.numpy())]


def test_gradients_are_those_of_a_backward_pass() -> None:
    module, (pictures, labels) = network(), strokes()
    found = gradients_of(module, losses, pictures, labels)
    for at in range(2):
        loss = losses(module(pictures[at : at + 1]), labels[at : at + 1]).sum()
        own = torch.autograd.grad(loss, list(module.parameters()))
        assert torch.allclose(found[at], torch.cat([g.flatten() for g in own]), atol=1e-6)


def test_inverting_exact_gradients_gives_the_pictures() -> None:
    module, (pictures, labels) = network(), strokes()
    seen = gradients_of(module, losses, pictures, labels).detach()
    found = InvertingGradients(iterations=300)(module, losses, seen, labels, SHAPE)
    assert min(alike(found.pictures, pictures)) > 0.9
    assert found.pictures.min() >= 0
    assert found.pictures.max() <= 1
    assert float(found.objective.max()) < 1e-2


def test_the_length_of_a_gradient_is_not_used() -> None:
    module, (pictures, labels) = network(), strokes()
    seen = gradients_of(module, losses, pictures, labels).detach()
    attack = InvertingGradients(iterations=10)
    found = [attack(module, losses, seen * by, labels, SHAPE).pictures for by in (1, 64)]
    assert torch.allclose(*found, atol=1e-3)


def test_deep_leakage_gives_the_pictures_and_the_labels() -> None:
    module, (pictures, labels) = network(), strokes()
    seen = gradients_of(module, losses, pictures, labels).detach()
    known = DeepLeakage(iterations=60, guesses=1)(module, losses, seen, labels, SHAPE)
    assert min(alike(known.pictures, pictures)) > 0.95
    attack = DeepLeakage(iterations=80, guesses=2)
    unknown = attack(module, losses, seen, None, SHAPE, classes=5)
    assert torch.equal(unknown.labels, labels)
    assert min(alike(unknown.pictures, pictures)) > 0.9


def test_each_gradient_is_attacked_by_itself() -> None:
    module, (pictures, labels) = network(), strokes()
    seen = gradients_of(module, losses, pictures, labels).detach()
    attack = InvertingGradients(iterations=60)
    both = attack(module, losses, seen, labels, SHAPE)
    other = attack(module, losses, torch.stack([seen[0], -seen[1]]), labels, SHAPE)
    assert torch.allclose(both.pictures[0], other.pictures[0], atol=1e-3)


def test_noise_alone_gives_no_picture() -> None:
    module, (pictures, labels) = network(), strokes()
    clean = gradients_of(module, losses, pictures, labels)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(2))
    found = InvertingGradients(iterations=200)(module, losses, noise, labels, SHAPE)
    assert max(alike(found.pictures, pictures)) < 0.4


def test_the_module_is_left_as_it_was() -> None:
    module, (pictures, labels) = network(), strokes()
    before = [p.detach().clone() for p in module.parameters()]
    seen = gradients_of(module, losses, pictures, labels).detach()
    InvertingGradients(iterations=3)(module, losses, seen, labels, SHAPE)
    assert all(map(torch.equal, before, module.parameters()))
    assert all(p.grad is None for p in module.parameters())


def test_total_variation_is_the_mean_of_neighbours() -> None:
    picture = torch.zeros(1, 1, 2, 2)
    picture[0, 0, 0, 0] = 1
    assert float(total_variation(picture)) == pytest.approx(1.0)
    assert float(total_variation(torch.ones(1, 1, 5, 5))) == 0


def test_a_failed_search_is_no_nan() -> None:
    module, (_, labels) = network(), strokes()
    seen = torch.full((1, sum(p.numel() for p in module.parameters())), math.nan)
    found = DeepLeakage(iterations=5, guesses=1)(module, losses, seen, labels[:1], SHAPE)
    assert found.pictures.isfinite().all()
    assert float(found.objective) == math.inf


def test_what_does_not_fit_is_refused() -> None:
    module, (_, labels) = network(), strokes()
    with pytest.raises(InputError, match="The model's are"):
        InvertingGradients()(module, losses, torch.zeros(2, 7), labels, SHAPE)
    size = sum(p.numel() for p in module.parameters())
    with pytest.raises(InputError, match="Give their number"):
        DeepLeakage()(module, losses, torch.zeros(2, size), None, SHAPE)


# Planted: an attack whose gradient is not that of the picture it looks for.


def test_an_attack_with_the_wrong_objective_finds_nothing() -> None:
    class Turned(InvertingGradients):
        @staticmethod
        def _distance(found: Tensor, seen: Tensor) -> Tensor:
            return 1 + torch.cosine_similarity(found, seen, dim=1)

    module, (pictures, labels) = network(), strokes()
    seen = gradients_of(module, losses, pictures, labels).detach()
    found = Turned(iterations=150)(module, losses, seen, labels, SHAPE)
    assert max(alike(found.pictures, pictures)) < 0.5
