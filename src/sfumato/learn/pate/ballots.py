"""Gradients put to the vote: every coordinate an election among bins, by confident GNMax.

Each teacher's number is cut to a public range and falls into one of a few bins; a coordinate's
histogram of bins is tested and answered by :class:`~sfumato.learn.pate.voting.ConfidentGnMax`. One
record moves one teacher's votes for all coordinates asked about in a round, and all of them are
paid for, each test and each answer, whatever the votes were.

Source: Long et al., NeurIPS 2021 (G-PATE), whose bound depends on the votes and is published
unprotected; here it does not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from sfumato.learn.pate.voting import ConfidentGnMax
from sfumato.learn.stacks import apart, check, gaussian
from sfumato.privacy.neighbours import Neighbours

if TYPE_CHECKING:
    from dp_accounting import DpEvent

    from sfumato.privacy.noise import NoiseSource


@dataclass(frozen=True)
class BinnedVotes:
    """Votes of teachers on the coordinates of gradients.

    Args:
        asked: Coordinates in a round that one record may speak on.
        reach: Numbers are cut to ``[-reach, reach]``.
        bins: How many equal parts of that there are.
        threshold: Votes that the fullest bin must have, with noise; 0 answers every coordinate, and
            then nothing is tested or charged for it.
        test_ratio: Noise of the test over that of an answer.
        stddev: Of the noise on each count of an answer.
    """

    asked: int
    reach: float
    bins: int
    threshold: float
    test_ratio: float
    stddev: float

    def __post_init__(self) -> None:
        for name in ("asked", "reach", "test_ratio", "stddev"):
            check(f"{name} of the votes", getattr(self, name))
        check("the threshold of the votes", self.threshold, -1e-300)
        check("the number of bins", self.bins, 1)

    @property
    def test_stddev(self) -> float | None:
        """Of the noise on a largest count; None where nothing is tested."""
        return self.stddev * self.test_ratio if self.threshold else None

    def sensitivity(self, neighbours: Neighbours) -> float:
        """The L2 distance of two rounds' histograms: for each coordinate a vote changes its bin."""
        return apart(math.sqrt(2 * self.asked), neighbours)

    def event(self, neighbours: Neighbours, rounds: int = 1) -> DpEvent:
        """What ``rounds`` rounds draw at most: every test, every answer."""
        from sfumato.privacy import events

        answers = gaussian(self.stddev, self.sensitivity(neighbours), neighbours).event
        if not self.threshold:
            return events.repeat(answers, rounds)
        far = apart(math.sqrt(self.asked), neighbours)  # each largest count moves by 1 at most
        tests = gaussian(self.stddev * self.test_ratio, far, neighbours).event
        return events.compose(events.repeat(tests, rounds), events.repeat(answers, rounds))

    def votes(self, pulls: Tensor, present: Tensor) -> np.ndarray:
        """(coordinates, bins) int64 histograms; private.

        Args:
            pulls: (teachers, ...) numbers.
            present: (teachers,) bool: who votes at all.
        """
        said = torch.nan_to_num(pulls[present].flatten(1), 0.0)
        scaled = ((said / self.reach + 1) * (self.bins / 2)).floor().clamp_(0, self.bins - 1)
        places = scaled.long() + torch.arange(said.shape[1]) * self.bins
        found = torch.bincount(places.flatten(), minlength=said.shape[1] * self.bins)
        return found.view(said.shape[1], self.bins).numpy()

    def release(
        self, pulls: Tensor, present: Tensor, neighbours: Neighbours, source: NoiseSource
    ) -> Tensor:
        """(...) float64: the middle of the winning bin; 0 where too few agree.

        Args:
            pulls: (teachers, ...) numbers, ``asked`` of each teacher.
            present: (teachers,) bool: who votes at all.
            neighbours: The relation that is accounted.
            source: Of the noise.
        """
        votes = self.votes(pulls, present)
        won = np.zeros(len(votes))
        middles = ((np.arange(self.bins) + 0.5) * 2 / self.bins - 1) * self.reach
        if self.threshold:
            election = ConfidentGnMax(
                self.stddev, self.stddev * self.test_ratio, self.threshold, len(votes), len(votes)
            )
            answers = election.answer(votes, neighbours, source)
            won[answers.queries] = middles[answers.labels]
        else:
            noise = gaussian(self.stddev, self.sensitivity(neighbours), neighbours)
            won = middles[noise.release(votes, source).argmax(axis=1)]
        return torch.from_numpy(won).view(pulls.shape[1:])
