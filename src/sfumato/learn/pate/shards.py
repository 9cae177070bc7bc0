"""Which teacher sees which record: drawn for every record by itself, whatever it holds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InputError
from sfumato.privacy.noise import NoiseSource


@dataclass(frozen=True)
class Shards:
    """Disjoint parts of the records.

    Every record draws its teacher uniformly and independently of its value, of its place and of
    all other records. So two data sets that differ in one record can be dealt out alike but for
    that record, which goes to one teacher: under add-remove and replace-one alike a record
    touches one vote. Dealing a shuffled list out in equal parts would not do: with one record
    less, every later one would move to another teacher.

    Args:
        teachers: How many parts there are; one may be empty.

    Raises:
        InputError: If there are fewer than 2.
    """

    teachers: int

    def __post_init__(self) -> None:
        if not (isinstance(self.teachers, int) and self.teachers >= 2):
            raise InputError(f"the number of teachers is {self.teachers!r}", "Give at least 2.")

    def draw(self, rows: int, source: NoiseSource) -> list[NDArray[np.int64]]:
        """The rows of each teacher, ascending; every row is in exactly one part.

        Args:
            rows: How many records there are.
            source: Where the bits come from.
        """
        owner = source.integers(self.teachers, rows)
        order = np.argsort(owner, kind="stable")
        ends = np.cumsum(np.bincount(owner, minlength=self.teachers))[:-1]
        return [np.asarray(part, np.int64) for part in np.split(order, ends)]
