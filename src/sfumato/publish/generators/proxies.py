"""Pictures to be labelled by a teacher: of nobody, as varied as the real ones may be.

What they are made from is public: strokes, blobs and silhouettes that a seeded procedure draws,
and pictures drawn from the noisy moments of the classes, which were paid for. No private image is
an argument of anything here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from sfumato.learn.moments import NoisyMoments

_CHUNK = 2000
_AFFINE = 0.12  # of the frame: turning, shearing, stretching
_BEND = 0.035  # of half the frame: how far places are moved, smoothly


KINDS = ("drawings", "silhouettes", "textured", "outlines")


@dataclass(frozen=True)
class Mixture:
    """Which kinds of pictures, and how many of each: weights, of which only the ratios count.

    Args:
        drawings: Strokes and blobs (:mod:`sfumato.learn.drawings`).
        silhouettes: Filled outlines (:mod:`sfumato.learn.silhouettes`).
        textured: Drawn from the noisy moments of the classes, overlaid with one of the above.
        outlines: Outlines of such pictures, bent, and filled with a procedure's surface.
    """

    drawings: float
    silhouettes: float
    textured: float
    outlines: float

    def counts(self, n: int, *, described: bool) -> dict[str, int]:
        """How many of ``n`` pictures are of each kind.

        Without a description there are none of the last two.
        """
        from sfumato.publish.generators.sampling import apportion

        weights = np.array([float(getattr(self, name)) for name in KINDS])
        if not described:
            weights[2:] = 0.0
        return dict(zip(KINDS, apportion(weights, n).tolist(), strict=True))


def proxies(
    n: int,
    shape: tuple[int, int, int],
    mixture: Mixture,
    moments: NoisyMoments | None,
    seed: int,
) -> Tensor:
    """``n`` pictures in random order, (n, c, h, w) float32 in [0, 1].

    Args:
        n: How many.
        shape: (channels, height, width).
        mixture: Of which kinds.
        moments: Noisy; None where nothing was paid for.
        seed: Of everything.
    """
    import torch

    counts = mixture.counts(n, described=moments is not None)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(n, generator=generator)
    made = torch.empty(n, *shape)
    at = 0
    for kind, count in counts.items():
        for start in range(0, count, _CHUNK):
            size = min(_CHUNK, count - start)
            seeds = [int(s) for s in torch.randint(2**31, (2,), generator=generator)]
            made[order[at : at + size]] = _pictures(kind, size, shape, moments, generator, seeds)
            at += size
    return made.clamp_(0, 1)


def _pictures(
    kind: str,
    n: int,
    shape: tuple[int, int, int],
    moments: NoisyMoments | None,
    generator: torch.Generator,
    seeds: list[int],
) -> Tensor:
    """``n`` pictures of one kind."""
    from sfumato.learn.drawings import draw
    from sfumato.learn.silhouettes import silhouettes, surfaces

    if kind == "drawings":
        return draw(n, shape, seeds[0])
    if kind == "silhouettes":
        return silhouettes(n, shape, seeds[0])
    assert moments is not None  # else there are none of these kinds
    pictures = _of_classes(n, moments, generator)
    if kind == "outlines":
        return _outlines(_bent(pictures, generator), surfaces(n, shape, seeds[0]), generator)
    over = draw(n, shape, seeds[0]), silhouettes(n, shape, seeds[1])
    return _textured(pictures, *over, generator)


def _of_classes(n: int, moments: NoisyMoments, generator: torch.Generator) -> Tensor:
    """Pictures of classes that are chosen alike."""
    import torch

    labels = torch.randint(len(moments.shares), (n,), generator=generator)
    return moments.draw(labels, generator)


def _textured(
    pictures: Tensor, strokes: Tensor, filled: Tensor, generator: torch.Generator
) -> Tensor:
    """Half are seen through a silhouette, half have a drawing's relief."""
    import torch

    uniform = _uniform(len(pictures), generator)
    through = pictures * (0.5 + uniform(0.3, 1.0) * filled)
    relief = strokes - strokes.mean(dim=(2, 3), keepdim=True)
    raised = pictures * uniform(0.3, 1.0) + uniform(0.2, 0.7) * relief
    return torch.where(uniform(0, 1) < 0.5, through, raised)


def _outlines(pictures: Tensor, surfaces: Tensor, generator: torch.Generator) -> Tensor:
    """What is brighter than some part of a picture's brightest, filled anew."""
    uniform = _uniform(len(pictures), generator)
    grey = pictures.mean(dim=1, keepdim=True)
    grey = grey / grey.amax(dim=(2, 3), keepdim=True).clamp_min(1e-3)
    cover = ((grey - uniform(0.1, 0.6)) / uniform(0.03, 0.4) + 0.5).clamp(0, 1)
    own = uniform(0, 1)
    return cover * surfaces * (own + (1 - own) * grey.clamp(0, 1))


def _bent(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures turned, sheared, stretched and bent a little, each in its own way."""
    import torch
    from torch.nn import functional

    n = len(pictures)
    turned = torch.eye(2, 3) + _AFFINE * torch.randn(n, 2, 3, generator=generator)
    turned[:, :, 2] *= 0.5
    grid = functional.affine_grid(turned, list(pictures.shape), align_corners=False)
    bend = _BEND * torch.randn(n, 2, 4, 4, generator=generator)
    smooth = functional.interpolate(
        bend, size=pictures.shape[2:], mode="bicubic", align_corners=False
    )
    places = grid + smooth.permute(0, 2, 3, 1)
    return functional.grid_sample(pictures, places, align_corners=False)


def _uniform(n: int, generator: torch.Generator) -> Callable[[float, float], Tensor]:
    """Draws of one number a picture, (n, 1, 1, 1)."""
    import torch

    return lambda low, high: low + (high - low) * torch.rand(n, 1, 1, 1, generator=generator)
