"""The closed form of a linear layer: no record reaches further than the bound."""

from __future__ import annotations

import torch

from sfumato.learn.clipping import Flat
from sfumato.learn.linear import clipped_sum, lengths_with_bias


def summed(features: torch.Tensor, weight: torch.Tensor) -> dict[str, torch.Tensor]:
    labels = torch.zeros(len(features), dtype=torch.int64)
    lengths = lengths_with_bias(features)
    return clipped_sum(weight, torch.zeros(2), features, lengths, labels, Flat(1.0)).gradients


def test_a_residual_whose_square_is_no_number_is_clipped() -> None:
    # A residual of 1e-23 times a feature of 1e30; its norm was 0, and nothing was clipped.
    weight = torch.tensor([[0.0, 0.0], [0.0, -1.0]])
    found = summed(torch.tensor([[1e30, 53.0]]), weight)
    assert 0.5 < float(torch.cat([found["weight"], found["bias"][:, None]], 1).norm()) <= 1.0


def test_a_record_that_is_no_number_leaves_the_sum_to_the_others() -> None:
    torch.manual_seed(0)
    features, weight = torch.randn(5, 3), torch.randn(2, 3)
    others = summed(features[[0, 3, 4]], weight)
    features[1, 0], features[2, 1] = torch.nan, torch.inf
    found = summed(features, weight)
    for name, total in others.items():
        assert torch.allclose(found[name], total, atol=1e-6), name


def test_a_feature_near_the_largest_number_is_clipped_too() -> None:
    """Planted: factor times residual was no normal number, and was rounded up by a thousandth."""
    generator, worst = torch.Generator().manual_seed(0), 0.0
    for _ in range(100):
        features = torch.randn(1, 3, generator=generator)
        features *= 1e38 / float(features.norm())
        found = clipped_sum(
            torch.zeros(3, 3),
            torch.randn(3, generator=generator),
            features,
            lengths_with_bias(features),
            torch.zeros(1, dtype=torch.int64),
            Flat(1e-4),
        ).gradients
        whole = torch.cat([found["weight"], found["bias"][:, None]], 1).double()
        worst = max(worst, float(whole.norm()) / 1e-4)
    assert worst <= 1.0
