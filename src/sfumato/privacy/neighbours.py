"""Which pairs of data sets a guarantee cannot tell apart."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dp_accounting import NeighboringRelation


class Neighbours(StrEnum):
    """The neighbouring relation of a guarantee.

    Figures under different relations are never compared or added. For a sum of vectors of norm
    at most ``C`` the sensitivity is ``C`` under the first and last, ``2 C`` under the second.
    """

    ADD_REMOVE = "add-remove"
    REPLACE_ONE = "replace-one"
    ZERO_OUT = "zero-out"

    @property
    def relation(self) -> NeighboringRelation:
        """The same relation in the terms of ``dp_accounting``."""
        from dp_accounting import NeighboringRelation

        return {
            Neighbours.ADD_REMOVE: NeighboringRelation.ADD_OR_REMOVE_ONE,
            Neighbours.REPLACE_ONE: NeighboringRelation.REPLACE_ONE,
            Neighbours.ZERO_OUT: NeighboringRelation.REPLACE_SPECIAL,
        }[self]

    @property
    def phrase(self) -> str:
        """The relation in plain words, for a sentence such as "two tables that ..."."""
        return {
            Neighbours.ADD_REMOVE: "differ by one {unit} present or absent",
            Neighbours.REPLACE_ONE: "differ in the value of one {unit}",
            Neighbours.ZERO_OUT: "differ by one {unit} present or blanked out",
        }[self]
