"""The attacker without access to the release: what the evidence itself gives away.

Members and non-members that differ (another year, another clinic) can be told apart without any
leak. An attack that does no better than this one has not shown a leak.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sfumato.measure import intervals
from sfumato.measure.features import Design
from sfumato.measure.threads import one_thread

if TYPE_CHECKING:
    from sfumato.attack.evidence import Evidence
    from sfumato.attack.targets import Records

Halves = tuple[
    tuple[NDArray[np.int64], NDArray[np.int64]], tuple[NDArray[np.int64], NDArray[np.int64]]
]
"""Of members and of others: row numbers to learn from, and to judge on."""


ROUNDS = 10
"""How often the halves are drawn; more make an interval narrower by a twentieth at most."""

_TIMES = 8
"""How often a label stands beside the pixels."""


@dataclass(frozen=True, eq=False)
class Round:
    """Membership scores of the records that one classifier did not learn from.

    Args:
        inside: (h,) of members.
        outside: (k,) of others.
        rows: (h,) and (k,) which of the members and of the others these are.
    """

    inside: NDArray[np.float64]
    outside: NDArray[np.float64]
    rows: tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True, eq=False)
class Blind:
    """What somebody without the release makes of the records, in several rounds.

    In each he learns from a random half of either side and is judged on the rest, so that all but
    one in a thousand records are judged in some of ten. Two rounds share half of their judges.
    Where there is much to see, the mean of many rounds is therefore as sure as one judgement of
    all records. Where there is nothing, a round's figure goes with the product of two halves'
    differences, ``|d|^2 - |e|^2`` with ``d`` of all records, which rounds share, and ``e`` of the
    split, which they do not; both vary alike. So a mean of R rounds has ``(1 + 1 / R) / 2`` of the
    variance that a round of so many judges has, in either case. (Two halves that merely change
    roles share the whole product: their mean is no surer than one of them.)

    Args:
        rounds: At least one.
        sides: How many members and others there are.
    """

    rounds: tuple[Round, ...]
    sides: tuple[int, int]

    @cached_property
    def area(self) -> float:
        """The area under their ROC curve."""
        return float(np.mean([standing[0].mean() for standing in self._standings]))

    @cached_property
    def variance(self) -> float:
        """Of the area."""
        found = [sum(float(one.var(ddof=1)) / len(one) for one in s) for s in self._standings]
        return self.lessened * float(np.mean(found))

    @property
    def lessened(self) -> float:
        """What is left of a round's variance in the mean of all."""
        return (1 + 1 / len(self.rounds)) / 2

    @property
    def judges(self) -> tuple[float, float]:
        """As how many independent members and others those that are judged count."""
        each = [[len(some) for some in one.rows] for one in self.rounds]
        inside, outside = np.mean(each, axis=0) / self.lessened
        return float(inside), float(outside)

    def interval(self, confidence: float) -> intervals.Interval:
        """Of the area."""
        return intervals.of_area(self.area, self.variance, *self.judges, confidence)

    @cached_property
    def standing(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(m,) and (n,): how each record stands among the other side's, as a mean of the rounds.

        Not a number where it was judged in none.
        """
        parts = []
        for side, size in enumerate(self.sides):
            total, times = np.zeros(size), np.zeros(size)
            for one, standing in zip(self.rounds, self._standings, strict=True):
                total[one.rows[side]] += standing[side]
                times[one.rows[side]] += 1
            parts.append(np.where(times > 0, total / np.maximum(times, 1), np.nan))
        return parts[0], parts[1]

    @cached_property
    def _standings(self) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        return [intervals.placements(one.inside, one.outside) for one in self.rounds]

    def found(self, fpr: float, confidence: float) -> tuple[float, intervals.Interval]:
        """The share of members that are found where few others may be accused.

        In each round one more other may be accused where the share does not come to a whole number
        of them: he is not made out to be worse than he is.

        Args:
            fpr: The share of others that may be.
            confidence: Of the interval.

        Returns:
            The share and its interval.
        """
        rates = []
        for one in self.rounds:
            ordered = np.sort(one.outside)[::-1]
            allowed = int(np.ceil(fpr * len(ordered) - 1e-9))
            threshold = ordered[allowed] if allowed < len(ordered) else -np.inf
            rates.append(float(np.mean(one.inside > threshold)))
        rate, tried = float(np.mean(rates)), self.judges[0]
        return rate, intervals.clopper_pearson(rate * tried, tried, confidence)

    def pointed(self, share: float, rng: np.random.Generator) -> tuple[float, float]:
        """The share of members among the judged records that look likeliest to be members.

        Args:
            share: How many of the judged are pointed at.
            rng: Draws among equally likely ones.

        Returns:
            The share, and as how many independent records those that are pointed at count.
        """
        found, taken = [], []
        for one in self.rounds:
            together = np.concatenate([one.inside, one.outside])
            order = np.lexsort((rng.random(len(together)), -together))
            first = order[: max(1, round(share * len(order)))]
            found.append(float(np.mean(first < len(one.inside))))
            taken.append(len(first))
        return float(np.mean(found)), float(np.mean(taken)) / self.lessened


def halves(members: int, others: int, rng: np.random.Generator) -> Halves:
    """Half of either side to learn from, at random, and the rest to judge on."""
    inside, outside = rng.permutation(members), rng.permutation(others)
    half, rest = members // 2, others // 2
    return (inside[:half], inside[half:]), (outside[:rest], outside[rest:])


def beside(
    evidence: Evidence, members: Records, others: Records, rng: np.random.Generator
) -> Blind | None:
    """What is made of the targets without the release; None where coins say that it is nothing.

    Args:
        evidence: Of which the targets are.
        members: m records.
        others: n records.
        rng: Draws the halves.
    """
    return None if evidence.by_coins else scores(members, others, rng)


def scores(
    members: Records, others: Records, rng: np.random.Generator, rounds: int = ROUNDS
) -> Blind:
    """Membership scores from the records' own values, learnt on halves of each side.

    Args:
        members: m records.
        others: n records.
        rng: Draws the halves.
        rounds: How often.
    """
    known = seen(members, others)
    found = []
    for _ in range(rounds):
        parts = halves(len(members), len(others), rng)
        found.append(Round(*split_scores(known[0], known[1], parts), (parts[0][1], parts[1][1])))
    return Blind(tuple(found), (len(members), len(others)))


def split_scores(
    members: NDArray[np.float64], others: NDArray[np.float64], parts: Halves
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scores of held-out rows of features from a classifier of the other half.

    Args:
        members: (m, p) features.
        others: (n, p) features.
        parts: Rows of both, as :func:`halves` makes them.

    Returns:
        For the held-out members and others, the log-odds of being a member.
    """
    from sklearn.linear_model import LogisticRegression

    (learnt, judged), (known, strange) = parts
    x = np.concatenate([members[learnt], others[known]])
    y = np.repeat([1, 0], [len(learnt), len(known)])
    centre, spread = x.mean(axis=0), x.std(axis=0)
    spread[spread < 1e-9] = 1.0
    with one_thread():
        model = LogisticRegression(C=0.1, max_iter=200).fit((x - centre) / spread, y)
        scaled = [
            np.clip((rows - centre) / spread, -10, 10)
            for rows in (members[judged], others[strange])
        ]
        scores = [np.asarray(model.decision_function(rows), np.float64) for rows in scaled]
    return scores[0], scores[1]


def seen(*sides: Records) -> list[NDArray[np.float64]]:
    """What everybody sees of the records of several sides, in the same columns.

    Pictures come with their labels: attacks on models go by them, and sides whose classes are
    unevenly common are told apart without any model.
    """
    labels = [side.labels for side in sides if side.labels is not None and len(side)]
    classes = 1 + max((int(some.max()) for some in labels), default=-1)
    return [plain(side, classes) for side in sides]


def plain(records: Records, classes: int) -> NDArray[np.float64]:
    """(n, p) what everybody sees of records: levels one by one, or pixels and the label.

    Args:
        records: n of them.
        classes: How many labels of pictures there are.
    """
    if records.columns:
        return np.asarray(Design(records.columns).matrix(records.values).toarray())  # type: ignore[arg-type]
    pixels = np.asarray(records.values, dtype=np.float64)
    if records.labels is None:
        return pixels
    # Several times, so that the penalty on hundreds of weights does not keep this one at nothing.
    labels = np.repeat(np.eye(classes)[records.labels], _TIMES, axis=1)
    return np.concatenate([pixels, labels], axis=1)
