"""A forest of features from counts of features by class and of some pairs of them by class.

Given the class, the pairs form a forest: each feature is drawn given its parent's value. That is
the most likely distribution with the measured tables, and needs no iteration over the rows or over
the joint domain. Everything here is post-processing of noisy counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from sfumato.publish.tables.bayesian_network import BayesianNetwork, Step
from sfumato.publish.tables.groups import Groups
from sfumato.publish.tables.marginals import Floats, Independent, onto_simplex
from sfumato.publish.tables.pairs import Pair

_SWEEPS = 30  # of fitting a pair's table to its margins


def forest(
    cells: Independent,
    groups: Sequence[Groups],
    measured: Mapping[Pair, NDArray[np.integer]],
    variance: float,
) -> BayesianNetwork:
    """The distribution with the measured pairs, in closed form.

    Args:
        cells: Consistent counts of each feature by class.
        groups: Of each feature's cells.
        measured: Noisy (groups, groups, classes) counts of pairs that form a forest.
        variance: Of the noise on each of their cells.
    """
    one_way = grouped(cells, groups)
    steps = []
    for feature, parent in _order(len(groups), list(measured)):
        if parent is None:
            steps.append(Step(feature, (), one_way.conditionals[feature]))
            continue
        straight = (parent, feature) in measured
        noisy = measured[(parent, feature) if straight else (feature, parent)]
        table = noisy if straight else np.swapaxes(noisy, 0, 1)
        fitted = consistent(table, one_way, (parent, feature), variance)
        steps.append(Step(feature, (parent,), _drawable(fitted, one_way.conditionals[feature])))
    return BayesianNetwork(cells, tuple(groups), tuple(steps))


def consistent(
    noisy: NDArray[np.integer], one_way: Independent, pair: Pair, variance: float
) -> Floats:
    """A pair's table near to noisy counts and with its features' counts by class.

    Args:
        noisy: (groups, groups, classes) counts.
        one_way: Consistent counts of each feature's groups by class.
        pair: The features, in the table's order.
        variance: Of the noise on each cell.

    Returns:
        (groups, groups, classes) float64, at least 0.
    """
    rows, columns = (one_way.conditionals[feature] for feature in pair)
    by_class = [
        _fitted(np.asarray(noisy[:, :, k], np.float64), rows[:, k], columns[:, k], variance)
        for k in range(noisy.shape[2])
    ]
    return np.stack(by_class, axis=2)


def grouped(cells: Independent, groups: Sequence[Groups]) -> Independent:
    """Counts by cell as counts by group."""
    tables = zip(groups, cells.conditionals, strict=True)
    return Independent(cells.classes, tuple(g.sum(table) for g, table in tables))


def _order(features: int, pairs: Sequence[Pair]) -> list[tuple[int, int | None]]:
    """Every feature with its parent, parents first."""
    near: dict[int, list[int]] = {i: [] for i in range(features)}
    for i, j in pairs:
        near[i].append(j)
        near[j].append(i)
    seen: set[int] = set()
    order: list[tuple[int, int | None]] = []
    for root in range(features):
        waiting: list[tuple[int, int | None]] = [(root, None)] if root not in seen else []
        while waiting:
            feature, parent = waiting.pop(0)
            seen.add(feature)
            order.append((feature, parent))
            waiting += [(other, feature) for other in near[feature] if other not in seen]
    return order


def _drawable(table: Floats, own: Floats) -> Floats:
    """Given a parent's value that no row of the class was found with: the class's distribution."""
    own = np.where(own.sum(axis=0) > 0, own, 1.0)
    return np.where(table.sum(axis=1, keepdims=True) > 0, table, own)


def _fitted(noisy: Floats, rows: Floats, columns: Floats, variance: float) -> Floats:
    """A class's table near to noisy counts and with given margins.

    Shrunk towards independence as far as its distance from it is noise (Stein), made non-negative
    by the nearest point of the simplex, and fitted to its margins.

    Args:
        noisy: (a, b) counts.
        rows: (a,) margin, at least 0.
        columns: (b,) margin with the same sum.
        variance: Of the noise on each cell.
    """
    total = rows.sum()
    if total <= 0:
        return np.zeros_like(noisy)
    independent = np.outer(rows, columns) / total
    apart = noisy - independent
    square = float(np.sum(apart**2))
    kept = max(0.0, 1 - noisy.size * variance / square) if square > 0 else 0.0
    table = onto_simplex((independent + kept * apart).ravel(), total).reshape(noisy.shape)
    # A trace of independence, so that every value of the margins can be reached.
    table = 0.999 * table + 0.001 * independent
    for _ in range(_SWEEPS):
        table *= _ratio(rows, table.sum(axis=1))[:, np.newaxis]
        table *= _ratio(columns, table.sum(axis=0))[np.newaxis]
    return np.asarray(table, np.float64)


def _ratio(wanted: Floats, found: Floats) -> Floats:
    return np.where(found > 0, wanted / np.where(found > 0, found, 1.0), 0.0)
