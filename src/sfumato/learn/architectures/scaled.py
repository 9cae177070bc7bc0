"""A network whose inputs are multiplied, feature by feature, by fixed numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sfumato.errors import InputError
from sfumato.learn.architectures import build, family
from sfumato.learn.architectures.dense import CodesToFeatures


class InputScale(nn.Module):
    """Multiplies every feature of an input by a number that is not trained; 1 to begin with.

    The numbers have to be public or paid for.

    Args:
        shape: Of one input.
    """

    scale: Tensor

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(shape))

    def forward(self, inputs: Tensor) -> Tensor:
        """(n, *shape) scaled."""
        return inputs * self.scale


class ScaledNet(nn.Sequential):
    """An encoder without weights, an :class:`InputScale`, and the layers that are trained.

    Args:
        encoder: Makes numbers of records: ``nn.Identity`` for images.
        scale: Of the encoded features.
        network: What is trained.
    """

    def __init__(self, encoder: nn.Module, scale: InputScale, network: nn.Sequential) -> None:
        super().__init__(encoder, scale, network)

    @property
    def encoder(self) -> nn.Module:
        """Of the records."""
        return self[0]

    @property
    def scale(self) -> Tensor:
        """The numbers, shaped like one encoded record."""
        return self[1].get_buffer("scale")

    @property
    def network(self) -> nn.Sequential:
        """The trained layers."""
        layers = self[2]
        assert isinstance(layers, nn.Sequential)
        return layers


@family("scaled")
def scaled(*, inner: Mapping[str, Any]) -> ScaledNet:
    """A network of layers in sequence behind an :class:`InputScale`.

    Args:
        inner: The architecture of that network.

    Raises:
        InputError: If it is not made of layers in sequence.
    """
    network = build(inner)
    if not isinstance(network, nn.Sequential):
        raise InputError(
            f"the network {inner.get('family')!r} is not made of layers in sequence",
            "Use dense, small-cnn, deep-cnn or table-dense.",
        )
    first = network[0]
    if isinstance(first, CodesToFeatures):
        return ScaledNet(first, InputScale((first.width,)), nn.Sequential(*list(network)[1:]))
    return ScaledNet(nn.Identity(), InputScale(tuple(inner["shape"])), network)
