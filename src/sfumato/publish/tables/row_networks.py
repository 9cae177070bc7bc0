"""Networks over rows: a generator, a critic and an autoencoder, all conditional on the class.

Critic and autoencoder see private rows, and no layer of theirs mixes rows. The generator sees none.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from sfumato.publish.tables.heads import Heads
from sfumato.publish.tables.start import Start


class Generator(nn.Module):
    """Noise and a class to logits: those of the noisy counts, and what a network adds to them.

    The network begins by adding nothing.

    Args:
        heads: Of the rows.
        start: Distributions by class.
        latent: Normal variables that a row is made from.
        hidden: Width of each of two layers.
    """

    def __init__(self, heads: Heads, start: Start, latent: int, hidden: int) -> None:
        super().__init__()
        self.latent = latent
        self.register_buffer("start", start.shares.log())
        self.network = nn.Sequential(
            nn.Linear(latent + len(start.prior), hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
        )
        self.more = _silent(nn.Linear(hidden, heads.width))

    def forward(self, latent: Tensor, labels: Tensor) -> Tensor:
        """(n, width) logits of (n, latent) noise and (n,) classes."""
        start = self.get_buffer("start")
        given = functional.one_hot(labels, len(start)).float()
        more: Tensor = self.more(self.network(torch.cat([latent, given], dim=1)))
        return start[labels] + more


class Critic(nn.Module):
    """A row and its class to one score; mixes no rows.

    Args:
        heads: Of the rows.
        classes: K.
        hidden: Width of each of two layers.
    """

    def __init__(self, heads: Heads, classes: int, hidden: int) -> None:
        super().__init__()
        self._heads = heads
        self.features = nn.Sequential(
            nn.Linear(heads.width, hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden, hidden),
            nn.LeakyReLU(0.2),
        )
        self.score = nn.Linear(hidden, 1)
        self.of_class = nn.Embedding(classes, hidden)

    def forward(self, rows: Tensor, labels: Tensor) -> Tensor:
        """(n,) scores of (n, d) places, or of (n, width) encoded rows, as of classes (n,)."""
        encoded = rows if rows.is_floating_point() else self._heads.encoded(rows)
        found = self.features(encoded)
        scores: Tensor = self.score(found).squeeze(1) + (self.of_class(labels) * found).sum(dim=1)
        return scores


class Autoencoder(nn.Module):
    """A row and its class through a code, to logits of the same row; mixes no rows.

    Args:
        heads: Of the rows.
        start: Distributions by class, which the decoder's logits begin at.
        code: Numbers in the code.
        hidden: Width of the layer on either side of it.
    """

    def __init__(self, heads: Heads, start: Start, code: int, hidden: int) -> None:
        super().__init__()
        classes = len(start.prior)
        self._heads, self._classes = heads, classes
        self.register_buffer("start", start.shares.log())
        self.encoder = nn.Sequential(
            nn.Linear(heads.width + classes, hidden), nn.ReLU(), nn.Linear(hidden, code), nn.Tanh()
        )
        self.decoder = nn.Sequential(nn.Linear(code + classes, hidden), nn.ReLU())
        self.more = _silent(nn.Linear(hidden, heads.width))

    def forward(self, places: Tensor, labels: Tensor) -> Tensor:
        """(n, width) logits of (n, d) places and (n,) classes."""
        given = functional.one_hot(labels, self._classes).float()
        code = self.encoder(torch.cat([self._heads.encoded(places), given], dim=1))
        more: Tensor = self.more(self.decoder(torch.cat([code, given], dim=1)))
        return self.get_buffer("start")[labels] + more


def _silent(layer: nn.Linear) -> nn.Linear:
    """A layer that gives zeros until it is trained."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


@dataclass(frozen=True)
class Made:
    """Rows of a generator, as the contest with a critic asks for them.

    Args:
        heads: Of the rows.
        temperature: Of the softmax that stands in for a draw's gradient.
    """

    heads: Heads
    temperature: float

    def images(self, module: Generator, labels: Tensor, generator: torch.Generator) -> Tensor:
        """(n, width) encoded rows of the classes (n,); the contest's name for what is made."""
        logits = self.logits(module, labels, generator)
        return self.heads.relaxed(logits, self.temperature, generator)

    def logits(self, module: Generator, labels: Tensor, generator: torch.Generator) -> Tensor:
        """(n, width) logits of new rows of the classes (n,)."""
        latent = torch.randn(len(labels), module.latent, generator=generator)
        device = next(module.parameters()).device
        made: Tensor = module(latent.to(device), labels.to(device))
        return made
