"""An autoencoder of labelled images, as it is published: encoder and decoder together.

What it makes of an image is free, whoever's image that is but a private one: the weights are all
that training published. New pictures are drawn by sending procedural ones through, of nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sfumato.errors import InputError
from sfumato.publish.generators.networks import Architecture

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from sfumato.data import ImageSet
    from sfumato.release.release import Release

_BATCH = 500
_SIZES = ("encoder_width", "encoder_hidden")


@dataclass(frozen=True)
class Coded(Architecture):
    """What rebuilds an autoencoder; ``latent`` are the numbers of its code.

    Args:
        encoder_width: Channels of the encoder's first map.
        encoder_hidden: Width of its dense layer.
    """

    encoder_width: int = 8
    encoder_hidden: int = 100

    KIND: ClassVar[str] = "conditional autoencoder"

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {**asdict(self), "kind": self.KIND, "shape": list(self.shape)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Coded:
        """Reads what :meth:`to_dict` wrote.

        Raises:
            InputError: If the values describe no autoencoder.
        """
        if values.get("kind") != cls.KIND:
            raise InputError(
                "the release holds no autoencoder", "Give a release of generators.augm."
            )
        from sfumato.publish.generators.networks import KIND

        inner = Architecture.from_dict({**values, "kind": KIND})
        try:
            width, hidden = (int(values[name]) for name in _SIZES)
        except (KeyError, TypeError, ValueError):
            raise InputError(
                "the autoencoder's sizes are missing", "The release is damaged."
            ) from None
        return cls(**vars(inner), encoder_width=width, encoder_hidden=hidden)

    def build(self) -> nn.Module:
        """Encoder and decoder with random weights."""
        from sfumato.publish.generators.coder import Coder

        return Coder(self, super().build())

    def images(self, module: nn.Module, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Pictures (n, c, h, w) of the classes (n,), made of procedural ones.

        Args:
            module: As :meth:`build` makes it.
            labels: Class numbers.
            generator: Of the procedural pictures.
        """
        import torch

        from sfumato.publish.generators.proxies import Mixture, proxies

        seed = int(torch.randint(2**31, (1,), generator=generator))
        given = proxies(len(labels), self.shape, Mixture(1.0, 0.0, 0.0, 0.0), None, seed)
        return self.through(module, given, labels)

    def through(self, module: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """Reconstructions of images (n, c, h, w) as of the classes (n,)."""
        from torch.nn import functional

        device = next(module.parameters()).device
        classes = functional.one_hot(labels, self.classes).float()
        made: Tensor = module(images.to(device), classes.to(device))
        return made


def reconstruct(release: Release, data: ImageSet) -> ImageSet:
    """Sends one's own labelled images through a released autoencoder: how DP-AuGM is meant.

    Free for the people whom the release protects. What is made of an image is a function of that
    image: for those in ``data`` nothing is proven.

    Args:
        release: Of ``generators.augm``, as published or loaded.
        data: Images of the same shape and classes; never the private ones.

    Raises:
        InputError: If the release holds no autoencoder, or the images do not fit it.
    """
    from sfumato.data import ImageSet

    architecture = Coded.from_dict(release.artefact.architecture)
    module = architecture.load(release.artefact.tensors)
    classes = release.facts.classes
    check_like(data, architecture.shape, classes)
    return ImageSet.from_arrays(sent(architecture, module, data), data.labels, classes)


def check_like(data: ImageSet, shape: tuple[int, int, int], classes: tuple[str, ...]) -> None:
    """Refuses images of another shape or of other classes.

    Raises:
        InputError: If they are.
    """
    if data.schema.shape != shape:
        raise InputError(
            f"the images are {data.schema.shape}, the autoencoder's {shape}",
            "Bring them to its size.",
        )
    if tuple(data.schema.classes) != tuple(classes):
        raise InputError(
            f"the images are of the classes {', '.join(map(str, data.schema.classes[:10]))}",
            f"Label them as the private ones are: {', '.join(map(str, classes[:10]))}.",
        )


def sent(architecture: Coded, module: nn.Module, data: ImageSet) -> np.ndarray:
    """(n, c, h, w) uint8 reconstructions of labelled images."""
    import torch

    images = np.empty((len(data), *architecture.shape), np.uint8)
    with torch.no_grad():
        for start in range(0, len(data), _BATCH):
            some = slice(start, start + _BATCH)
            labels = torch.from_numpy(data.labels[some].astype(np.int64))
            made = architecture.through(module, torch.from_numpy(data.images[some]), labels)
            images[some] = (made.cpu() * 255).round().numpy().astype(np.uint8)
    return images
