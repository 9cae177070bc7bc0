"""A public generator, the codes of images in its latent space, and what is drawn of such codes.

The public generator is the decoder of an autoencoder of public images. An image's code is found by
inverting it: the encoder's guess, improved by a few gradient steps on that image's own error. Every
layer is normalised within an image and every step is taken coordinate by coordinate, so a code is a
function of its image and of public weights, and neighbouring sets of images have neighbouring sets
of codes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sfumato.errors import InputError
from sfumato.publish.generators import variational
from sfumato.publish.generators.networks import Architecture

KIND = "generator of codes and their public decoder"
_CHUNK = 128
_BATCH = 100
_RATE = 2e-3
_NUMBERS = ("classes", "latent", "hidden", "width", "code", "dense")


@dataclass(frozen=True)
class CodeArchitecture:
    """What rebuilds a generator of images by way of codes, as it is written beside its weights.

    Args:
        shape: ``(channels, height, width)`` of the images.
        classes: K.
        latent: Normal variables a code is made from.
        hidden: Width of the dense layers that make it.
        code: Coordinates of a code.
        dense: Width of the decoder's dense layer.
        width: Channels of the decoder's smallest map.
    """

    shape: tuple[int, int, int]
    classes: int
    latent: int
    hidden: int
    code: int
    dense: int
    width: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {"kind": KIND, **asdict(self), "shape": list(self.shape)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CodeArchitecture:
        """Reads what :meth:`to_dict` wrote; further keys are left alone.

        Raises:
            InputError: If the values describe no generator of this kind.
        """
        try:
            sizes = {key: int(values[key]) for key in _NUMBERS}
            channels, height, width = (int(size) for size in values["shape"])
            if values["kind"] != KIND or min(*sizes.values(), channels, height, width) < 1:
                raise ValueError
        except (KeyError, TypeError, ValueError):
            raise InputError(
                "the release holds no generator of images",
                "Give a release of a method that publishes one; see `sfumato methods`.",
            ) from None
        return cls((channels, height, width), **sizes)

    @property
    def decoder(self) -> Architecture:
        """Of the public generator, which knows no classes and mixes no images."""
        return Architecture(self.shape, 0, self.code, self.dense, self.width, "group")

    def build(self) -> nn.ModuleDict:
        """Both parts with random weights."""
        given = self.latent + self.classes
        codes = nn.Sequential(
            nn.Linear(given, self.hidden),
            nn.ReLU(),
            nn.Linear(self.hidden, self.hidden),
            nn.ReLU(),
            nn.Linear(self.hidden, self.code),
        )
        return nn.ModuleDict({"codes": codes, "decoder": self.decoder.build()})

    def codes(self, module: nn.Module, labels: Tensor, generator: torch.Generator) -> Tensor:
        """(n, code) codes of the classes in ``labels``; see :class:`Architecture`."""
        device = next(module.parameters()).device
        latent = torch.randn(len(labels), self.latent, generator=generator)
        given = torch.cat([latent, functional.one_hot(labels, self.classes).float()], dim=1)
        made: Tensor = module(given.to(device))
        return made

    def images(self, module: nn.Module, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Images (n, c, h, w) of the classes in ``labels`` (n,)."""
        parts: Any = module
        made: Tensor = parts["decoder"](self.codes(parts["codes"], labels, generator))
        return made[:, :, : self.shape[1], : self.shape[2]]

    def load(self, tensors: Mapping[str, np.ndarray]) -> nn.Module:
        """The trained module, ready to draw from.

        Raises:
            InputError: If the weights are not those of this architecture.
        """
        module = self.build()
        try:
            module.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in tensors.items()})
        except RuntimeError:
            raise InputError(
                "the weights do not fit the generator's architecture", "The release is damaged."
            ) from None
        return module.eval()


@dataclass(frozen=True)
class InCodes:
    """The generator of codes as an adversary of a critic sees it: its images are codes."""

    architecture: CodeArchitecture

    def images(self, module: nn.Module, labels: Tensor, generator: torch.Generator) -> Tensor:
        """(n, code)."""
        return self.architecture.codes(module, labels, generator)


class CodeCritic(nn.Module):
    """Scores of codes as codes of a class, by dense layers: no layer mixes examples.

    Args:
        code: Coordinates of a code.
        classes: K.
        hidden: Width of its layers.
    """

    def __init__(self, code: int, classes: int, hidden: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Linear(code, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, hidden), nn.LeakyReLU(0.2)
        )
        self.score = nn.Linear(hidden, 1)
        self.of_class = nn.Embedding(classes, hidden)

    def forward(self, codes: Tensor, labels: Tensor) -> Tensor:
        """(n,) scores of (n, code) codes for the classes (n,)."""
        found = self.features(codes)
        scores: Tensor = self.score(found).squeeze(1) + (self.of_class(labels) * found).sum(dim=1)
        return scores


def public_autoencoder(
    images: Tensor, decoder: Architecture, epochs: int, divergence: float, seed: int
) -> variational.Autoencoder:
    """An autoencoder of public images, in evaluation mode.

    Args:
        images: (n, c, h, w), public.
        decoder: Of its decoder.
        epochs: Passes over the images.
        divergence: Weight of the codes' divergence from a normal distribution.
        seed: Of weights, order and draws.
    """
    coder = variational.build(decoder, decoder.width, decoder.hidden, seed)
    draws = torch.Generator().manual_seed(seed)
    adam = torch.optim.Adam(coder.parameters(), _RATE)
    losses = variational.loss_of(divergence)
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(len(images), generator=draws), _BATCH):
            part = images[rows]
            noise = torch.randn(len(part), decoder.latent, generator=draws)
            loss = losses(coder(part, part.new_zeros(len(part), 0), noise), part).mean()
            adam.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            adam.step()
    return coder.eval().requires_grad_(False)


def invert(
    coder: variational.Autoencoder, images: Tensor, steps: int, rate: float, radius: float
) -> Tensor:
    """(n, code) codes of images, of norm at most ``radius``, each a function of its own image.

    Args:
        coder: Public; frozen.
        images: (n, c, h, w).
        steps: Of gradient descent on each image's own squared error.
        rate: Of Adam, whose moments are each coordinate's own.
        radius: Public.
    """
    height, width = images.shape[2:]
    found = []
    for part in torch.split(images, _CHUNK):
        own = len(part)
        # As many at a time, whatever there are: the last bits of a layer hang on how many it sees.
        part = functional.pad(part, (0,) * 7 + (_CHUNK - own,))
        part = torch.nan_to_num(part, 0.0, 0.0, 0.0)
        with torch.no_grad():
            codes = coder.encoder(part, part.new_zeros(len(part), 0))[0]
        codes = codes.clone().requires_grad_(True)
        adam = torch.optim.Adam([codes], rate)
        for _ in range(steps):
            off = coder.decoder(codes)[:, :, :height, :width] - part
            adam.zero_grad()
            off.square().sum().backward()
            adam.step()
        codes = torch.nan_to_num(codes.detach(), 0.0, 0.0, 0.0)
        norms = codes.norm(dim=1, keepdim=True)
        found.append((codes * (radius / norms.clamp_min(radius)))[:own])
    return torch.cat(found)


def usual_radius(code: int) -> float:
    """One and a half times the usual norm of as many normal variables."""
    return 1.5 * math.sqrt(code)
