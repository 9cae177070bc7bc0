"""How votes become labels: noisy histograms, with their sensitivity and their event.

One record decides at most one teacher's votes. A teacher moves from one class to another, so for
each query the histogram of votes changes by 1 in two counts: by 2 in L1, by ``sqrt(2)`` in L2, and
the largest count by at most 1. That holds under add-remove and under replace-one alike, for both
mean that one teacher has learnt from other records.

Accounting does not look at the votes. What it pays for is then the whole noisy histogram of a
query, not only its largest count: the counts are released with the label, and cost nothing more.
(Bounds that depend on the votes are smaller where teachers agree, but are themselves functions of
private records; they are not offered as a guarantee.)

Sources: Papernot et al., ICLR 2017 (Laplace) and ICLR 2018 (Gaussian, confident).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InputError
from sfumato.learn.stacks import gaussian
from sfumato.privacy.neighbours import Neighbours

if TYPE_CHECKING:
    from dp_accounting import DpEvent

    from sfumato.privacy.noise import NoiseSource

Votes = NDArray[np.int64]
"""(queries, classes): how many teachers chose each class."""

_HISTOGRAM = math.sqrt(2)
"""L2 distance of two histograms that differ in one teacher's vote."""
_LARGEST = 1.0
"""How far one teacher's vote moves the largest count."""


@dataclass(frozen=True, eq=False)
class Answers:
    """What was released of the votes.

    Attributes:
        queries: (m,) int64: which queries were answered, ascending.
        counts: (m, classes) float64 noisy histograms.
        asked: How many queries were put.
    """

    queries: NDArray[np.int64]
    counts: NDArray[np.float64]
    asked: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        counts, queries = self.counts.tolist(), self.queries.tolist()
        return {"queries": queries, "counts": counts, "asked": self.asked}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], classes: int) -> Answers:
        """What :meth:`to_dict` gave."""
        counts = np.array(values["counts"], np.float64).reshape(-1, classes)
        return cls(np.array(values["queries"], np.int64), counts, int(values["asked"]))

    @property
    def labels(self) -> NDArray[np.int64]:
        """(m,) the class with the largest noisy count of each answered query."""
        return np.asarray(self.counts.argmax(axis=1), np.int64)


class Voting(Protocol):
    """A noisy election: public numbers that know their cost."""

    def event(self, neighbours: Neighbours) -> DpEvent:
        """What all queries together draw from the private records, at most."""
        ...

    def answer(self, votes: Votes, neighbours: Neighbours, source: NoiseSource) -> Answers:
        """Releases answers to at most ``queries`` queries."""
        ...


@dataclass(frozen=True)
class LnMax:
    """Integer Laplace noise on every count: pure differential privacy for each query.

    A query costs ``2 / scale`` (L1 distance 2).

    Args:
        scale: Of the noise on each count.
        queries: The most that can be answered; fixed before the votes are known.
    """

    scale: float
    queries: int

    def __post_init__(self) -> None:
        _positive("the scale of the votes' noise", self.scale)
        _count("queries", self.queries)

    def event(self, neighbours: Neighbours) -> DpEvent:
        """Two counts that move by 1, for every query."""
        from sfumato.privacy import events

        cost = 1.0 / self.scale
        if neighbours is Neighbours.REPLACE_ONE:
            # As an integer contribution of 1 it would be charged for a move of 2. Of integers one
            # apart nothing but the pure bound is lost: each draw says "here" or "there".
            moved: DpEvent = events.PureDpEvent(cost, neighbours.value)
        else:
            moved = events.DiscreteLaplaceDpEvent(cost, 1)
        return events.repeat(moved, 2 * self.queries)

    def answer(self, votes: Votes, neighbours: Neighbours, source: NoiseSource) -> Answers:
        """See :class:`Voting`."""
        from sfumato.privacy.mechanisms import DiscreteLaplace

        _check(votes, self.queries)
        noisy = DiscreteLaplace(self.scale, 2).release(votes, source)
        return Answers(np.arange(len(votes)), noisy.astype(np.float64), len(votes))


