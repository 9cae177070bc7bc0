"""Shards, teachers and an election as one object, and what the answers say of the public pool.

    pate = Pate(classes=10, teachers=600)
    calibrated = pate.calibrate(Budget(1.0, 1e-5))
    answers = calibrated.ask(features, labels, pool)     # the only step that sees private records
    layer = calibrated.teach(pool, answers)              # free: public records and answers alone

Source: Papernot et al., ICLR 2017 and 2018. Here the queries are chosen among the public records
so that they stand for the others, the whole noisy histogram is used, since the data-independent
accounting pays for it anyway, and the bound that looks at the votes is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sfumato.errors import InputError
from sfumato.learn.pate.queries import reduced, representatives
from sfumato.learn.pate.shards import Shards
from sfumato.learn.pate.spreading import Spreading
from sfumato.learn.pate.student import Layer, Student
from sfumato.learn.pate.teachers import Features, KernelRidge, votes_of
from sfumato.learn.pate.voting import Answers, ConfidentGnMax, GnMax, LnMax, Votes, Voting
from sfumato.privacy.neighbours import Neighbours

if TYPE_CHECKING:
    from dp_accounting import DpEvent

    from sfumato.privacy.budget import Budget
    from sfumato.privacy.guarantee import Central
    from sfumato.privacy.noise import NoiseSource

VOTINGS = ("gnmax", "confident", "lnmax")
_BRACKET = (0.1, 1e8)
"""Noise on a count, in votes, among which an election is calibrated."""
_AGREEMENT = 0.8
"""The part of the teachers that a typical answer is taken to have, when it is read."""


@dataclass(frozen=True)
class Pate:
    """Public choices; see :meth:`calibrate`.

    Args:
        classes: How many labels there are.
        teachers: How many shards.
        queries: How many public records are put to the vote, at most.
        voting: ``"gnmax"``, ``"confident"`` (tested first) or ``"lnmax"`` (Laplace).
        answers: For ``"confident"``: the most that are answered; None: half of the queries.
        threshold: For ``"confident"``: the part of the teachers that must agree.
        test_ratio: For ``"confident"``: noise of the test over that of an answer.
        teacher: How each teacher learns.
        components: Principal components of the public features, in which queries are chosen and
            labels spread.
        spreading: How.
        student: What learns the pool's labels.
        seed: Of what is random about the public records.

    Raises:
        InputError: If a value is unknown or out of its range.
    """

    classes: int
    teachers: int = 600
    queries: int = 300
    voting: str = "gnmax"
    answers: int | None = None
    threshold: float = 0.8
    test_ratio: float = 3.75
    teacher: KernelRidge | None = None
    components: int = 200
    spreading: Spreading = field(default_factory=Spreading)
    student: Student = field(default_factory=Student)
    seed: int = 0

    def __post_init__(self) -> None:
        Shards(self.teachers)
        if self.voting not in VOTINGS:
            raise InputError(f"voting is {self.voting!r}", f"Use one of {', '.join(VOTINGS)}.")
        if self.answers is not None and self.voting != "confident":
            raise InputError(
                f"answers is {self.answers!r} with voting {self.voting!r}",
                "Every query is answered; give queries, or use confident.",
            )
        if not (isinstance(self.components, int) and self.components >= 1):
            raise InputError(f"components is {self.components!r}", "Give at least 1.")
        if not 0 < self.threshold <= 1:
            raise InputError(f"threshold is {self.threshold!r}", "Give a number in (0, 1].")
        if self.teacher is not None and self.teacher.classes != self.classes:
            raise InputError(
                f"teachers know {self.teacher.classes} classes of {self.classes}",
                "Give both the same number.",
            )
        self.election(1.0)

    def election(self, noise: float) -> Voting:
        """The voting with this much noise on a count."""
        if self.voting == "lnmax":
            return LnMax(noise, self.queries)
        if self.voting == "gnmax":
            return GnMax(noise, self.queries)
        answers = max(1, self.queries // 2) if self.answers is None else self.answers
        threshold = self.threshold * self.teachers
        return ConfidentGnMax(noise, self.test_ratio * noise, threshold, self.queries, answers)

    def calibrate(
        self, budget: Budget, *, neighbours: Neighbours = Neighbours.ADD_REMOVE
    ) -> CalibratedPate:
        """The least noise with which all queries together meet the budget.

        Args:
            budget: Its delta is above 0 but for Laplace noise.
            neighbours: The relation of the budget; the number of records is used nowhere, so
                under add-remove it stays hidden.

        Raises:
            InputError: If no noise meets the budget.
        """
        from sfumato.privacy import calibration

        noise = calibration.calibrate(
            lambda noise: self.election(noise).event(neighbours), budget, neighbours, _BRACKET
        )
        return CalibratedPate(self, self.election(noise), noise, budget.delta, neighbours)


def affordable_queries(budget: Budget, teachers: int, voting: str) -> int:
    """How many queries leave noise of a third of the teachers on a count (Laplace: a quarter).

    Answers are then right more often than not where teachers agree, and many: that many weak
    answers, spread over the pool, say more than few sure ones.

    Args:
        budget: Of all queries.
        teachers: How many there are.
        voting: See :class:`Pate`.
    """
    from sfumato.privacy import calibration

    if voting == "lnmax":
        return int(teachers * budget.epsilon / 8)
    mu = calibration.analytic_gaussian_mu(budget)
    return int((mu * teachers / 3) ** 2 / 2)


@dataclass(frozen=True)
class CalibratedPate:
    """A :class:`Pate` whose cost is known; made by its ``calibrate``.

    Args:
        method: Public choices.
        voting: The election.
        noise: Scale or standard deviation of the noise on a count.
        delta: Where epsilon is read off.
        neighbours: The relation that is accounted.
    """

    method: Pate
    voting: Voting
    noise: float
    delta: float
    neighbours: Neighbours

    @property
    def event(self) -> DpEvent:
        """What all queries draw from the private records, at most."""
        return self.voting.event(self.neighbours)

    def guarantee(self) -> Central:
        """What asking proves."""
        from sfumato.privacy.guarantee import Central

        return Central(self.event, self.delta, "record", self.neighbours)

    def ask(
        self,
        features: Features,
        labels: Tensor,
        pool: Tensor,
        *,
        source: NoiseSource | None = None,
        progress: Callable[[int, int, str], None] | None = None,
    ) -> Answers:
        """Puts public records to the vote. Every call spends the budget once more.

        Args:
            features: Of private rows, on demand; see :data:`Features`.
            labels: (n,) int64 private labels.
            pool: (m, d) features of public records, computed as the private ones' are.
            source: Of the shards and the noise; anything but the default is for tests.
            progress: Told after each teacher.

        Returns:
            Noisy counts; ``queries`` are rows of ``pool``.

        Guaranteed: a function of noisy votes, whose joint cost is ``event``, and of ``pool``.

        Raises:
            InputError: If there are fewer public records than queries, or a label is no class.
        """
        asked, votes = self.votes(features, labels, pool, source=source, progress=progress)
        return self.answers(asked, votes, source=source)

    def votes(
        self,
        features: Features,
        labels: Tensor,
        pool: Tensor,
        *,
        source: NoiseSource | None = None,
        progress: Callable[[int, int, str], None] | None = None,
    ) -> tuple[NDArray[np.int64], Votes]:
        """What :meth:`ask` puts to the vote, and what the teachers say: private, and without noise.

        Returns:
            (queries,) rows of ``pool``, and their votes, for :meth:`answers` alone.

        Raises:
            InputError: See :meth:`ask`.
        """
        from sfumato.privacy.noise import SECURE

        method = self.method
        wrong = (labels < 0) | (labels >= method.classes)
        if bool(wrong.any()):
            raise InputError(
                f"a label is {int(labels[wrong][0])}",
                f"Labels are codes from 0 to {method.classes - 1}.",
            )
        asked = representatives(self.coordinates(pool), method.queries, method.seed)
        votes = votes_of(
            method.teacher or KernelRidge(method.classes),
            Shards(method.teachers).draw(len(labels), SECURE if source is None else source),
            features,
            labels,
            pool[asked],
            progress,
        )
        return asked, votes

    def answers(
        self, asked: NDArray[np.int64], votes: Votes, *, source: NoiseSource | None = None
    ) -> Answers:
        """The noisy answers to what was put to the vote. Every call spends the budget once more."""
        from sfumato.privacy.noise import SECURE

        found = self.voting.answer(votes, self.neighbours, SECURE if source is None else source)
        return Answers(asked[found.queries], found.counts, found.asked)

    def targets(self, pool: Tensor, answers: Answers) -> NDArray[np.float64]:
        """What the answers say of every public record, (m, classes), rows summing to 1.

        Post-processing: it costs nothing.
        """
        return self.method.spreading.spread(
            self.coordinates(pool), answers.queries, self.posterior(answers)
        )

    def teach(self, pool: Tensor, answers: Answers) -> Layer:
        """The student of :meth:`targets`. Post-processing, too."""
        return self.method.student.learn(
            pool, self.coordinates(pool), self.targets(pool, answers), self.method.spreading
        )

    def posterior(self, answers: Answers) -> NDArray[np.float64]:
        """How likely each class is, given its noisy count, (queries, classes).

        As if four of five teachers named the true class and none any other: the ratio of the
        noise's densities at both numbers of votes, class by class.
        """
        agreeing = _AGREEMENT * self.method.teachers
        if isinstance(self.voting, LnMax):
            odds = np.clip(2 * answers.counts - agreeing, -agreeing, agreeing) / self.noise
        else:
            odds = answers.counts * (agreeing / self.noise**2)
        powers = np.exp(odds - odds.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    def coordinates(self, pool: Tensor) -> Tensor:
        """(m, components) of the public features."""
        return reduced(pool, self.method.components, self.method.seed)[0]
