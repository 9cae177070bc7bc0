"""Images sheared until what is bright in them stands upright: writing without its slant.

How far depends on the image alone, so it costs no privacy; and what is told apart no longer has to
be learnt for every slant. An image's rows are moved sideways in proportion to their height, so that
across and down are uncorrelated over its brightness.

Source: moment-based deskewing, LeCun et al., "Gradient-Based Learning Applied to Document
Recognition", 1998, section III.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

MOST = 1.0
"""Pixels sideways for one down: a slant of 45 degrees."""


@torch.no_grad()
def upright(images: Tensor) -> Tensor:
    """Each image sheared by its own slant, about its centre of brightness.

    Args:
        images: (n, c, h, w) floats, at least 0; the channels of an image move together.

    Returns:
        (n, c, h, w): linear interpolation, and 0 where something came in from outside. An image
        without brightness stays as it is.
    """
    n, _, height, width = images.shape
    brightness = images.float().mean(dim=1)
    rows, columns = _places(height, images), _places(width, images)
    by_row, by_column = brightness.sum(dim=2), brightness.sum(dim=1)
    total = by_row.sum(dim=1).clamp_min(torch.finfo(torch.float32).tiny)
    down = rows - (by_row @ rows / total)[:, None]
    across = columns - (by_column @ columns / total)[:, None]
    spread = (by_row * down.square()).sum(dim=1)
    together = torch.einsum("nhw,nh,nw->n", brightness, down, across)
    slant = torch.where(spread > 0, together / spread, 0.0).clamp(-MOST, MOST)
    moves = slant[:, None] * down  # (n, h): how far to the right each row is fetched from
    x = (columns + moves[:, :, None]) * (2 / width)
    y = (rows * (2 / height))[None, :, None].expand(n, height, width)
    places = torch.stack([x, y], dim=-1)
    return functional.grid_sample(images.float(), places, align_corners=False)


def _places(side: int, like: Tensor) -> Tensor:
    """Where the middles of a line's pixels are, from its middle, in pixels; (side,)."""
    return torch.arange(side, device=like.device) - (side - 1) / 2
