"""``generators.gpate``: a generator taught by the vote of private critics on its gradients.

What is guaranteed, and by what:

- A record is in exactly one teacher's shard, whatever the other records are, and speaks of the
  generated images of its own class only. So in a round one record moves the votes of one teacher on
  ``batch`` images, or one stack of gradients.
- All tests and all answers of all rounds are paid for, by the plain Gaussian bound. The published
  accountant's figure depends on the votes, and is private itself.

Teachers are the best critics that a handful of records allow, solved for instead of trained
(:mod:`sfumato.learn.pate.critics`): thousands fit in memory, and none has a state through which
rounds depend on each other past the released answers.

Source: Long et al., NeurIPS 2021 (arXiv 1906.09338); generative.md 3.9.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from sfumato.publish import checks, room
from sfumato.publish.generators.rounds import RELATION
from sfumato.publish.generators.voted import Voted
from sfumato.registry import method

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from sfumato.data import ImageSchema
    from sfumato.learn.frequencies import LowFrequencies
    from sfumato.learn.pate.ballots import BinnedVotes
    from sfumato.learn.stacks import StackSum
    from sfumato.privacy.noise import NoiseSource
    from sfumato.publish.room import Part

AGGREGATIONS = ("votes", "sums")


@method("generators.gpate")
@dataclass(frozen=True)
class GPate(Voted):
    """A generator of labelled images, taught by a vote of private critics on its gradients.

    Args:
        aggregate: ``"votes"`` (each projected coordinate is an election among bins) or ``"sums"``
            (each teacher's stack of gradients is clipped as a whole, and they are added up).
        projection: Coordinates of an image that are voted on in a round: so many random directions
            among the low frequencies, drawn anew in every round.
        reach: Gradients' coordinates are cut to this range, and stacks to the norm of one all of
            whose coordinates have this size, for images with pixels in [0, 1].
        bins: Equal parts of the range; of votes alone, as are the next two.
        threshold: The part of the teachers that must choose one bin, else a coordinate stays where
            it is; 0 answers all, and tests and pays for none.
        test_ratio: Noise of the test over that of an answer.

    The other settings are :class:`Voted`'s.

    Guaranteed: ``Central``, (epsilon, delta) for adding or removing one record.
    """

    aggregate: str = "votes"
    projection: int = 36
    reach: float = 1.0
    bins: int = 10
    threshold: float = 0.0
    test_ratio: float = 3.0

    source: ClassVar[str] = "Long et al., G-PATE, NeurIPS 2021 (arXiv 1906.09338)"
    chosen_on: ClassVar[tuple[str, ...]] = ("MNIST",)
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.one_of("aggregate", self.aggregate, AGGREGATIONS)
        checks.whole("projection", self.projection, 1)
        checks.whole("bins", self.bins, 2)
        checks.number("threshold", self.threshold, 0, 1)
        for name in ("reach", "test_ratio"):
            checks.number(name, getattr(self, name), 0, closed=False)
        if self.aggregate == "sums":
            voting = ("bins", "threshold", "test_ratio")
            checks.idle(self, voting, "gradients are added up (aggregate is 'sums')")
        elif not self.threshold:
            checks.idle(self, ("test_ratio",), "nothing is tested (threshold is 0)")

    def aggregation(self, stddev: float, basis: LowFrequencies) -> BinnedVotes | StackSum:
        """Votes, or sums of stacks."""
        from sfumato.learn.pate.ballots import BinnedVotes
        from sfumato.learn.stacks import StackSum

        asked = self.batch * min(self.projection, basis.width)
        if self.aggregate == "sums":
            return StackSum(self.reach * math.sqrt(asked), stddev)
        threshold = self.threshold * self.teachers
        return BinnedVotes(asked, self.reach, self.bins, threshold, self.test_ratio, stddev)

    def certain(self, facts: ImageSchema) -> Iterator[Part]:
        """The votes of a round on a class."""
        if self.aggregate == "votes":
            asked = self.batch * min(self.projection, self.basis(facts).width)
            yield room.Part("the votes of a round", ("batch", "bins"), asked * self.bins * 8)

    def answer(
        self,
        aggregation: Any,
        pulls: Tensor,
        present: Tensor,
        coins: torch.Generator,
        source: NoiseSource,
    ) -> Tensor:
        """Puts random projections to the vote, and turns what won back."""
        import torch

        width = pulls.shape[2]
        drawn = torch.randn(width, min(self.projection, width), generator=coins)
        turned = torch.linalg.qr(drawn)[0]  # (d, k), orthonormal columns
        projected = pulls @ turned
        if self.aggregate == "sums":
            won = aggregation.release(projected, RELATION, source) / self.teachers
        else:
            won = aggregation.release(projected, present, RELATION, source)
        turned_back: Tensor = won.float() @ turned.T
        return turned_back
