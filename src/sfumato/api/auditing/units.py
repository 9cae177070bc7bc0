"""What two neighbouring records may differ in: a game that changes more refutes true claims."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.api.auditing.record import worst_case
from sfumato.attack.ceilings import LABEL_NOISE, UNITS
from sfumato.errors import InputError
from sfumato.privacy.neighbours import Neighbours

if TYPE_CHECKING:
    from sfumato.data.facts import Fact
    from sfumato.privacy.guarantee import Guarantee

_PICTURE = re.compile(
    r"(?P<labelled>labelled )?(?:(?:whole )?image|(?P<pixels>[1-9]\d*)-pixel part)"
)


@dataclass(frozen=True)
class Unit:
    """What of one record a guarantee covers.

    Args:
        pixels: So many pixels of an image at most; None: all of a record.
        labels: Whether an image's label, too; else it is public.
        copied: Columns that are published as they are.
    """

    pixels: int | None = None
    labels: bool = True
    copied: tuple[str, ...] = ()

    @classmethod
    def of(cls, guarantee: Guarantee, plan: Mapping[str, Any], public: Iterable[Fact] = ()) -> Unit:
        """The unit of a guarantee.

        Args:
            guarantee: What is claimed.
            plan: Of the run; it names the noise of the labels, where they have some.
            public: What is published beside.

        Raises:
            InputError: If no game is known for it, or nothing is claimed.
        """
        proven = worst_case(guarantee)
        copied = tuple(n for fact in public if fact.name == "passed through" for n in fact.value)
        picture = _PICTURE.fullmatch(proven.unit)
        if picture is None:
            if proven.unit.lower() not in UNITS:
                raise InputError(
                    f"the guarantee is of one {proven.unit}, and no game is known for that",
                    "Audit a claim whose unit is the record.",
                )
            return cls(copied=copied)
        if proven.neighbours is not Neighbours.REPLACE_ONE:
            if picture["pixels"] is None:  # whoever comes or goes does so with the label
                return cls(copied=copied)
            raise InputError(
                f"a {proven.unit} cannot come or go", "State the claim under replace-one."
            )
        labels = picture["labelled"] is not None or LABEL_NOISE in plan
        return cls(None if picture["pixels"] is None else int(picture["pixels"]), labels, copied)

    def apart(self, shape: tuple[int, int, int]) -> NDArray[np.bool_]:
        """(c, h, w) the pixels that two values differ in: as near to one corner as they fit."""
        _, height, width = shape
        away = np.maximum(np.arange(height)[:, None], np.arange(width))
        chosen = np.zeros(height * width, np.bool_)
        chosen[np.argsort(away.ravel(), kind="stable")[: self.pixels]] = True
        return np.broadcast_to(chosen.reshape(height, width), shape)

    def __str__(self) -> str:
        """What neighbours differ in, where it is not all of a record; else nothing."""
        if self.copied:
            return f"; neighbours differ in all but {', '.join(self.copied)}"
        if self.pixels is None and self.labels:
            return ""
        label = "" if self.labels else ", not in its label"
        return f"; neighbours differ in {self.pixels or 'all'} pixels of an image{label}"
