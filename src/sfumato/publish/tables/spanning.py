"""Which pairs of features are worth measuring: a tree that grows by private choices.

A pair's score is how far its exact table lies from what is known without it, in L1, less the
distance that the noise of a measurement would put there. One record is in one cell of each table,
so it moves each score by at most 1. In each round the choice is among the pairs that join two
parts of the tree, and one more: to measure a single feature again. Where there are few rows for
the noise, that one wins: it is worth what it takes off the error, and what the luckiest of the
pairs would gain by the noise of the choice.

Source: the scores and their penalty as in AIM (McKenna, Mullins, Sheldon, Miklau, VLDB 2022),
the rounds as in MST (McKenna, Miklau, Sheldon, 2021); every round here has its own noise.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sfumato.publish.tables.marginals import Independent
from sfumato.publish.tables.pairs import Counts, Pair

if TYPE_CHECKING:
    from sfumato.privacy.mechanisms import NoisyMax
    from sfumato.privacy.noise import NoiseSource

GRAIN = 2.0**-20
"""Expected counts are rounded to this, so that sums of distances are exact in floats."""


_CAUTION = 3.0
"""Nats: of worthless pairs one is measured in about one round of twenty."""


@dataclass(frozen=True)
class Expected:
    """Tables over two features if they were independent given the class.

    Args:
        one_way: Consistent counts of each feature's groups by class.
        error: The mean distance from the truth that noise puts on one cell of a pair's table.
    """

    one_way: Independent
    error: float

    def table(self, pair: Pair) -> NDArray[np.float64]:
        """(groups, groups, classes) expected counts."""
        first, second = (self.one_way.conditionals[i] for i in pair)
        shares = second / np.maximum(self.one_way.classes, 1e-300)
        return np.asarray(first[:, np.newaxis] * shares[np.newaxis], np.float64)

    def score(self, pair: Pair, counts: Counts) -> float:
        """What a measurement of the pair would bring; a record moves it by at most 1."""
        expected = _rounded(self.table(pair))
        return float(np.abs(counts - expected).sum() - _rounded(self.error * counts.size))

    def scores(self, counted: Iterable[tuple[Pair, Counts]]) -> dict[Pair, float]:
        """All scores, one table at a time: private."""
        return {pair: self.score(pair, counts) for pair, counts in counted}


def grow(
    features: int,
    scores: dict[Pair, float],
    again: Sequence[float],
    choice: NoisyMax,
    source: NoiseSource,
) -> list[Pair | None]:
    """Chooses one measurement a round, ``features - 1`` of them.

    Args:
        features: How many there are.
        scores: Of every pair; private.
        again: Public: what measuring a feature by the target again would bring, for each.
        choice: The mechanism; each round is one use of it.
        source: The noise.

    Returns:
        For each round the pair, or None for a feature measured again; the pairs form a forest.
    """
    part = list(range(features))  # the tree that each feature is in
    chosen: list[Pair | None] = []
    repeated = 0
    for _ in range(features - 1):
        open_pairs = [pair for pair in scores if part[pair[0]] != part[pair[1]]]
        # What the best of so many worthless pairs would seem to be worth, by the choice's noise.
        nats = math.log1p(len(open_pairs)) + _CAUTION
        luck = 2 * choice.sensitivity * nats / choice.epsilon
        values = [scores[pair] for pair in open_pairs] + [again[repeated % features] + luck]
        best = choice.select(values, source)
        if best == len(open_pairs):
            repeated += 1
            chosen.append(None)
            continue
        i, j = open_pairs[best]
        part = [part[i] if p == part[j] else p for p in part]
        chosen.append((i, j))
    return chosen


def mean_error(variance: float) -> float:
    """The mean absolute value of Gaussian noise of a variance."""
    return math.sqrt(2 / math.pi * variance)


def _rounded(values: NDArray[np.float64] | float) -> NDArray[np.float64]:
    return np.asarray(np.rint(np.asarray(values) / GRAIN) * GRAIN)
