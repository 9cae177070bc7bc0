"""How much each input feature matters to a network, as a private mean over records.

Layer-wise relevance propagation hands the score of a record's class back through the layers, each
unit passing on what it received in proportion to what each of its inputs had given it. What comes
out at the input is one number for each feature. A record's numbers are brought to the length 1, so
adding a record moves the sum by at most 1; it is released once, under Gaussian noise.

Source: Bach et al., PLoS ONE 2015 (the epsilon rule); Phan et al., ICDM 2017 (relevance under
noise), whose extremes over all records were taken for nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sfumato.errors import InputError
from sfumato.learn.clipping import MARGIN

if TYPE_CHECKING:
    from dp_accounting import DpEvent

    from sfumato.privacy.noise import NoiseSource

_POINTWISE = (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.LeakyReLU, nn.ELU, nn.Dropout)
_LINEAR = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.MaxPool2d)
_STABILISER = 1e-6


@dataclass(frozen=True)
class RelevanceMean:
    """The noisy mean over records of their relevance.

    Args:
        noise_multiplier: Noise on the sum; a record's contribution to it has the length 1.
        records: The declared, public number of records.

    Raises:
        InputError: If a value is out of its range.
    """

    noise_multiplier: float
    records: int

    def __post_init__(self) -> None:
        if not 0 < self.noise_multiplier < math.inf:
            raise InputError(
                f"the noise of the relevance is {self.noise_multiplier!r}",
                "Give a finite number above 0.",
            )
        if not (isinstance(self.records, int) and self.records >= 1):
            raise InputError(f"the number of records is {self.records!r}", "Give at least 1.")

    @property
    def event(self) -> DpEvent:
        """One Gaussian."""
        from sfumato.privacy.events import GaussianDpEvent

        return GaussianDpEvent(self.noise_multiplier)

    def release(self, relevances: Iterable[Tensor], source: NoiseSource) -> Tensor:
        """The noisy mean, (d,) float32.

        Args:
            relevances: (n, d) for all records, part by part.
            source: Of the noise.

        Guaranteed: whatever the relevances hold, a record adds a vector of length at most 1.

        Raises:
            InputError: If there are none.
        """
        from sfumato.learn.noise import add_gaussian_double

        total: Tensor | None = None
        for part in relevances:
            found = unit(part).double().sum(dim=0)
            total = found if total is None else total + found
        if total is None:
            raise InputError("there are no records", "Give some.")
        # Not in float32: rounding the sums of many records would move more than one record does.
        noisy = add_gaussian_double(total.cpu(), self.noise_multiplier, source)
        return (noisy / self.records).float().to(total.device)


def unit(relevances: Tensor) -> Tensor:
    """Magnitudes of (n, d) relevances, every row of length 1; 0 where one is not finite."""
    magnitudes = relevances.detach().double().abs()
    # The largest first: squares of very large numbers would overflow.
    magnitudes = magnitudes / magnitudes.amax(dim=1, keepdim=True)
    lengths = torch.linalg.vector_norm(magnitudes, dim=1, keepdim=True)
    usable = torch.isfinite(lengths) & (lengths > 0)
    return torch.where(usable, magnitudes / lengths * (1 - MARGIN), 0.0)


def weights(relevance: Tensor, floor: float) -> Tensor:
    """Noisy relevance as positive weights whose mean is 1.

    Args:
        relevance: (d,) from :meth:`RelevanceMean.release`; noise may have made some negative.
        floor: The least weight, in ``(0, 1]``: what seems irrelevant keeps that much.
    """
    positive = relevance.clamp(min=0)
    mean = float(positive.mean())
    if mean == 0:  # nothing but noise: no feature is preferred
        return torch.ones_like(positive)
    scaled = positive / mean
    return floor + (1 - floor) * scaled


def propagated(network: nn.Sequential, inputs: Tensor, targets: Tensor) -> Tensor:
    """The relevance of each input feature for the score of each record's class.

    Args:
        network: Layers one after the other; ends in class scores.
        inputs: (n, ...).
        targets: (n,) int64.

    Returns:
        Shaped like ``inputs``. A record's relevance depends on no other record.

    Raises:
        InputError: If a layer is of a kind that relevance cannot be handed back through.
    """
    layers = list(_layers(network))
    values = [inputs.detach()]
    with torch.no_grad():
        for layer in layers:
            values.append(layer(values[-1]))
    chosen = torch.nn.functional.one_hot(targets, values[-1].shape[1])
    relevance = values[-1] * chosen
    for layer, value in zip(reversed(layers), reversed(values[:-1]), strict=True):
        relevance = _through(layer, value, relevance)
    return relevance.detach()


def check(network: nn.Sequential) -> None:
    """Refuses a network that relevance cannot be handed back through.

    Raises:
        InputError: If a layer is of another kind.
    """
    for _ in _layers(network):
        pass


def _layers(module: nn.Module) -> Iterator[nn.Module]:
    """The layers of nested sequences, in order.

    Raises:
        InputError: If one is of another kind.
    """
    if isinstance(module, nn.Sequential):
        for part in module:
            yield from _layers(part)
    elif isinstance(module, (*_POINTWISE, *_LINEAR, nn.Flatten, nn.Identity)):
        yield module
    else:
        raise InputError(
            f"relevance cannot be handed back through {type(module).__name__}",
            "Use linear and convolution layers, pooling and pointwise activations, in sequence.",
        )


def _through(layer: nn.Module, value: Tensor, relevance: Tensor) -> Tensor:
    """The relevance of a layer's inputs, given that of its outputs."""
    if isinstance(layer, nn.Flatten):
        return relevance.reshape(value.shape)
    if not isinstance(layer, _LINEAR):  # each unit has one input
        return relevance
    with torch.enable_grad():
        value = value.detach().requires_grad_()
        outputs = layer(value)
        sign = torch.where(outputs >= 0, 1.0, -1.0)
        shares = (relevance / (outputs + _STABILISER * sign)).detach()
        (handed,) = torch.autograd.grad(outputs, value, shares)
    return value.detach() * handed
