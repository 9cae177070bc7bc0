"""In which order features of a graph are summed out, and how large the tables of that become."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sfumato.publish.tables.pairs import Pair


@dataclass(frozen=True)
class Eliminated:
    """A feature that is summed out.

    Args:
        feature: Its number.
        rest: The features that share a table with it and are summed out later, ascending.
        cells: Of that table, for one class.
    """

    feature: int
    rest: tuple[int, ...]
    cells: int


def eliminate(sizes: Sequence[int], pairs: Iterable[Pair]) -> list[Eliminated]:
    """Features in the order in which they are summed out: always the one with the least table.

    Args:
        sizes: The number of groups of each feature.
        pairs: Of features that have a table in common.

    Returns:
        Every feature once.
    """
    near: dict[int, set[int]] = {i: set() for i in range(len(sizes))}
    for i, j in pairs:
        near[i].add(j)
        near[j].add(i)
    cells = {i: sizes[i] * math.prod(sizes[j] for j in near[i]) for i in near}
    order = []
    while near:
        feature = min(near, key=lambda i: (cells[i], i))
        rest = near.pop(feature)
        order.append(Eliminated(feature, tuple(sorted(rest)), cells.pop(feature)))
        for i in rest:
            near[i] |= rest
            near[i] -= {i, feature}
            cells[i] = sizes[i] * math.prod(sizes[j] for j in near[i])
    return order


def largest(sizes: Sequence[int], pairs: Iterable[Pair]) -> int:
    """Cells of the largest table, for one class.

    >>> largest([2, 3, 5], [(0, 1), (1, 2)]), largest([2, 3, 5], [(0, 1), (1, 2), (0, 2)])
    (15, 30)
    """
    return max(step.cells for step in eliminate(sizes, pairs))
