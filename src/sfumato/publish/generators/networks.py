"""The conditional generator: noise and a class in, an image in [0, 1] out.

Two dense layers make a small map (at most 8 pixels a side), transposed convolutions double it
until the image fits in, and what is too much is cut off. Batch normalisation is safe where no batch
ever holds a private image: where training sees noisy statistics or a private critic alone. A
decoder whose own gradients are clipped per example must not mix them, and is normalised in groups.

torch is imported by the functions that need it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sfumato.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import nn

KIND = "conditional convolutional generator"
SIZES = ("latent", "hidden", "width")
"""The settings of a method that say how large its generator is."""
NORMS = ("batch", "group")
FORMS = ("convolutional", "one a class")
_SMALL = 8
_GROUPS = 8  # of channels that are normalised together


@dataclass(frozen=True)
class Architecture:
    """What rebuilds a generator, as it is written beside its weights.

    Args:
        shape: ``(channels, height, width)`` of the images.
        classes: K.
        latent: Number of normal variables a picture is made from.
        hidden: Width of the dense layer.
        width: Channels of the smallest map; halved at every doubling.
        norm: ``"batch"``, or ``"group"``, which mixes no examples.
        form: ``"convolutional"``, or ``"one a class"``: dense, with no weight that two classes
            share (:mod:`sfumato.publish.generators.per_class`).
    """

    shape: tuple[int, int, int]
    classes: int
    latent: int
    hidden: int
    width: int
    norm: str = "batch"
    form: str = "convolutional"

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {"kind": KIND, **asdict(self), "shape": list(self.shape)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Architecture:
        """Reads what :meth:`to_dict` wrote; further keys are left alone.

        Raises:
            InputError: If the values describe no generator of this kind.
        """
        try:
            if values["kind"] != KIND:
                raise KeyError(values["kind"])
            norm = str(values.get("norm", "batch"))
            form = str(values.get("form", "convolutional"))
            if norm not in NORMS or form not in FORMS:
                raise KeyError(norm, form)
            sizes = {key: int(values[key]) for key in ("classes", "latent", "hidden", "width")}
            channels, height, width = (int(size) for size in values["shape"])
            if min(*sizes.values(), channels, height, width) < 1:
                raise ValueError
        except (KeyError, TypeError, ValueError):
            raise InputError(
                "the release holds no generator of images",
                "Give a release of a method that publishes one; see `sfumato methods`.",
            ) from None
        return cls((channels, height, width), **sizes, norm=norm, form=form)

    @property
    def doublings(self) -> int:
        """How often the smallest map is doubled, at least once."""
        return max(1, math.ceil(math.log2(max(self.shape[1:]) / _SMALL)))

    @property
    def smallest(self) -> tuple[int, int]:
        """Height and width of the smallest map."""
        factor = 2**self.doublings
        return math.ceil(self.shape[1] / factor), math.ceil(self.shape[2] / factor)

    def build(self) -> nn.Module:
        """The module with random weights, from (n, latent + K) to images before they are cut."""
        from torch import nn

        if self.form == "one a class":
            from sfumato.publish.generators.per_class import Decoder

            return Decoder(self.shape, self.classes, self.latent, self.hidden)
        height, width = self.smallest
        cells = self.width * height * width
        layers: list[nn.Module] = [
            nn.Linear(self.latent + self.classes, self.hidden),
            self._norm(self.hidden, flat=True),
            nn.ReLU(),
            nn.Linear(self.hidden, cells),
            self._norm(cells, flat=True),
            nn.ReLU(),
            nn.Unflatten(1, (self.width, height, width)),
        ]
        channels = self.width
        for _ in range(self.doublings - 1):
            fewer = max(4, channels // 2)
            layers += [
                nn.ConvTranspose2d(channels, fewer, 4, stride=2, padding=1),
                self._norm(fewer),
                nn.ReLU(),
            ]
            channels = fewer
        layers += [nn.ConvTranspose2d(channels, self.shape[0], 4, stride=2, padding=1)]
        return nn.Sequential(*layers, nn.Sigmoid())

    def _norm(self, channels: int, *, flat: bool = False) -> nn.Module:
        from torch import nn

        if self.norm == "batch":
            return nn.BatchNorm1d(channels) if flat else nn.BatchNorm2d(channels)
        return nn.GroupNorm(1 if flat else math.gcd(channels, _GROUPS), channels)

    def images(
        self, module: nn.Module, labels: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        """Images (n, c, h, w) of the classes in ``labels`` (n,), on the module's device.

        Args:
            module: As :meth:`build` makes it.
            labels: Class numbers.
            generator: Of the latent variables; on the CPU, so that devices agree.
        """
        import torch
        from torch.nn import functional

        device = next(module.parameters()).device
        latent = torch.randn(len(labels), self.latent, generator=generator)
        given = torch.cat([latent, functional.one_hot(labels, self.classes).float()], dim=1)
        made: torch.Tensor = module(given.to(device))
        return made[:, :, : self.shape[1], : self.shape[2]]

    def load(self, tensors: Mapping[str, np.ndarray]) -> nn.Module:
        """The trained module, ready to draw from.

        Raises:
            InputError: If the weights are not those of this architecture.
        """
        import torch

        module = self.build()
        try:
            module.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in tensors.items()})
        except RuntimeError:
            raise InputError(
                "the weights do not fit the generator's architecture", "The release is damaged."
            ) from None
        return module.eval()


def weights(module: nn.Module) -> dict[str, np.ndarray]:
    """The module's state as arrays, for ``Artefact.tensors``."""
    return {name: value.cpu().numpy().copy() for name, value in module.state_dict().items()}
