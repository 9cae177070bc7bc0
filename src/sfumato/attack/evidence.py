"""What an attack is given beside the release: whose records went in, and whose did not."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.attack import persons
from sfumato.errors import InputError
from sfumato.measure.features import size

if TYPE_CHECKING:
    from sfumato.data.imageset import ImageSet
    from sfumato.data.table import Table

MINIMUM = 20
"""Fewer members or non-members than this give intervals that say nothing."""


@dataclass(frozen=True)
class Evidence:
    """The private side of an attack's game.

    Members and non-members must come from the same source: a split made at random, not by date
    or place. A difference between the two is read as leakage by every attack; the baselines
    without access to the release are there to expose it.

    Where the records say whose they are (a table's unit, an image set's identity), nobody may be on
    both sides, and persons are what is counted. Attacks look at one record of each, except where
    several tell more: ``reidentification.siamese`` compares two pictures of a person,
    ``inversion.learned`` rebuilds all that are paired with released ones, and
    ``memorisation.nearest`` looks for all of them.

    Args:
        members: Records the release was made from.
        non_members: Records of the same population that it was not made from.
        auxiliary: More non-members that the attacker holds, to calibrate scores with; disjoint
            from the other two.
        by_coins: Whether a secret coin for each record, or each person, said on which side it is,
            and both sides were treated alike since. Then nobody without the release is right more
            than half the time about who is a member, whatever is known of the records: attacks take
            his figure for exactly that of chance, and ask for no margin over it.

    Raises:
        InputError: If the kinds differ, a person is on both sides, or a part holds records of fewer
            than 20 persons.
    """

    members: Table | ImageSet
    non_members: Table | ImageSet
    auxiliary: Table | ImageSet | None = None
    by_coins: bool = False

    def __post_init__(self) -> None:
        parts = {"members": self.members, "non-members": self.non_members}
        if self.auxiliary is not None:
            parts["auxiliary records"] = self.auxiliary
        for name, part in parts.items():
            if part.kind != self.members.kind:
                raise InputError(
                    f"members are {self.members.kind}, {name} are {part.kind}",
                    "Give data of one kind.",
                )
        self._check_persons()
        for name, part in parts.items():
            if persons.count(part) < MINIMUM:
                raise InputError(
                    f"{told(name, part)} are too few to attack with",
                    f"Give at least {MINIMUM}, each of another person.",
                )

    def _check_persons(self) -> None:
        """Where records belong to persons, nobody may be on both sides."""
        given = [self.members, self.non_members, self.auxiliary]
        parts: list[Any] = [part for part in given if part is not None]
        for i, one in enumerate(parts):
            for other in parts[i + 1 :]:
                both = one.shared_persons(other)
                if both:
                    where = getattr(one.schema, "unit", None)
                    named = "" if where is None else f" in {where!r}"
                    raise InputError(
                        f"{both} of the persons{named} are on both sides",
                        "Part the data by person, not by row.",
                    )

    @cached_property
    def together(self) -> NDArray[np.int64]:
        """(n,) a number for each non-member; those that share one are never parted.

        A person's records, where persons are known. Else equal ones, if more are equal than two
        parts of one source would have: an attacker who holds the copy of a record knows that it is
        of no member.
        """
        from sfumato.attack.overlap import items, repeated

        others = self.non_members
        known = others.whose() is not None or (others.kind == "table" and not others.ordered)
        if known or repeated(others, self.members) is None:
            return persons.of(others)
        return np.unique(items(others), return_inverse=True)[1].astype(np.int64)

    @property
    def kind(self) -> str:
        """``"table"`` or ``"images"``."""
        return str(self.members.kind)


def told(name: str, data: Table | ImageSet) -> str:
    """How many records there are, and of how many persons where that is another number."""
    people, records = persons.count(data), size(data)
    whom = "" if people == records else f" of {people} persons"
    return f"{records} {name}{whom}"
