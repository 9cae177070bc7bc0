"""TopAgg: gradients as their k largest coordinates' signs, added up under noise.

A teacher keeps the ``kept`` coordinates of a gradient that are largest, and says of each +1 or -1:
+1 with probability ``1/2 + u / (2 bound)``, cut to [0, 1], so that small numbers speak softly. The
sum over teachers gets Gaussian noise on every coordinate. What is done with the noisy sum, such as
asking that it exceed a share of the teachers, costs nothing more.

A teacher's answer on one image has norm ``sqrt(kept)``, and on all B images of a round that one
record may speak on, ``sqrt(B kept)``. One record turns one answer into another, at most twice as
far away.

Source: Wang et al., CCS 2021 (DataLens). Its code calls a bound for an argmax, that depends on the
votes, on sums that are no argmax; here the plain Gaussian is charged, for the whole stack.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sfumato.learn.stacks import apart, check, gaussian
from sfumato.privacy.neighbours import Neighbours

if TYPE_CHECKING:
    from dp_accounting import DpEvent

    from sfumato.privacy.noise import NoiseSource


@dataclass(frozen=True)
class TopAgg:
    """Compression, and the noisy sum of what is left.

    Args:
        images: B: images in a round that one record may speak on.
        kept: Coordinates of each that a teacher speaks on.
        bound: Numbers beyond it always keep their sign.
        stddev: Of the noise on every coordinate of the sum.
    """

    images: int
    kept: int
    bound: float
    stddev: float

    def __post_init__(self) -> None:
        for name in ("images", "kept", "bound", "stddev"):
            check(f"{name} of TopAgg", getattr(self, name))

    def sensitivity(self, neighbours: Neighbours) -> float:
        """The L2 distance of two rounds' sums."""
        return apart(2 * math.sqrt(self.images * self.kept), neighbours)

    def event(self, neighbours: Neighbours, rounds: int = 1) -> DpEvent:
        """What ``rounds`` rounds draw."""
        from sfumato.privacy import events

        noise = gaussian(self.stddev, self.sensitivity(neighbours), neighbours)
        return events.repeat(noise.event, rounds)

    def compressed(self, pulls: Tensor, present: Tensor, coins: torch.Generator) -> Tensor:
        """(teachers, b, d) int8: -1, 0 or 1, ``kept`` of each row not 0; private.

        Args:
            pulls: (teachers, b, d) numbers.
            present: (teachers,) bool: who speaks at all.
            coins: Of the signs. How many are tossed, and for whom, is public.
        """
        pulls = torch.nan_to_num(pulls, 0.0)
        kept = min(self.kept, pulls.shape[-1])
        largest = pulls.abs().topk(kept, dim=-1).indices
        chosen = pulls.gather(-1, largest)
        tossed = torch.rand(chosen.shape, generator=coins)
        signs = torch.where(tossed < 0.5 + chosen / (2 * self.bound), 1, -1).to(torch.int8)
        signs = signs * present[:, None, None]
        return torch.zeros(pulls.shape, dtype=torch.int8).scatter_(-1, largest, signs)

    def release(
        self,
        pulls: Tensor,
        present: Tensor,
        coins: torch.Generator,
        neighbours: Neighbours,
        source: NoiseSource,
    ) -> Tensor:
        """(b, d) float64: the noisy sum of what teachers say."""
        sums = self.compressed(pulls, present, coins).sum(dim=0, dtype=torch.int64).numpy()
        noise = gaussian(self.stddev, self.sensitivity(neighbours), neighbours)
        return torch.from_numpy(noise.release(sums, source))
