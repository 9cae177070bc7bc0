"""Which records a step sees where a record must not come back too soon.

The rows are in ``groups`` by their number, ``row mod groups``; step ``t`` draws from group
``t mod groups`` alone. Two participations of a record are then a multiple of ``groups`` steps
apart, which is what correlated noise needs (:mod:`sfumato.learn.correlated`).

A record's group is its row number's, so the guarantee is for neighbours whose other records keep
theirs: one blanked out, or replaced, in its place. Taking a row *out* would move every later one to
another group, and with it every later step: there is no guarantee under add-remove, except with one
group, where there is nothing to keep.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InputError
from sfumato.learn.sampling import PoissonSampling
from sfumato.privacy.neighbours import Neighbours

if TYPE_CHECKING:
    from dp_accounting import DpEvent

    from sfumato.privacy.noise import NoiseSource


@dataclass(frozen=True)
class GroupedSampling:
    """Poisson samples of one group of the rows at a time, or whole groups in a fixed order.

    Args:
        records: The public number of records.
        groups: How many groups take turns; 1 is plain Poisson sampling.
        rate: Probability that a step sees a record of its group; 1 takes the groups whole: fixed
            batches in a fixed order, an epoch after the other, with no amplification.
    """

    records: int
    groups: int
    rate: float

    def __post_init__(self) -> None:
        PoissonSampling(self.records, self.rate)  # the same limits
        if not (isinstance(self.groups, int) and 1 <= self.groups <= self.records):
            raise InputError(
                f"the number of groups is {self.groups!r}",
                f"Give a whole number from 1 to the {self.records} records.",
            )

    @classmethod
    def of_batches(cls, records: int, expected_batch_size: float, groups: int) -> GroupedSampling:
        """The rate, within a group, that gives batches of this size on average.

        Raises:
            InputError: If a group has fewer records than a batch.
        """
        PoissonSampling.of_batches(records, expected_batch_size)
        rate = expected_batch_size * groups / records
        if rate > 1:
            raise InputError(
                f"batches of {expected_batch_size:g} do not fit into {groups} groups of "
                f"{records} records",
                f"Give at most {int(records // expected_batch_size)} groups.",
            )
        return cls(records, groups, rate)

    @property
    def expected_batch_size(self) -> float:
        """``rate * records / groups``: of a group of mean size."""
        return self.rate * self.records / self.groups

    def participations(self, steps: int) -> int:
        """How often a record can be seen in so many steps."""
        return -(-steps // self.groups)

    def event(self, noise_multiplier: float) -> DpEvent:
        """One participation, or the chance of one, under Gaussian noise."""
        return PoissonSampling(self.records, self.rate).event(noise_multiplier)

    def check(self, neighbours: Neighbours, rows: int | None = None) -> None:
        """Rows keep their numbers: no add-remove, but for one group."""
        if neighbours is Neighbours.ADD_REMOVE and self.groups > 1:
            raise InputError(
                "sampling from groups of rows has no guarantee under add-remove",
                "Account under zero-out, which costs the same, or replace-one; or use one group.",
            )
        PoissonSampling(self.records, self.rate).check(neighbours, rows)

    def draw(self, rows: int, source: NoiseSource, step: int = 0) -> NDArray[np.int64]:
        """A sample of the group of this step, ascending."""
        group = step % self.groups
        members = max(0, -(-(rows - group) // self.groups))
        drawn = PoissonSampling(self.records, self.rate).draw(members, source)
        return drawn * self.groups + group

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "kind": "grouped poisson" if self.rate < 1 else "groups in order",
            "records": self.records,
            "groups": self.groups,
            "rate": self.rate,
        }
