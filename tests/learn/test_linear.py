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
