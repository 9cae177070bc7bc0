"""What an attack is given beside the release: whose records went in, and whose did not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

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

    Args:
        members: Records the release was made from.
        non_members: Records of the same population that it was not made from.
        auxiliary: More non-members that the attacker holds, to calibrate scores with; disjoint
            from the other two.

    Raises:
        InputError: If the kinds differ, or a part holds fewer than 20 records.
    """

    members: Table | ImageSet
    non_members: Table | ImageSet
    auxiliary: Table | ImageSet | None = None

    def __post_init__(self) -> None:
        self._check_persons()
        parts = {"members": self.members, "non-members": self.non_members}
        if self.auxiliary is not None:
            parts["auxiliary records"] = self.auxiliary
        for name, part in parts.items():
            if part.kind != self.members.kind:
                raise InputError(
                    f"members are {self.members.kind}, {name} are {part.kind}",
                    "Give data of one kind.",
                )
            if size(part) < MINIMUM:
                raise InputError(
                    f"{size(part)} {name} are too few to attack with",
                    f"Give at least {MINIMUM}.",
                )

    def _check_persons(self) -> None:
        """Where rows belong to persons, nobody may be on both sides."""
        from sfumato.data.table import Table

        parts = (self.members, self.non_members, self.auxiliary)
        tables = [part for part in parts if isinstance(part, Table)]
        for i, one in enumerate(tables):
            for other in tables[i + 1 :]:
                both = one.shared_persons(other)
                if both:
                    raise InputError(
                        f"{both} of the persons in {one.schema.unit!r} are on both sides",
                        "Part the data by person, not by row.",
                    )

    @property
    def kind(self) -> str:
        """``"table"`` or ``"images"``."""
        return str(self.members.kind)
