"""The network of an autoencoder with a bounded code; no layer of it mixes images.

Source: Chen et al. 2018 (arXiv 1812.02274); generative.md 3.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sfumato.publish.generators.variational import Encoder

if TYPE_CHECKING:
    from sfumato.publish.generators.coded import Coded


class CodeEncoder(Encoder):
    """An image and its class to a code in [-1, 1]."""

    def __init__(self, made: Coded) -> None:
        super().__init__(
            made.shape, made.classes, made.latent, made.encoder_width, made.encoder_hidden
        )
        self.posterior = nn.Linear(made.encoder_hidden, made.latent)

    def code(self, images: Tensor, classes: Tensor) -> Tensor:
        """(n, latent) of images (n, c, h, w) and one-hot classes (n, K)."""
        return torch.tanh(self.posterior(self.described(images, classes)))


class Coder(nn.Module):
    """Encoder and decoder.

    Args:
        made: Their sizes.
        decoder: From (n, latent + K) to images before they are cut.
    """

    def __init__(self, made: Coded, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = CodeEncoder(made), decoder
        self._size = made.shape[1:]

    def forward(self, images: Tensor, classes: Tensor) -> Tensor:
        """(n, c, h, w) reconstructions of images and one-hot classes (n, K)."""
        code = self.encoder.code(images, classes)
        made: Tensor = self.decoder(torch.cat([code, classes], dim=1))
        return made[:, :, : self._size[0], : self._size[1]]
