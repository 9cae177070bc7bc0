"""Many contingency tables from few: which wider tables to count so that all others are sums.

A pass that counts a table costs about the same whatever the number of its axes, as long as its
cells stay in the processor's cache. So narrow tables are taken together: one table over a, b and c
holds those over (a, b), (a, c) and (b, c). For the 820 pairs of 41 columns about a quarter as many
wider tables do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from sfumato.data.axes import Axis

Counts = NDArray[np.int64]
Group = tuple[Axis, ...]


def cover(
    requests: Sequence[Sequence[Axis]], sizes: Mapping[Axis, int], budget: int
) -> tuple[list[Group], list[int]]:
    """Tables that all requested ones are sums of.

    Args:
        requests: Axes of each table asked for; an axis may be there twice.
        sizes: Length of each axis.
        budget: Cells of a wider table; a request that has more by itself is counted as it is.

    Returns:
        The axes of each table to count, in the order of ``sizes``, none twice; and for each
        request the number of the table that holds it.
    """
    place = {axis: i for i, axis in enumerate(sizes)}
    lengths = list(sizes.values())
    masks = [_mask(place[axis] for axis in request) for request in requests]
    left = {mask: _cells(mask, lengths) for mask in masks}
    found: list[int] = []
    for mask in sorted(left, key=lambda m: (-left[m], m)):
        if mask not in left:
            continue
        group = _grow(mask, left, lengths, budget)
        found.append(group)
        for held in [m for m in left if m & ~group == 0]:
            del left[held]
    axes = list(sizes)
    groups = [tuple(axes[i] for i in _bits(group)) for group in found]
    holder = {
        mask: next(i for i, group in enumerate(found) if mask & ~group == 0) for mask in set(masks)
    }
    return groups, [holder[mask] for mask in masks]


def _grow(group: int, left: Mapping[int, int], lengths: Sequence[int], budget: int) -> int:
    """A request's axes and those that bring the most further requests for their length."""
    cells = _cells(group, lengths)
    while True:
        open_ = [mask for mask in left if mask & ~group]
        gains: dict[int, int] = {}
        for mask in open_:
            rest = mask & ~group
            if rest & (rest - 1) == 0:  # one axis is missing
                gains[rest] = gains.get(rest, 0) + 1
        best, score = 0, 0.0
        for axis, gain in gains.items():
            length = lengths[axis.bit_length() - 1]
            worth = gain / math.log(max(2, length))
            if cells * length <= budget and worth > score:
                best, score = axis, worth
        if not best:
            return group
        group |= best
        cells *= lengths[best.bit_length() - 1]


def summed(counts: Counts, group: Group, request: Sequence[Axis]) -> Counts:
    """The table over ``request`` from the one over ``group``, which holds it.

    >>> ab = np.array([[1, 2], [3, 4]])
    >>> a, b = Axis("a"), Axis("b")
    >>> summed(ab, (a, b), [b])
    array([4, 6])
    """
    kept = [axis for axis in group if axis in request]
    gone = tuple(i for i, axis in enumerate(group) if axis not in request)
    table = counts.sum(axis=gone) if gone else counts
    if len(set(request)) == len(request):
        return np.ascontiguousarray(np.transpose(table, [kept.index(axis) for axis in request]))
    # An axis that is there twice: only the diagonal is occupied.
    length = dict(zip(kept, table.shape, strict=True))
    full = np.zeros([length[axis] for axis in request], np.int64)
    occupied = np.nonzero(table)
    full[tuple(occupied[kept.index(axis)] for axis in request)] = table[occupied]
    return full


def _mask(places: object) -> int:
    mask = 0
    for place in places:  # type: ignore[attr-defined]
        mask |= 1 << place
    return mask


def _bits(mask: int) -> list[int]:
    return [i for i in range(mask.bit_length()) if mask >> i & 1]


def _cells(mask: int, lengths: Sequence[int]) -> int:
    return math.prod(lengths[i] for i in _bits(mask))
