"""EfficientNet-Lite0 with a linear layer on top, from images to scores."""

from __future__ import annotations

from torch import nn

from sfumato.learn.architectures import family
from sfumato.learn.efficientnet_lite import FEATURES, network


@family("efficientnet-lite0")
def efficientnet_lite0(*, side: int, classes: int) -> nn.Sequential:
    """The network of :class:`~sfumato.learn.finetune.FineTunedModel`.

    Args:
        side: Pixels that images are resized to.
        classes: K.
    """
    found = network(side)
    found.add_module("head", nn.Linear(FEATURES, classes))
    return found
