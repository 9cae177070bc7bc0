"""An autoencoder for each class, side by side in one network: no weight serves two classes.

The hidden units come in blocks, one a class, and an image passes through its own class's alone. Its
gradient is then zero in all other blocks, so a step with one bound on an image's gradient and one
draw of noise for all weights *is* a step of every class's own training: the classes' images are
disjoint, each block sees one class, and what is accounted once holds for each. A step samples all
records at one public rate, so how many images a class has is neither needed nor published.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class Decoder(nn.Module):
    """Latent variables and a class to an image, by that class's own weights.

    Args:
        shape: ``(channels, height, width)``.
        classes: K.
        latent: Normal variables an image is made from.
        hidden: Units of a class.
    """

    def __init__(self, shape: Sequence[int], classes: int, latent: int, hidden: int) -> None:
        super().__init__()
        self._shape, self._latent = tuple(shape), latent
        self.hidden = nn.Linear(latent, classes * hidden)
        self.pixels = nn.Linear(classes * hidden, math.prod(shape), bias=False)
        self.usual = nn.Linear(classes, math.prod(shape), bias=False)

    def forward(self, given: Tensor) -> Tensor:
        """(n, c, h, w) in [0, 1] of (n, latent + K) latent variables and one-hot classes."""
        latent, classes = given[:, : self._latent], given[:, self._latent :]
        own = _own(functional.relu(self.hidden(latent)), classes)
        made: Tensor = torch.sigmoid(self.pixels(own) + self.usual(classes))
        return made.view(len(given), *self._shape)


class Encoder(nn.Module):
    """An image and its class to the parameters of a posterior, by that class's own weights.

    Args:
        shape: ``(channels, height, width)``.
        classes: K.
        latent: Dimensions of the posterior.
        hidden: Units of a class.
    """

    def __init__(self, shape: Sequence[int], classes: int, latent: int, hidden: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(math.prod(shape), classes * hidden)
        self.posterior = nn.Linear(classes * hidden, 2 * latent, bias=False)
        self.usual = nn.Linear(classes, 2 * latent, bias=False)

    def forward(self, images: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance, (n, latent) each, of images and (n, K) one-hot classes."""
        own = _own(functional.relu(self.hidden(images.flatten(1))), classes)
        both: Tensor = self.posterior(own) + self.usual(classes)
        mean, log_variance = both.chunk(2, dim=1)
        return mean, log_variance.clamp(-8, 8)


def _own(hidden: Tensor, classes: Tensor) -> Tensor:
    """(n, K units) with zeros in all blocks but that of an example's class, (n, K) one-hot."""
    blocks = hidden.view(len(hidden), classes.shape[1], -1)
    return (blocks * classes[:, :, None]).flatten(1)
