"""Rows from counts of features by class and of some pairs of features by class.

Given the class, the pairs form a forest: each feature is drawn given its parent's value. That is
the most likely distribution with the measured tables, and needs no iteration over the rows or over
the joint domain. Everything here is post-processing of noisy counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfumato.publish.tables.bins import Cells
from sfumato.publish.tables.groups import Groups
from sfumato.publish.tables.marginals import Floats, Independent, onto_simplex, spread
from sfumato.publish.tables.pairs import Pair

Codes = NDArray[np.int64]
_SWEEPS = 30  # of fitting a pair's table to its margins


@dataclass(frozen=True)
class Step:
    """One feature's draw.

    Args:
        feature: Its number.
        parent: The feature that it is drawn given, or None.
        table: (parent's groups, groups, classes) counts; (1, groups, classes) without a parent.
    """

    feature: int
    parent: int | None
    table: Floats


@dataclass(frozen=True)
class Forest:
    """A distribution of rows.

    Args:
        cells: Consistent counts of each feature's cells by class.
        groups: The groups that pairs were measured in.
        steps: Every feature once, parents before children.
    """

    cells: Independent
    groups: tuple[Groups, ...]
    steps: tuple[Step, ...]

    @classmethod
    def fit(
        cls,
        cells: Independent,
        groups: Sequence[Groups],
        measured: Mapping[Pair, NDArray[np.integer]],
        variance: float,
    ) -> Forest:
        """The forest with the measured pairs.

        Args:
            cells: Consistent counts of each feature by class.
            groups: Of each feature's cells.
            measured: Noisy (groups, groups, classes) counts of pairs that form a forest.
            variance: Of the noise on each of their cells.
        """
        one_way = grouped(cells, groups)
        steps = []
        for feature, parent in _order(len(groups), list(measured)):
            own = one_way.conditionals[feature]
            if parent is None:
                steps.append(Step(feature, None, own[np.newaxis]))
                continue
            straight = (parent, feature) in measured
            noisy = measured[(parent, feature) if straight else (feature, parent)]
            table = np.asarray(noisy if straight else np.swapaxes(noisy, 0, 1), np.float64)
            fitted = [
                _consistent(table[:, :, k], one_way.conditionals[parent][:, k], own[:, k], variance)
                for k in range(table.shape[2])
            ]
            steps.append(Step(feature, parent, np.stack(fitted, axis=2)))
        return cls(cells, tuple(groups), tuple(steps))

    @property
    def records(self) -> int:
        """The estimated number of records, at least 1."""
        return self.cells.records

    @property
    def tensors(self) -> dict[str, NDArray[Any]]:
        """All of it by name, as a release keeps it."""
        found: dict[str, NDArray[Any]] = dict(self.cells.tensors)
        for j, groups in enumerate(self.groups):
            found[f"groups/{j:05d}"] = groups.of
        for at, step in enumerate(self.steps):
            found[f"step/{at:05d}"] = step.table
        parents = [(s.feature, -1 if s.parent is None else s.parent) for s in self.steps]
        found["order"] = np.array(parents, np.int64).reshape(-1, 2)
        return found

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, NDArray[Any]], cells: Sequence[Cells]) -> Forest:
        """What :attr:`tensors` gave.

        Args:
            tensors: By name.
            cells: Public cells of the features.

        Raises:
            KeyError: If a part is missing.
        """
        steps = (
            Step(int(feature), None if parent < 0 else int(parent), tensors[f"step/{at:05d}"])
            for at, (feature, parent) in enumerate(tensors["order"])
        )
        groups = (Groups(own, tensors[f"groups/{j:05d}"]) for j, own in enumerate(cells))
        return cls(Independent.of_tensors(tensors), tuple(groups), tuple(steps))

    def sample(self, rows: int, rng: np.random.Generator) -> tuple[Codes, list[Codes]]:
        """Classes and cells of synthetic rows, in random order.

        Args:
            rows: How many.
            rng: Not privacy noise: its seed may be published.

        Returns:
            (rows,) classes and for each feature (rows,) cells.
        """
        classes = self.cells.classes
        labels = rng.permutation(spread(classes, rows, rng))
        drawn: dict[int, Codes] = {}
        for step in self.steps:
            given = labels
            table = step.table.transpose(0, 2, 1)
            if step.parent is not None:
                given = drawn[step.parent] * len(classes) + labels
            flat = table.reshape(-1, table.shape[2])
            drawn[step.feature] = conditional(flat, given, rng)
        columns = []
        for j, groups in enumerate(self.groups):
            table = self.cells.conditionals[j]
            if np.array_equal(groups.of, np.arange(len(table))):
                columns.append(drawn[j])
            else:
                columns.append(_within(groups, table, drawn[j], labels, rng))
        return labels, columns


def grouped(cells: Independent, groups: Sequence[Groups]) -> Independent:
    """Counts by cell as counts by group."""
    tables = zip(groups, cells.conditionals, strict=True)
    return Independent(cells.classes, tuple(g.sum(table) for g, table in tables))


def conditional(weights: Floats, given: Codes, rng: np.random.Generator) -> Codes:
    """An outcome for each row, given what it is in: systematic sampling within each condition.

    Args:
        weights: (conditions, k) at least 0; a condition that is met has a positive sum.
        given: (n,) the condition of each row.
        rng: Draws offsets and the order.

    Returns:
        (n,) outcomes in ``[0, k)``.
    """
    conditions, k = weights.shape
    order = rng.permutation(len(given))
    narrow = np.uint16 if conditions <= 1 << 16 else np.int64
    order = order[np.argsort(given[order].astype(narrow), kind="stable")]
    met = given[order]
    held = np.bincount(met, minlength=conditions)
    first = np.cumsum(held) - held
    ranks = np.arange(len(given)) - first[met]
    offsets = rng.random((conditions,))
    steps = (ranks + offsets[met]) / held[met]
    sums = weights.sum(axis=1, keepdims=True)
    shares = np.cumsum(weights / np.where(sums > 0, sums, 1.0), axis=1)
    shares[:, -1] = 1.0
    # One ascending line for all conditions: condition c owns the numbers from c to c + 1.
    line = (shares + np.arange(conditions)[:, np.newaxis]).ravel()
    places = np.searchsorted(line, met + np.minimum(steps, 1 - 1e-9), side="right")
    outcomes = np.empty(len(given), np.int64)
    outcomes[order] = np.clip(places - met * k, 0, k - 1)
    return outcomes


def _within(
    groups: Groups, table: Floats, drawn: Codes, labels: Codes, rng: np.random.Generator
) -> Codes:
    """Cells of rows that lie in given groups, by the cells' own counts."""
    classes = table.shape[1]
    weights = np.zeros((len(groups), classes, len(table)))
    weights[groups.of, :, np.arange(len(table))] = table
    size = np.bincount(groups.of, minlength=len(groups))
    member = (groups.of[np.newaxis] == np.arange(len(groups))[:, np.newaxis])[:, np.newaxis]
    empty = weights.sum(axis=2, keepdims=True) <= 0
    # Where nothing was found in a group for a class, its cells are equally likely.
    weights += np.where(empty, member / size[:, np.newaxis, np.newaxis], 0.0)
    return conditional(weights.reshape(-1, len(table)), drawn * classes + labels, rng)


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


def _consistent(noisy: Floats, rows: Floats, columns: Floats, variance: float) -> Floats:
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
        return np.ones_like(noisy)
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
    reached = table.sum(axis=1) > 0
    # A parent's value that no row of the class was found with: the class's own distribution.
    table[~reached] = columns
    return np.asarray(table, np.float64)


def _ratio(wanted: Floats, found: Floats) -> Floats:
    return np.where(found > 0, wanted / np.where(found > 0, found, 1.0), 0.0)
