"""Retrieval: where a search of a gallery finds the pictures that it looks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfumato.measure import intervals

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Search:
    """What came of the searches of some persons, who count equally.

    Args:
        first: (q,) whether the first that was found is right.
        precision: (q,) average precision of each search.
        guessed: (q, 2) the expectations of both for a gallery in random order.
        persons: (q,) whose search it is.
    """

    first: NDArray[np.float64]
    precision: NDArray[np.float64]
    guessed: NDArray[np.float64]
    persons: NDArray[np.int64]

    def told(self, confidence: float) -> dict[str, Any]:
        """Rank-1 and mAP as means over persons, with intervals and what guessing gets.

        Of a person several searches are no independent tries, so that the mean over them counts
        once; the gallery is taken as given.
        """
        at, count = intervals.numbered(self.persons)
        searches = np.bincount(at)

        def by_person(values: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.bincount(at, values) / searches

        def figure(values: NDArray[np.float64], guess: NDArray[np.float64]) -> dict[str, Any]:
            mean = min(1.0, float(by_person(values).mean()))
            around = intervals.bounded_mean(mean, count, confidence)
            return {
                "value": mean,
                "interval": list(around),
                "chance": float(by_person(guess).mean()),
            }

        return {
            "rank_1": figure(self.first, self.guessed[:, 0]),
            "map": figure(self.precision, self.guessed[:, 1]),
            "searches": len(self.first),
            "persons": count,
        }


def search(
    scores: NDArray[np.float64],
    right: Flags,
    there: Flags,
    persons: NDArray[np.int64],
    rng: np.random.Generator,
) -> Search:
    """Ranks each search's gallery by score.

    Args:
        scores: (q, g), higher where the picture is likelier to be the right one.
        right: (q, g) whether it is; at least one of each search's gallery.
        there: (q, g) whether the picture is in the gallery of that search.
        persons: (q,) numbers of persons.
        rng: Puts equal scores in random order.

    >>> scores = np.array([[0.9, 0.8, 0.7, 0.1]])
    >>> right = np.array([[False, True, False, True]])
    >>> found = search(scores, right, np.ones_like(right), np.zeros(1), np.random.default_rng(0))
    >>> found.first.tolist(), found.precision.tolist()  # (1/2 + 2/4) / 2
    ([0.0], [0.5])
    """
    first, precision, guessed = [], [], []
    for row, wanted, shown in zip(scores, right, there, strict=True):
        held = rng.permutation(np.flatnonzero(shown))
        hits = wanted[held[np.argsort(-row[held], kind="stable")]]
        ranks = np.flatnonzero(hits) + 1
        first.append(float(hits[0]))
        precision.append(float(np.mean(np.arange(1, len(ranks) + 1) / ranks)))
        guessed.append(by_guessing(len(ranks), len(hits)))
    return Search(np.array(first), np.array(precision), np.array(guessed), persons)


def by_guessing(right: int, of: int) -> tuple[float, float]:
    """Expected rank-1 rate and average precision of a gallery in random order.

    Args:
        right: How many pictures are right.
        of: How many there are.

    >>> by_guessing(1, 2), by_guessing(2, 2)
    ((0.5, 0.75), (1.0, 1.0))
    """
    harmonic = float(np.sum(1 / np.arange(1, of + 1)))
    others = (right - 1) / (of - 1) if of > 1 else 0.0
    return right / of, (harmonic + others * (of - harmonic)) / of
