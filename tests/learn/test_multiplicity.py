"""Several versions of an example, clipped as one."""

from __future__ import annotations

import pytest
import torch
from tests.learn.scaled import Scaled
from torch import nn

from sfumato.errors import InputError
from sfumato.learn import multiplicity
from sfumato.learn.clipping import Flat
from sfumato.learn.multiplicity import MultiplicityEngine

RNG = torch.Generator().manual_seed(0)
MODULE = nn.Sequential(nn.Conv2d(1, 3, 3), nn.GroupNorm(1, 3), nn.ReLU(), nn.Flatten())
IMAGES = torch.rand(5, 4, 1, 6, 5, generator=RNG)
TARGETS = torch.rand(5, 4, 36, generator=RNG)


def losses(found: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (found - targets).square().mean(dim=1)


def test_the_mean_over_versions_is_clipped(monkeypatch: pytest.MonkeyPatch) -> None:
    clip = Flat(0.3)
    wanted = [torch.zeros_like(p) for p in MODULE.parameters()]
    norms = []
    for versions, targets in zip(IMAGES, TARGETS, strict=True):
        gradients = torch.autograd.grad(
            losses(MODULE(versions), targets).mean(), list(MODULE.parameters())
        )
        norm = torch.cat([g.flatten() for g in gradients]).norm()
        norms.append(float(norm))
        for total, gradient in zip(wanted, gradients, strict=True):
            total += gradient * min(1.0, 0.3 / float(norm))
    for numbers in (1, 1 << 23):  # one example at a time, or all at once
        monkeypatch.setattr(multiplicity, "_NUMBERS", numbers)
        found = MultiplicityEngine(MODULE, losses, clip).clipped_sum((IMAGES,), TARGETS)
        assert found.norms[0].tolist() == pytest.approx(norms, rel=1e-4)
        for total, gradient in zip(wanted, found.gradients.values(), strict=True):
            assert torch.allclose(total, gradient, atol=1e-5)


def test_an_example_that_is_not_finite_contributes_nothing() -> None:
    images = IMAGES.clone()
    images[2, 1] = torch.inf
    engine = MultiplicityEngine(MODULE, losses, Flat(0.3))
    with_it = engine.clipped_sum((images,), TARGETS).gradients
    kept = [0, 1, 3, 4]
    without = engine.clipped_sum((images[kept],), TARGETS[kept]).gradients
    assert all(torch.allclose(with_it[name], without[name], atol=1e-6) for name in without)
    none = engine.clipped_sum((images[:0],), TARGETS[:0])
    assert none.norms.shape == (1, 0)
    assert all(not g.any() for g in none.gradients.values())


def test_what_mixes_examples_is_refused() -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    with pytest.raises(InputError, match="BatchNorm"):
        MultiplicityEngine(module, losses, Flat(1.0))


def test_a_parameter_may_be_a_number() -> None:
    targets = torch.rand(5, 4, 30, generator=RNG)
    found = MultiplicityEngine(Scaled(), losses, Flat(1e3)).clipped_sum((IMAGES,), targets)
    flat = IMAGES.flatten(2)
    expected = (2 * (0.5 * flat - targets) * flat).mean(dim=2).mean(dim=1).sum()
    torch.testing.assert_close(found.gradients["size"], expected)
