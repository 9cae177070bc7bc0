"""The critic: an image and a class in, one score out. No layer of it mixes examples.

Its gradients are clipped example by example, so a batch statistic, or anything else through which
one image reaches another's score, would void the proof. Nothing is normalised within an image
either: a critic that is blind to brightness and contrast lets grey pictures pass. The class enters
by a projection (Miyato and Koyama 2018), small at first, so that scores do not begin far from 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

_SMALL = 4  # pixels a side at which halving stops
_SLOPE = 0.2  # of the leaky rectifiers
_OF_CLASS = 0.1  # size of the first weights by class
_SCALE = 2.0  # of images, whose zeros stay zeros: a constant would be in every gradient


class Critic(nn.Module):
    """Strided convolutions, a dense layer, and a score that depends on the class.

    Args:
        shape: ``(channels, height, width)`` of the images.
        classes: K.
        width: Channels of the first map; doubled where a map is halved, up to four times.
        hidden: Numbers that the score is read from.
    """

    def __init__(self, shape: Sequence[int], classes: int, width: int, hidden: int) -> None:
        super().__init__()
        channels, height, width_px = shape
        layers: list[nn.Module] = []
        wide = width
        while True:
            layers += [nn.Conv2d(channels, wide, 3, 2, 1), nn.LeakyReLU(_SLOPE)]
            height, width_px = ((side + 1) // 2 for side in (height, width_px))
            channels = wide
            if max(height, width_px) <= _SMALL:
                break
            wide = min(2 * wide, 4 * width)
        self.features = nn.Sequential(
            *layers,
            nn.Flatten(),
            nn.Linear(channels * height * width_px, hidden),
            nn.LeakyReLU(_SLOPE),
        )
        self.score = nn.Linear(hidden, 1)
        self.of_class = nn.Embedding(classes, hidden)
        for layer in self.features:
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, _SLOPE)
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)
        nn.init.normal_(self.of_class.weight, std=_OF_CLASS)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """(n,) scores of (n, c, h, w) images in [0, 1] as pictures of the classes (n,)."""
        found = self.features(_SCALE * images)
        scores: Tensor = self.score(found).squeeze(1) + (self.of_class(labels) * found).sum(dim=1)
        return scores


def build(shape: Sequence[int], classes: int, width: int, hidden: int, seed: int) -> Critic:
    """A critic with public initial weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Critic(shape, classes, width, hidden)
