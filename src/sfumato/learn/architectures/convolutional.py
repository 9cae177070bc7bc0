"""Small convolutional networks of tempered activations, for images of any size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from sfumato.errors import InputError
from sfumato.learn.architectures import family


@family("small-cnn")
def small_cnn(*, shape: Sequence[int], classes: int) -> nn.Module:
    """Two convolutions and two dense layers, tanh: 26,010 weights on 28 x 28 grey images.

    Args:
        shape: ``(channels, height, width)``, at least 14 pixels a side.
        classes: K.

    Source: Papernot et al. 2021 (tempered sigmoids); the layers of Tramèr and Boneh 2021.
    """
    channels = shape[0]
    features = nn.Sequential(
        nn.Conv2d(channels, 16, 8, 2, padding=3),
        nn.Tanh(),
        nn.MaxPool2d(2, 1),
        nn.Conv2d(16, 32, 4, 2),
        nn.Tanh(),
        nn.MaxPool2d(2, 1),
        nn.Flatten(),
    )
    return nn.Sequential(
        *features,
        nn.Linear(_width(features, shape, 14), 32),
        nn.Tanh(),
        nn.Linear(32, classes),
    )


@family("deep-cnn")
def deep_cnn(*, shape: Sequence[int], classes: int) -> nn.Module:
    """Six convolutions in three stages and two dense layers, tanh.

    Args:
        shape: ``(channels, height, width)``, at least 8 pixels a side.
        classes: K.

    Source: the CIFAR-10 network of Papernot et al. 2021 and Tramèr and Boneh 2021.
    """
    layers: list[nn.Module] = []
    inner = shape[0]
    for width in (32, 64, 128):
        layers += [nn.Conv2d(inner, width, 3, padding=1), nn.Tanh()]
        layers += [nn.Conv2d(width, width, 3, padding=1), nn.Tanh(), nn.MaxPool2d(2)]
        inner = width
    features = nn.Sequential(*layers, nn.Flatten())
    return nn.Sequential(
        *features,
        nn.Linear(_width(features, shape, 8), 128),
        nn.Tanh(),
        nn.Linear(128, classes),
    )


@torch.no_grad()
def _width(features: nn.Module, shape: Sequence[int], least: int) -> int:
    """How many numbers the features of one image are.

    Raises:
        InputError: If the images are too small.
    """
    if min(shape[1:]) < least:
        raise InputError(
            f"the images are {shape[1]} x {shape[2]} pixels",
            f"This network needs at least {least} x {least}; use another architecture.",
        )
    return int(features(torch.zeros(1, *shape)).numel())
