"""``generators.datalens``: a generator taught by the compressed gradients of private critics.

Each teacher speaks on the few coordinates of a gradient that are largest, by their signs (TopAgg,
:mod:`sfumato.learn.pate.topagg`). The sum over teachers is noised; where it does not exceed a share
of the teachers, nobody is said to have spoken.

What is guaranteed, and by what: as for ``generators.gpate``, with the Gaussian on the whole stack
of a round. The published code deals classes round and round, so that a record of a rare class is in
two shards, and calls a bound for arg max on what is none.

Source: Wang et al., CCS 2021 (arXiv 2103.11109); generative.md 3.10.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from sfumato.publish import checks
from sfumato.publish.generators.rounds import RELATION
from sfumato.publish.generators.voted import Voted
from sfumato.registry import method

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from sfumato.learn.frequencies import LowFrequencies
    from sfumato.learn.pate.topagg import TopAgg
    from sfumato.privacy.noise import NoiseSource


@method("generators.datalens")
@dataclass(frozen=True)
class DataLens(Voted):
    """A generator of labelled images, taught by private critics' largest gradients' signs.

    Args:
        kept: Coordinates of an image's gradient that a teacher speaks on.
        bound: Coordinates that are larger keep their sign for sure; smaller ones get one at random,
            the more evenly the smaller they are.
        threshold: The part of the teachers that a noisy sum must exceed to count.
        follow: ``"sums"``, or, as published, only the ``"signs"`` of what exceeds the threshold.

    The other settings are :class:`Voted`'s.

    Guaranteed: ``Central``, (epsilon, delta) for adding or removing one record.
    """

    kept: int = 24
    bound: float = 1.0
    threshold: float = 0.0
    follow: str = "sums"

    source: ClassVar[str] = "Wang et al., DataLens, CCS 2021 (arXiv 2103.11109)"
    chosen_on: ClassVar[tuple[str, ...]] = ("MNIST", "Fashion-MNIST")
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.whole("kept", self.kept, 1)
        checks.number("bound", self.bound, 0, closed=False)
        checks.number("threshold", self.threshold, 0, 1)
        checks.one_of("follow", self.follow, ("sums", "signs"))

    def aggregation(self, stddev: float, basis: LowFrequencies) -> TopAgg:
        """TopAgg on the images of one class in a round."""
        from sfumato.learn.pate.topagg import TopAgg

        return TopAgg(self.batch, min(self.kept, basis.width), self.bound, stddev)

    def answer(
        self,
        aggregation: Any,
        pulls: Tensor,
        present: Tensor,
        coins: torch.Generator,
        source: NoiseSource,
    ) -> Tensor:
        """The noisy sum as a share of the teachers, or its sign, in units of ``bound``."""
        sums = aggregation.release(pulls, present, coins, RELATION, source) / self.teachers
        said = sums.sign() if self.follow == "signs" else sums
        heard = said.where(sums.abs() > self.threshold, sums.new_zeros(()))
        way: Tensor = self.bound * heard.float()
        return way