@dataclass(frozen=True)
class GnMax:
    """Gaussian noise on every count.

    Args:
        stddev: Of the noise on each count.
        queries: The most that can be answered; fixed before the votes are known.
    """

    stddev: float
    queries: int

    def __post_init__(self) -> None:
        _positive("the stddev of the votes' noise", self.stddev)
        _count("queries", self.queries)

    def event(self, neighbours: Neighbours) -> DpEvent:
        """A Gaussian at L2 distance ``sqrt(2)``, for every query."""
        from sfumato.privacy import events

        return events.repeat(gaussian(self.stddev, _HISTOGRAM, neighbours).event, self.queries)

    def answer(self, votes: Votes, neighbours: Neighbours, source: NoiseSource) -> Answers:
        """See :class:`Voting`."""
        _check(votes, self.queries)
        noisy = gaussian(self.stddev, _HISTOGRAM, neighbours).release(votes, source)
        return Answers(np.arange(len(votes)), noisy, len(votes))


@dataclass(frozen=True)
class ConfidentGnMax:
    """Answers only where many agree: each query is tested first, and the test is paid for.

    ``max_j n_j + N(0, test_stddev^2) >= threshold``; only then the histogram is released. Whether
    a query was answered is part of what is released. What is paid is all ``queries`` tests and
    ``answers`` histograms, whatever happens: the sequence stops at that many answers, so the sum of
    the squared distances over stddevs never exceeds what ``event`` says, and noise that is chosen
    as one goes along composes to that sum (Feldman and Zrnic 2021; Gaussian: Smith and Thakurta
    2022).

    Args:
        stddev: Of the noise on each count of an answer.
        test_stddev: Of the noise on the largest count.
        threshold: In votes.
        queries: The most that can be tested.
        answers: The most that can be answered.
    """

    stddev: float
    test_stddev: float
    threshold: float
    queries: int
    answers: int

    def __post_init__(self) -> None:
        _positive("the stddev of the votes' noise", self.stddev)
        _positive("the stddev of the test's noise", self.test_stddev)
        _positive("the threshold of the test", self.threshold)
        _count("queries", self.queries)
        _count("answers", self.answers)
        if self.answers > self.queries:
            raise InputError(
                f"there are to be {self.answers} answers to {self.queries} queries",
                "Give as many queries as answers, or more.",
            )

    def event(self, neighbours: Neighbours) -> DpEvent:
        """A Gaussian at distance 1 for every test, one at ``sqrt(2)`` for every answer."""
        from sfumato.privacy import events

        test = gaussian(self.test_stddev, _LARGEST, neighbours).event
        answer = gaussian(self.stddev, _HISTOGRAM, neighbours).event
        return events.compose(
            events.repeat(test, self.queries), events.repeat(answer, self.answers)
        )

    def answer(self, votes: Votes, neighbours: Neighbours, source: NoiseSource) -> Answers:
        """See :class:`Voting`; after the last answer that is paid for nothing more is tested."""
        _check(votes, self.queries)
        test = gaussian(self.test_stddev, _LARGEST, neighbours)
        passed = np.flatnonzero(test.release(votes.max(axis=1), source) >= self.threshold)
        asked = len(votes) if len(passed) < self.answers else int(passed[self.answers - 1]) + 1
        passed = passed[: self.answers]
        noisy = gaussian(self.stddev, _HISTOGRAM, neighbours).release(votes[passed], source)
        return Answers(passed, noisy, asked)


def _check(votes: Votes, queries: int) -> None:
    if votes.ndim != 2 or len(votes) > queries:
        raise InputError(
            f"votes of shape {votes.shape} for {queries} queries",
            "Give (queries, classes) counts, for no more queries than are accounted.",
        )


def _positive(name: str, value: float) -> None:
    if not (isinstance(value, int | float) and 0 < value < math.inf):
        raise InputError(f"{name} is {value!r}", "Give a finite number above 0.")


def _count(name: str, value: int) -> None:
    if not (isinstance(value, int) and value >= 1):
        raise InputError(f"the number of {name} is {value!r}", "Give at least 1.")
