"""Rows drawn feature by feature, each given the class and some features before it.

Everything here is post-processing of noisy counts: it costs nothing and knows no private row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfumato.publish.tables.bins import Cells
from sfumato.publish.tables.groups import Groups
from sfumato.publish.tables.marginals import Floats, Independent, spread

Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Step:
    """One feature's draw.

    Args:
        feature: Its number.
        parents: The features that it is drawn given, drawn before it.
        table: (groups of the first parent, ..., own groups, classes) weights, at least 0.
    """

    feature: int
    parents: tuple[int, ...]
    table: Floats


@dataclass(frozen=True)
class BayesianNetwork:
    """A distribution of rows.

    Args:
        cells: Consistent counts of each feature's cells by class.
        groups: The groups of cells that features are drawn in.
        steps: Every feature once, parents before children.
    """

    cells: Independent
    groups: tuple[Groups, ...]
    steps: tuple[Step, ...]

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
        most = max((len(step.parents) for step in self.steps), default=0)
        order = np.full((len(self.steps), 1 + max(1, most)), -1, np.int64)
        for at, step in enumerate(self.steps):
            order[at, : 1 + len(step.parents)] = (step.feature, *step.parents)
        found["order"] = order
        return found

    @classmethod
    def of_tensors(
        cls, tensors: Mapping[str, NDArray[Any]], cells: Sequence[Cells]
    ) -> BayesianNetwork:
        """What :attr:`tensors` gave.

        Args:
            tensors: By name.
            cells: Public cells of the features.

        Raises:
            KeyError: If a part is missing.
        """
        steps = (
            Step(int(feature), tuple(int(p) for p in parents if p >= 0), tensors[f"step/{at:05d}"])
            for at, (feature, *parents) in enumerate(tensors["order"])
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
            given = np.zeros(rows, np.int64)
            for parent in step.parents:
                given = given * len(self.groups[parent]) + drawn[parent]
            table = np.swapaxes(step.table, -1, -2)
            flat = table.reshape(-1, table.shape[-1])
            drawn[step.feature] = conditional(flat, given * len(classes) + labels, rng)
        columns = []
        for j, groups in enumerate(self.groups):
            table = self.cells.conditionals[j]
            if np.array_equal(groups.of, np.arange(len(table))):
                columns.append(drawn[j])
            else:
                columns.append(_within(groups, table, drawn[j], labels, rng))
        return labels, columns


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
