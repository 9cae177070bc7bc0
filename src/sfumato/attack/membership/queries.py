"""Variations of a record that an attacker may ask a model about as well."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

SHIFTS = ((0, 0), (0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (-1, -1), (1, -1), (-1, 1))
"""Down and to the right, in pixels; the first is the picture itself."""


def shifted(images: NDArray[np.float32], down: int, right: int) -> NDArray[np.float32]:
    """Pictures moved by whole pixels; the edge that comes free repeats the outermost pixels.

    Args:
        images: (n, c, h, w).
        down: Pixels, negative for up.
        right: Pixels, negative for left.
    """
    h, w = images.shape[2:]
    rows = np.clip(np.arange(h) - down, 0, h - 1)
    columns = np.clip(np.arange(w) - right, 0, w - 1)
    return np.ascontiguousarray(images[:, :, rows][:, :, :, columns])


def noisy(
    images: NDArray[np.float32], deviations: tuple[float, ...], rng: np.random.Generator
) -> Iterator[NDArray[np.float32]]:
    """Pictures with Gaussian noise of each standard deviation, within [0, 1]."""
    for deviation in deviations:
        noise = rng.standard_normal(images.shape, dtype=np.float32)
        yield np.clip(images + np.float32(deviation) * noise, 0, 1)


def altered(
    codes: NDArray[np.int32], sizes: NDArray[np.int64], columns: int, rng: np.random.Generator
) -> NDArray[np.int32]:
    """Rows with some columns, others in each row, set to levels drawn at random.

    Args:
        codes: (n, d).
        sizes: (d,) levels of each column.
        columns: How many are set in each row.
        rng: Of the draw.
    """
    found: NDArray[Any] = codes.copy()
    n, d = codes.shape
    at = np.argsort(rng.random((n, d)), axis=1)[:, : min(columns, d)]
    rows = np.arange(n)[:, None]
    found[rows, at] = np.floor(rng.random(at.shape) * sizes[at])
    return found
