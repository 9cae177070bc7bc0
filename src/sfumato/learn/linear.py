"""The clipped sum of a linear layer's gradients, in closed form.

Under cross-entropy the gradient for one record is the outer product of residual and features, so
each norm is a product of two norms and the clipped sum is one matrix product: exact, and no dearer
than an ordinary step.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sfumato.learn.clipping import Clipping

_CHUNK = 2048
"""Records of a sample that are copied at a time."""


class ClippedLinear(NamedTuple):
    """The clipped sum of a linear layer's gradients.

    Attributes:
        gradients: ``weight``, (classes, d), and ``bias``, (classes,).
        norms: (1, n), before clipping.
    """

    gradients: dict[str, Tensor]
    norms: Tensor


def lengths_with_bias(features: Tensor) -> Tensor:
    """``|(x, 1)|`` of every row of (n, d) features, (n,): the bias is an input of 1."""
    squares = [
        torch.linalg.vector_norm(part, dim=1, dtype=torch.float64).square()
        for part in torch.split(features, _CHUNK)
    ]
    lengths: Tensor = torch.cat(squares).add(1).sqrt().to(features.dtype)
    return lengths


@torch.no_grad()
def clipped_sum(
    weight: Tensor,
    bias: Tensor,
    features: Tensor,
    lengths: Tensor,
    labels: Tensor,
    clipping: Clipping,
) -> ClippedLinear:
    """The sum of the clipped gradients of cross-entropy; exact, without any single gradient.

    The gradient of one record is ``(p - y) (x, 1)^T``, whose norm is ``|p - y| |(x, 1)|``.

    Args:
        weight: (classes, d).
        bias: (classes,).
        features: (n, d); n may be 0.
        lengths: (n,) from :func:`lengths_with_bias`.
        labels: (n,) int64.
        clipping: One group.
    """
    residuals = torch.softmax(features @ weight.T + bias, dim=1)
    residuals[torch.arange(len(labels), device=labels.device), labels] -= 1
    norms = torch.linalg.vector_norm(residuals, dim=1)[None] * lengths
    factors = clipping.factors(norms)[0, :, None]
    # Where a norm is not finite the factor is 0, and 0 times NaN would not be.
    clipped = torch.where(factors > 0, residuals * factors, 0.0)
    return ClippedLinear({"weight": clipped.T @ features, "bias": clipped.sum(dim=0)}, norms)


def sum_over(
    rows: NDArray[np.int64],
    layer: dict[str, Tensor],
    features: Tensor,
    lengths: Tensor,
    labels: Tensor,
    clipping: Clipping,
) -> ClippedLinear:
    """The clipped sum over a sample, a part of it at a time; see :func:`clipped_sum`."""
    gradients = {name: torch.zeros_like(value) for name, value in layer.items()}
    norms = [torch.zeros(1, 0, device=features.device)]
    for part in torch.split(torch.from_numpy(rows).to(features.device), _CHUNK):
        found = clipped_sum(
            layer["weight"], layer["bias"], features[part], lengths[part], labels[part], clipping
        )
        norms.append(found.norms)
        for name, value in found.gradients.items():
            gradients[name] += value
    return ClippedLinear(gradients, torch.cat(norms, dim=1))
