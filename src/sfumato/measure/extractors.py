"""Feature extractors: what two sets of images are compared in. None was shaped by private data.

Figures from different extractors mean different things, so each figure carries its extractor's
name, and figures are never compared across names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from torch import Tensor, nn

IMAGENET, SCATTERING = "imagenet", "scattering"
EXTRACTORS = (IMAGENET, SCATTERING)
_SIDE = 64  # what pictures are resized to for the ImageNet network
_SMALLEST = 8  # pixels a side that two scales of wavelets need
_CELLS = 2  # a side; scattering features are averaged over a quarter of the picture each
_BATCH = 256


@dataclass(frozen=True)
class Extractor:
    """A public map from images to vectors.

    Args:
        name: Says which map, with its version; part of every figure.
        compute: From (n, c, h, w) float32 in [0, 1] to (n, d) float64.
    """

    name: str
    compute: Callable[[NDArray[np.float32]], NDArray[np.float64]]


def extractor(which: str | None = None) -> Extractor:
    """A feature extractor.

    Args:
        which: ``"imagenet"``: the pooled activations of EfficientNet-Lite0 with its ImageNet
            weights (the extra ``finetune``), pictures resized to 64 pixels. ``"scattering"``:
            wavelet scattering, averaged over quarters of the picture; mathematics alone.
            None: the first if its weights are installed, else the second.

    Raises:
        InputError: If it is unknown.
        MissingExtraError: If its weights are not installed.
    """
    if which is not None and which not in EXTRACTORS:
        raise InputError(f"unknown extractor {which!r}", f"Use one of {', '.join(EXTRACTORS)}.")
    if which is None:
        from sfumato.vision import pretrained

        try:
            pretrained.place()
        except MissingExtraError:
            which = SCATTERING
        else:
            which = IMAGENET
    if which == IMAGENET:
        network = _imagenet()  # refuses now, not in the middle of a measurement
        return Extractor(
            f"EfficientNet-Lite0, ImageNet, {_SIDE} px, pooled 1280, v1",
            lambda images: _batched(images, lambda part: network(_coloured(part))),
        )
    return Extractor("scattering, 2 scales, 8 angles, 2x2 means, v1", _scattered)


@lru_cache(maxsize=1)
def _imagenet() -> nn.Module:
    from sfumato.vision import pretrained

    return pretrained.load(_SIDE).eval()


def _coloured(images: Tensor) -> Tensor:
    """One channel or three, whatever there were."""
    return images if images.shape[1] in (1, 3) else images.mean(dim=1, keepdim=True)


def _scattered(images: NDArray[np.float32]) -> NDArray[np.float64]:
    from torch.nn import functional

    from sfumato.vision.scattering import Scattering

    scattering = Scattering(scales=2, angles=8)

    def features(part: Tensor) -> Tensor:
        if min(part.shape[2:]) < _SMALLEST:
            side = max(_SMALLEST, *part.shape[2:])
            part = functional.interpolate(part, size=(side, side), mode="nearest")
        return functional.adaptive_avg_pool2d(scattering(part), _CELLS).flatten(1)

    return _batched(images, features)


def _batched(images: NDArray[np.float32], compute: Callable[[Tensor], Any]) -> NDArray[np.float64]:
    import torch

    parts = []
    with torch.no_grad():
        for start in range(0, len(images), _BATCH):
            part = torch.from_numpy(np.ascontiguousarray(images[start : start + _BATCH]))
            parts.append(compute(part).flatten(1).double().numpy())
    return np.concatenate(parts)
