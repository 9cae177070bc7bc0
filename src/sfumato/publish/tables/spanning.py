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
from collections.abc import Callable, Iterable, Mapping, Sequence
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
        return score(self.table(pair), counts, self.error)

    def scores(self, counted: Iterable[tuple[Pair, Counts]]) -> dict[Pair, float]:
        """All scores, one table at a time: private."""
        return {pair: self.score(pair, counts) for pair, counts in counted}


def score(expected: NDArray[np.float64], counts: Counts, error: float) -> float:
    """What a measurement would bring; a record moves it by at most 1.

    Args:
        expected: The table without it; public.
        counts: The exact one; private.
        error: The mean distance from the truth that noise puts on one of its cells.
    """
    return float(np.abs(counts - _rounded(expected)).sum() - _rounded(error * counts.size))


def choose(
    rounds: int,
    scores: Mapping[Pair, float],
    candidates: Callable[[Sequence[Pair]], list[Pair]],
    again: Sequence[float],
    choice: NoisyMax,
    source: NoiseSource,
    before: Sequence[Pair | None] = (),
) -> list[Pair | None]:
    """Chooses one measurement a round.

    Args:
        rounds: How many.
        scores: Of every pair; private.
        candidates: Public: those pairs that may follow the ones chosen so far.
        again: Public: what measuring a feature by the target again would bring, for each.
        choice: The mechanism; each round is one use of it.
        source: The noise.
        before: What earlier rounds chose.

    Returns:
        For each round the pair, or None for a feature measured again, each in its turn.
    """
    chosen = list(before)
    for _ in range(rounds):
        pairs = candidates([pair for pair in chosen if pair is not None])
        # What the best of so many worthless pairs would seem to be worth, by the choice's noise.
        luck = 2 * choice.sensitivity * (math.log1p(len(pairs)) + _CAUTION) / choice.epsilon
        gain = again[chosen.count(None) % len(again)] + luck
        best = choice.select([*(scores[pair] for pair in pairs), gain], source)
        chosen.append(None if best == len(pairs) else pairs[best])
    return chosen[len(before) :]


def joining(pairs: Iterable[Pair], chosen: Sequence[Pair]) -> list[Pair]:
    """Those pairs that join two parts of a forest."""
    part: dict[int, int] = {}  # the tree that a feature is in, where it is not its own
    for first, second in chosen:
        into, gone = part.get(first, first), part.get(second, second)
        part |= {i: into for i in (gone, *part) if part.get(i, i) == gone}
    return [(i, j) for i, j in pairs if part.get(i, i) != part.get(j, j)]


def mean_error(variance: float) -> float:
    """The mean absolute value of Gaussian noise of a variance."""
    return math.sqrt(2 / math.pi * variance)


def _rounded(values: NDArray[np.float64] | float) -> NDArray[np.float64]:
    return np.asarray(np.rint(np.asarray(values) / GRAIN) * GRAIN)
