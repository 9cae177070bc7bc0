"""One trial of a private selection: a candidate's release, and the noisy comparison that judges it.

What a trial releases beside its candidate's own is the noisy sum of the values of either side, and
their noisy sizes where these are private. See :mod:`sfumato.publish.selection`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.privacy.guarantee import Central
from sfumato.privacy.mechanisms import Gaussian
from sfumato.privacy.neighbours import Neighbours

if TYPE_CHECKING:
    from dp_accounting import DpEvent

    from sfumato.privacy.noise import NoiseSource
    from sfumato.publish.method import Calibrated

_GRID = 2.0**-20  # values are rounded down to it, so that their sums are exact


@dataclass(frozen=True)
class Trial:
    """A trial of each candidate, ready.

    Args:
        made: The candidates, calibrated.
        multiplier: Of the comparison's noise, over what a record contributes.
        relation: Of all guarantees.
        delta: Of the whole.
    """

    made: tuple[Calibrated, ...]
    multiplier: float
    relation: Neighbours
    delta: float

    @property
    def counted(self) -> bool:
        """Whether the sizes of both sides are private.

        They are not where a record is replaced. There are as many records in both of two
        neighbours, and who is set aside is drawn from their number alone, so for each outcome of
        the draw the two differ in one place of one side, and the sides have the same sizes. What
        holds of any two neighbours for each outcome holds of the mixture over all of them, for the
        draw is the same for both: divergences are jointly convex.
        """
        return self.relation is not Neighbours.REPLACE_ONE

    @property
    def contribution(self) -> float:
        """Bound on the L2 norm of what a record adds to that which is released.

        A value in [0, 1] and a count of 1, both on its own side; or, without counts, a value less
        1/2, which is at most 1/2 away from 0, so that a replaced record moves the sum by 1.
        """
        return math.sqrt(2) if self.counted else 0.5

    @property
    def comparison(self) -> Gaussian:
        """The noise of what is released of both sides."""
        from sfumato.privacy.noise.gaussian import grid_step

        stddev = self.multiplier * self.contribution
        return Gaussian(stddev, self.contribution, min(grid_step(stddev), _GRID))

    def stddev(self, *sizes: float) -> float:
        """Of the difference, with sides of these sizes; for values of 1, which are the worst."""
        terms = math.sqrt(2) if self.counted else 1.0
        return self.comparison.stddev * terms * math.hypot(*(1 / size for size in sizes))

    def difference(self, sides: Sequence[NDArray[np.float64]], source: NoiseSource) -> float:
        """The noisy difference of the means of both sides' values; infinite if a side seems empty.

        Args:
            sides: Of each, (n,) values; whatever they are, a record adds what was accounted.
            source: Of the noise.
        """
        sums = []
        for values in sides:
            bounded = np.floor(np.clip(np.nan_to_num(values), 0.0, 1.0) / _GRID) * _GRID
            sums.append(float((bounded if self.counted else bounded - 0.5).sum()))
        sizes = [float(len(values)) for values in sides]
        if self.counted:
            *sums, first, second = self.comparison.release(np.array([*sums, *sizes]), source)
            sizes = [first, second]
        else:
            sums = list(self.comparison.release(np.array(sums), source))
        if min(sizes) <= 0:
            return math.inf
        return float(sums[0] / sizes[0] - sums[1] / sizes[1])

    def guarantee(self, trials: float) -> Central:
        """What the pick of so many trials proves."""
        from sfumato.privacy import events

        noise: DpEvent = self.comparison.event
        each: list[DpEvent] = []
        for one in self.made:
            guarantee: Any = one.guarantee
            trial = events.compose(guarantee.event, noise)
            if trial not in each:
                each.append(trial)
        event = events.SelectedDpEvent(each, trials)
        return Central(event, self.delta, "record", self.relation)

    def cost(self, trials: float) -> dict[str, float | None]:
        """Of all trials together, in epsilons of one: the dearest, with its comparison.

        Beside it what as many trials would cost as are expected, in a plain list, where the result
        of each may be told; None where that has no bound. All at one delta.
        """
        from sfumato.privacy import accounting, events

        whole: Any = self.guarantee(trials)
        each = whole.event.events
        one = max(accounting.epsilon(event, self.delta, self.relation) for event in each)
        listed = [events.repeat(event, math.ceil(trials)) for event in each]
        composed = max(accounting.epsilon(event, self.delta, self.relation) for event in listed)
        return {
            "times_a_trial": whole.epsilon() / one,
            "times_a_trial_in_a_list": composed / one if math.isfinite(composed) else None,
        }
