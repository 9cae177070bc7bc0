"""Dense networks: on pixels, on a fixed projection of them, and on the codes of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from sfumato.learn.architectures import family


@family("dense")
def dense(
    *,
    shape: Sequence[int],
    classes: int,
    hidden: Sequence[int] = (),
    max_norm: float | None = None,
) -> nn.Module:
    """Dense layers with ReLU on flattened images; with no hidden layer, logistic regression.

    Args:
        shape: ``(channels, height, width)``.
        classes: K.
        hidden: Widths of the hidden layers.
        max_norm: Images with a longer vector of pixels are shortened to it; None for none.
    """
    return nn.Sequential(
        nn.Flatten(), *_shortened(max_norm), *_layers(prod(shape), hidden, classes)
    )


@family("projected-dense")
def projected_dense(
    *, shape: Sequence[int], classes: int, components: int, hidden: Sequence[int] = (1000,)
) -> nn.Module:
    """Dense layers with ReLU on a fixed linear projection of images to a few numbers.

    The projection is a buffer, not trained; what it is computed from has to be public or paid for
    (:mod:`sfumato.learn.principal`).

    Args:
        shape: ``(channels, height, width)``.
        classes: K.
        components: How many numbers the images are projected to.
        hidden: Widths of the hidden layers.

    Source: Abadi et al. 2016, section 5.2 (60 components, 1,000 hidden units).
    """
    return nn.Sequential(
        nn.Flatten(), Projection(prod(shape), components), *_layers(components, hidden, classes)
    )


class Projection(nn.Module):
    """Rows multiplied by a fixed matrix."""

    directions: Tensor

    def __init__(self, width: int, components: int) -> None:
        super().__init__()
        self.register_buffer("directions", torch.zeros(width, components))

    def forward(self, rows: Tensor) -> Tensor:
        """rows: (n, width) to (n, components)."""
        return rows @ self.directions


@family("table-dense")
def table_dense(
    *,
    columns: Sequence[Mapping[str, Any]],
    classes: int,
    hidden: Sequence[int] = (),
    max_norm: float | None = None,
) -> nn.Module:
    """Dense layers with ReLU on the rows of a table; with no hidden layer, logistic regression.

    Args:
        columns: ``size`` and ``grid`` of each, as :class:`~sfumato.learn.features.Column` has.
        classes: K.
        hidden: Widths of the hidden layers.
        max_norm: Rows whose features are longer are shortened to it; None for none.
    """
    encoder = CodesToFeatures([(int(c["size"]), c.get("grid")) for c in columns])
    return nn.Sequential(encoder, *_shortened(max_norm), *_layers(encoder.width, hidden, classes))


class Shortened(nn.Module):
    """Rows longer than a public bound are shortened to it, each by itself; nothing is learnt.

    Args:
        bound: Above 0.
    """

    def __init__(self, bound: float) -> None:
        super().__init__()
        if not bound > 0:
            raise ValueError(f"the bound of a row's norm is {bound}")
        self.bound = float(bound)

    def forward(self, rows: Tensor) -> Tensor:
        """rows: (n, width) of norm at most ``bound``."""
        norms: Tensor = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
        return rows * (self.bound / norms.clamp(min=self.bound))


class CodesToFeatures(nn.Module):
    """Codes of a table's columns as numbers: one-hot levels, scaled numbers; nothing is learnt.

    The same features as :class:`~sfumato.learn.features.Features`, but that rows have length
    ``sqrt(d)``: the clipping bounds a record here, not the features.

    Args:
        columns: ``(size, grid)`` of each column: how many codes there are, and how many of them
            are numbers (None for levels).
    """

    starts: Tensor

    def __init__(self, columns: Sequence[tuple[int, int | None]]) -> None:
        super().__init__()
        slots = [size if grid is None else 1 + (size > grid) for size, grid in columns]
        self.width = sum(slots)
        self._grids = tuple(grid for _, grid in columns)
        starts = torch.tensor([0, *slots[:-1]]).cumsum(0)
        self.register_buffer("starts", starts, persistent=False)

    def forward(self, codes: Tensor) -> Tensor:
        """codes: (n, d) integers to (n, width) float32."""
        index = codes.long() + self.starts
        value = torch.ones_like(codes, dtype=torch.float32)  # of codes, for vmap
        for j, grid in enumerate(self._grids):
            if grid is None:
                continue
            missing = codes[:, j] >= grid
            index[:, j] = self.starts[j] + missing
            scaled = 2 * codes[:, j] / (grid - 1) - 1 if grid > 1 else torch.zeros_like(value[:, j])
            value[:, j] = torch.where(missing, 1.0, scaled)
        return torch.zeros(len(codes), self.width, device=codes.device).scatter(1, index, value)


def _shortened(max_norm: float | None) -> list[nn.Module]:
    return [] if max_norm is None else [Shortened(max_norm)]


def _layers(width: int, hidden: Sequence[int], classes: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for size in hidden:
        layers += [nn.Linear(width, size), nn.ReLU()]
        width = size
    return [*layers, nn.Linear(width, classes)]
