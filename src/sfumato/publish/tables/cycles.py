"""Which pairs of features are worth measuring beyond a tree: those that it gets most wrong.

What a tree says of a pair that it does not hold is the sum over the paths between the two. A pair's
score is how far its exact table lies from that, less what a measurement's noise would add: as in a
tree's own choice, one record moves it by at most 1. Chosen pairs close cycles, and the table over
what has to be summed out at once grows with each; only pairs that leave it small are candidates,
which is known from the pairs chosen so far and from public numbers of groups.

Source: the scores of AIM (McKenna, Mullins, Sheldon, Miklau, VLDB 2022), against one estimate for
all rounds in place of one a round; its cap on the model's size.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sfumato.publish.tables.bayesian_network import BayesianNetwork
from sfumato.publish.tables.elimination import largest
from sfumato.publish.tables.forest import grouped
from sfumato.publish.tables.marginals import Floats, Independent
from sfumato.publish.tables.pairs import Counts, Pair
from sfumato.publish.tables.spanning import Expected, score

LARGEST_CLIQUE = 1 << 15
"""Cells of the largest table that a model with cycles may need, classes included."""


@dataclass(frozen=True)
class ExpectedByTree:
    """Tables over two features as a forest has them.

    Args:
        network: The forest: one parent a feature at most.
        error: The mean distance from the truth that noise puts on one cell of a pair's table.
    """

    network: BayesianNetwork
    error: float

    def scores(self, counted: Iterable[tuple[Pair, Counts]]) -> dict[Pair, float]:
        """All scores, one table at a time, in the order of their first feature: private."""
        found, at, tables = {}, -1, {}
        for pair, counts in counted:
            if pair[0] != at:
                at, tables = pair[0], self.tables(pair[0])
            found[pair] = score(tables[pair[1]], counts, self.error)
        return found

    def tables(self, feature: int) -> dict[int, Floats]:
        """(groups, groups, classes) expected counts of a feature and every other one."""
        own = self.one_way.conditionals[feature]
        reached = {feature: np.eye(len(own))[:, :, np.newaxis] * own}
        waiting = [feature]
        while waiting:
            at = waiting.pop()
            for (first, second), given in self._given.items():
                if first == at and second not in reached:
                    reached[second] = np.einsum("iak,abk->ibk", reached[at], given)
                    waiting.append(second)
        apart = Expected(self.one_way, self.error)
        for other in set(range(len(self.one_way.conditionals))) - set(reached):
            reached[other] = apart.table((feature, other))
        return reached

    @cached_property
    def one_way(self) -> Independent:
        """Consistent counts of each feature's groups by class."""
        return grouped(self.network.cells, self.network.groups)

    @cached_property
    def _given(self) -> dict[Pair, Floats]:
        """Of features next to each other (groups, groups, classes): one given the other."""
        found = {}
        for step in self.network.steps:
            for parent in step.parents:
                found[parent, step.feature] = self._shares(step.table, step.feature)
                found[step.feature, parent] = self._shares(np.swapaxes(step.table, 0, 1), parent)
        return found

    def _shares(self, table: Floats, feature: int) -> Floats:
        total = table.sum(axis=1, keepdims=True)
        own = self.one_way.conditionals[feature]
        own = own / np.maximum(own.sum(axis=0), 1e-300)
        # Given a value that no row was found with: the class's own distribution.
        return np.where(total > 0, table / np.where(total > 0, total, 1.0), own)


def fitting(
    pairs: Iterable[Pair], sizes: Sequence[int], classes: int, chosen: Sequence[Pair]
) -> list[Pair]:
    """Those pairs, not chosen yet, that leave every table of the model small.

    Args:
        pairs: The features of each.
        sizes: The number of groups of each feature.
        classes: Of the target.
        chosen: The pairs of the model so far.
    """
    held = set(chosen)
    most = LARGEST_CLIQUE // classes
    return [p for p in pairs if p not in held and largest(sizes, [*chosen, p]) <= most]
