"""How dense records lie around a point: kernel estimates on the scales that distances use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sfumato.attack.nearest import distances_of

if TYPE_CHECKING:
    from sfumato.attack.targets import Records
    from sfumato.data.columns import Column

_WIDTHS = 8
_QUERIES = 256
_GRID = 4096  # a number with more values than this counts as continuous


def log_density(
    points: Records, references: Records, width: float, *, without_self: bool = False
) -> NDArray[np.float64]:
    """The logarithm of a kernel density estimate, up to a constant that only the width sets.

    The kernel is ``exp(-distance / width)``: of the sum of a table's columns' differences, or of
    the squared distance of pixels.

    Args:
        points: q records.
        references: r records, r >= 1.
        width: Above 0.
        without_self: Points are the first references; each is left out of its own estimate.

    Returns:
        (q,) logarithms of the mean kernel.
    """
    parts, first = [], 0
    for far in _distances(points, references):
        if without_self:
            rows = np.arange(len(far))
            far[rows, first + rows] = np.inf
            first += len(far)
        least = far.min(axis=1)
        shifted = np.exp((least[:, None] - far) / np.float32(width))
        parts.append(np.log(shifted.sum(axis=1, dtype=np.float64)) - least / width)
    counted = len(references) - int(without_self)
    return np.asarray(np.concatenate(parts) - np.log(max(1, counted)), dtype=np.float64)


def best_width(references: Records, rng: np.random.Generator, points: int = 1000) -> float:
    """The width under which left-out references are likeliest.

    Args:
        references: r records, r >= 2; the attacker's own.
        rng: Orders them.
        points: How many are left out, one at a time.
    """
    order = rng.permutation(len(references))
    held = references[order]
    some = references[order[:points]]
    scale = 1.0
    if not references.columns:
        near = [np.partition(far, 1, axis=1)[:, 1] for far in _distances(some, held)]
        scale = max(float(np.median(np.concatenate(near))), 1e-6)
    widths = scale * np.geomspace(0.03, 3.0, _WIDTHS)
    fits = [
        float(log_density(some, held, float(w), without_self=True).mean())
        - log_mass(references, float(w))
        for w in widths
    ]
    return float(widths[int(np.argmax(fits))])


def log_mass(records: Records, width: float) -> float:
    """The logarithm of a kernel's sum over all records that there could be.

    Of pixels it is the integral over all of space; of a number near the end of its range it is
    averaged over where the kernel stands.
    """
    if not records.columns:
        return float(0.5 * records.values.shape[1] * np.log(np.pi * width))
    return float(sum(np.log(_mass(column, width)) for column in records.columns))


def _mass(column: Column, width: float) -> float:
    if not column.ordered:
        return 1 + (column.size - 1) * float(np.exp(-1 / width))
    m = column.cardinality
    absent = float(np.exp(-1 / width)) if column.missing else 0.0
    if m == 1:
        return 1 + absent
    if m > _GRID:
        whole = 2 * width * (1 - width * (1 - float(np.exp(-1 / width))))
        return whole * (m - 1) + absent
    apart = np.arange(1, m)
    fall = np.exp(-apart / ((m - 1) * width))
    return 1 + 2 * float(np.sum((m - apart) * fall)) / m + absent


def _distances(points: Records, references: Records) -> Iterator[NDArray[np.float32]]:
    """(256, r) distances at a time, as the kernels take them."""
    if points.columns:
        yield from distances_of(points.values, references.values, points.columns)  # type: ignore[arg-type]
        return
    centre = references.values.mean(axis=0)  # small norms cancel less
    b = (references.values - centre).astype(np.float32)
    lengths = np.einsum("ij,ij->i", b, b)
    for start in range(0, len(points), _QUERIES):
        a = (points.values[start : start + _QUERIES] - centre).astype(np.float32)
        own = np.einsum("ij,ij->i", a, a)
        yield np.maximum(own[:, None] + lengths - 2 * (a @ b.T), 0)
