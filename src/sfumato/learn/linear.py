"""A linear layer trained by clipped sums of gradients in closed form.

Under cross-entropy the gradient for one record is the outer product of residual and features, so
each norm is a product of two norms and the clipped sum is one matrix product: exact, and no dearer
than an ordinary step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from sfumato.errors import InputError
from sfumato.learn import checkpoint
from sfumato.learn.accounted import Mechanism
from sfumato.learn.averaging import LastMean
from sfumato.learn.clipping import Clipping
from sfumato.learn.contracts import Loss
from sfumato.learn.loop import PrivateLoop
from sfumato.learn.ranks import Alone
from sfumato.learn.records import Inputs

if TYPE_CHECKING:
    from sfumato.privacy.noise import NoiseSource

_CHUNK = 2048
"""Records of a sample that are copied at a time."""
_SAVED_EVERY = 10
"""Steps between two checkpoints."""


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
    # In float64: the square of a residual of 1e-23 is 0 in float32, and its product with a feature
    # of 1e30 is not.
    sizes = torch.linalg.vector_norm(residuals, dim=1, dtype=torch.float64)
    norms = sizes[None] * lengths
    factors = clipping.factors(norms)[0, :, None]
    # Where a norm is not finite the factor is 0, and 0 times NaN would not be.
    clipped = torch.where(factors > 0, residuals * factors, 0.0).to(residuals.dtype)
    # Below the normal numbers rounding is worth more than the margin of the factors.
    clipped = torch.where(clipped.abs() < torch.finfo(clipped.dtype).tiny, 0.0, clipped)
    if not bool((factors > 0).all()):
        features = torch.where(factors > 0, features, 0.0)
    return ClippedLinear({"weight": clipped.T @ features, "bias": clipped.sum(dim=0)}, norms)


class LinearEngine:
    """What a loop asks for clipped sums: of a linear layer, under :func:`cross_entropy` only.

    Its inputs are (features, lengths), the lengths from :func:`lengths_with_bias`.

    Args:
        module: The layer.
        loss: :func:`cross_entropy`.
        clipping: One group.

    Raises:
        InputError: If the loss is another: the closed form is that of cross-entropy.
    """

    def __init__(self, module: nn.Module, loss: Loss, clipping: Clipping) -> None:
        if not isinstance(module, nn.Linear) or loss is not cross_entropy:
            raise InputError(
                "the closed form is for a linear layer under sfumato.learn.linear.cross_entropy",
                "Leave the engine out: the usual one takes any layer and any loss.",
            )
        self._layer = module
        self._clipping = clipping

    def clipped_sum(self, inputs: Inputs, targets: Tensor) -> ClippedLinear:
        """See :func:`clipped_sum`."""
        features, lengths = inputs
        layer = self._layer
        return clipped_sum(layer.weight, layer.bias, features, lengths, targets, self._clipping)


def cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    """The loss of each record, (n,)."""
    return nn.functional.cross_entropy(scores, labels, reduction="none")


@dataclass(frozen=True)
class Descent:
    """How the weights follow the noisy gradients: nothing here is of consequence for privacy.

    Args:
        learning_rate: Of the noisy mean gradient.
        momentum: Heavy-ball, in ``[0, 1)``.
        averaged: The part of the steps, from the end, whose weights are averaged, in ``(0, 1]``.
    """

    learning_rate: float
    momentum: float
    averaged: float


def train_linear(
    inputs: tuple[Tensor, Tensor],
    labels: Tensor,
    classes: int,
    mechanism: Mechanism,
    *,
    descent: Descent,
    source: NoiseSource | None = None,
    progress: Callable[[int, int, str], None] | None = None,
    folder: Path | None = None,
) -> nn.Linear:
    """All steps of a mechanism, from zero weights to the mean over the last ones.

    Args:
        inputs: (n, d) features and their (n,) lengths.
        labels: (n,) int64 codes.
        classes: How many there are.
        mechanism: What is accounted; every call spends it.
        descent: See :class:`Descent`.
        source: Sampling and noise; anything but the default is for tests.
        progress: Told after each step.
        folder: Of checkpoints, to continue from if this ends early; a training that is found there
            goes on. Steps begun after its last checkpoint are lost, and counted.
    """
    width, device = inputs[0].shape[1], inputs[0].device
    layer = nn.Linear(width, classes, device=device)
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    steps = mechanism.steps
    mean = LastMean(layer, steps - max(1, round(descent.averaged * steps)))
    loop = PrivateLoop(
        layer,
        torch.optim.SGD(layer.parameters(), descent.learning_rate, descent.momentum),
        cross_entropy,
        (inputs, labels),
        mechanism,
        physical_batch_size=_CHUNK,
        source=source,
        engine=LinearEngine,
        ranks=Alone(),
    )

    def save() -> None:
        if folder is not None:
            loop.save(folder, tensors=mean.weights, values={"averaged": mean.count})

    try:
        if folder is not None and checkpoint.found(folder):
            values, weights = loop.resume(folder)
            mean.load(weights, checkpoint.value(folder, values, "averaged", int))
        else:
            save()
        due = checkpoint.Due(_SAVED_EVERY)
        for now in loop:
            loop.optimizer.step()
            mean.update(layer, now.step)
            if due.after_a_step() or now.step == steps:
                save()
            if progress is not None:
                progress(now.step, steps, "linear layer")
    finally:
        loop.close()
    mean.copy_to(layer)
    return layer
