"""What the maker of a target claims of it, so that attacks and audits can hold that against it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sfumato.errors import InputError
from sfumato.privacy.neighbours import Neighbours
from sfumato.release.card import figures_of

if TYPE_CHECKING:
    from sfumato.release.release import Release

_RELATIONS = (Neighbours.ADD_REMOVE, Neighbours.REPLACE_ONE)


@dataclass(frozen=True)
class MakersClaim:
    """``(epsilon, delta)``-DP, as whoever made a target states it; nothing here proves it.

    Args:
        epsilon: At least 0.
        delta: In [0, 1); 0 of a pure claim.
        neighbours: ``"add-remove"`` or ``"replace-one"``: what two data sets differ in.

    Raises:
        InputError: If one of them is missing or out of range.
    """

    epsilon: float
    delta: float
    neighbours: str

    def __post_init__(self) -> None:
        known = [relation.value for relation in _RELATIONS]
        for name, least, most in (("epsilon", "0 or more", math.inf), ("delta", "in [0, 1)", 1.0)):
            value = getattr(self, name)
            if value is None:
                raise InputError(
                    f"a claim has no {name}", f"Give {name}, as its maker states it ({least})."
                )
            if (
                isinstance(value, bool)
                or not isinstance(value, int | float)
                or not 0 <= value < most
            ):
                raise InputError(f"{name} of the claim is {value!r}", f"Give a number {least}.")
        if self.neighbours not in known:
            said = "missing" if self.neighbours is None else repr(self.neighbours)
            raise InputError(
                f"what neighbours of the claim differ in (neighbours) is {said}",
                f"Give {' or '.join(known)}, as its maker states it: figures under one say nothing "
                "of the other.",
            )

    @classmethod
    def of(
        cls, epsilon: float | None, delta: float | None, neighbours: str | None
    ) -> MakersClaim | None:
        """The claim that three arguments make; None where none of them was given.

        Raises:
            InputError: If one of them is missing or out of range.
        """
        given: Any = (epsilon, delta, neighbours)
        return None if given == (None, None, None) else cls(*given)


def claimed(release: Release, claim: MakersClaim) -> Release:
    """The same target, of which this is claimed: of one record, or of whoever a column names.

    Args:
        release: What others made.
        claim: Its maker's.
    """
    from sfumato.privacy.events import ApproximateDpEvent, PureDpEvent
    from sfumato.privacy.guarantee import Central

    own = [fact.value["column"] for fact in release.card.facts if fact.name == "unit"]
    relation = Neighbours(claim.neighbours)
    epsilon, delta = float(claim.epsilon), float(claim.delta)
    event = (
        ApproximateDpEvent(epsilon, delta, relation.value)
        if delta
        else PureDpEvent(epsilon, relation.value)
    )
    proven = Central(event, delta, unit=own[0] if own else "record", neighbours=relation)
    said = (
        "Claimed by whoever made it, and not proven here. "
        f"{proven.describe()} What speaks against it are the attacks that were run."
    )
    card = replace(
        release.card,
        guarantee=proven.to_dict(),
        figures={**figures_of(proven), "statement": said},
        noise={"source": "its maker's; not known here", "secure": False},
    )
    return replace(release, card=card)
