"""EfficientNet-Lite0 with a linear layer on top, from images to scores."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from sfumato.learn.architectures import family
from sfumato.vision.efficientnet_lite import FEATURES, network

_CHUNK = 64
"""Images at a time: widened and at full size they are large."""


class Lite0(nn.Sequential):
    """The parts and the head, a few images after the other."""

    def forward(self, images: Tensor) -> Tensor:
        """images: (n, 1 or 3, h, w) in [0, 1]; gives (n, classes)."""
        few = super().forward
        return torch.cat([few(part) for part in torch.split(images, _CHUNK)])  # type: ignore[no-untyped-call]


@family("efficientnet-lite0")
def efficientnet_lite0(*, side: int, classes: int) -> Lite0:
    """The network of :class:`~sfumato.learn.finetune.FineTunedModel`.

    Args:
        side: Pixels that images are resized to.
        classes: K.
    """
    parts = OrderedDict(network(side).named_children())
    parts["head"] = nn.Linear(FEATURES, classes)
    return Lite0(parts)
