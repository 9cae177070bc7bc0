"""A linear layer on scattering features, as one module from images to scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sfumato.learn.architectures import family
from sfumato.learn.recipe import ScatterLinear
from sfumato.vision.scattering import Scattering


@family("scatter-linear")
def scatter_linear(
    *, shape: Sequence[int], classes: int, features: Mapping[str, Any]
) -> ScatterNet:
    """The network of :class:`~sfumato.learn.recipe.ScatterLinear`.

    Args:
        shape: ``(channels, height, width)``.
        classes: K.
        features: Those settings of the recipe that shape its features; see :func:`feature_values`.
    """
    settings = dict(features)
    scattering = Scattering(**settings.pop("scattering"))
    return ScatterNet(ScatterLinear(classes=classes, scattering=scattering, **settings), shape)


def feature_values(recipe: ScatterLinear) -> dict[str, Any]:
    """The settings that shape a recipe's features, as JSON values."""
    scattering = recipe.scattering
    return {
        "scattering": {"scales": scattering.scales, "angles": scattering.angles},
        "smooth_weight": recipe.smooth_weight,
        "upright": recipe.upright,
    }


class ScatterNet(nn.Module):
    """Public features, then one trained layer.

    Args:
        recipe: Its features are used, nothing else of it.
        shape: Of the images.
    """

    def __init__(self, recipe: ScatterLinear, shape: Sequence[int]) -> None:
        super().__init__()
        self.recipe = recipe
        width = recipe.features(torch.zeros(1, *shape)).shape[1]
        self.linear = nn.Linear(width, recipe.classes)

    def forward(self, images: Tensor) -> Tensor:
        """images: (n, c, h, w) in [0, 1]."""
        scores: Tensor = self.linear(self.recipe.features(images))
        return scores
