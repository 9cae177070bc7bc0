"""The settings that all attacks share, and what an attack must answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from sfumato.attack.evidence import MINIMUM
from sfumato.errors import InputError

if TYPE_CHECKING:
    from sfumato.attack.evidence import Evidence
    from sfumato.attack.finding import Finding
    from sfumato.release.release import Release


class Attack(Protocol):
    """A frozen dataclass of settings, registered under ``name``."""

    name: ClassVar[str]
    kinds: ClassVar[tuple[str, ...]]
    source: ClassVar[str]

    def __call__(self, release: Release, evidence: Evidence, *, seed: int = 0) -> Finding:
        """What the attack gets out of the release; the same seed gives the same finding."""
        ...


@dataclass(frozen=True)
class Settings:
    """How thorough an attack is.

    Args:
        max_targets: Members, and as many non-members, that are attacked, drawn by the seed.
        max_released: Released records that the attacker reads, drawn by the seed.
        confidence: Of the finding's interval.

    Raises:
        InputError: If a setting is out of range.
    """

    max_targets: int = 1000
    max_released: int = 200_000
    confidence: float = 0.95

    def __post_init__(self) -> None:
        whole(self.max_targets, "max_targets", MINIMUM)
        whole(self.max_released, "max_released", 1)
        check_confidence(self.confidence)


def check_confidence(value: Any) -> None:
    """Refuses what is no confidence.

    Raises:
        InputError: If it is no number in [0.5, 1).
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0.5 <= value < 1:
        raise InputError(f"confidence is {value!r}", "Give a number in [0.5, 1).")


def whole(value: object, name: str, least: int) -> None:
    """Refuses a setting that is no whole number of at least ``least``.

    Raises:
        InputError: If it is not.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InputError(f"{name} is {value!r}", f"Give a whole number from {least}.")


def one_of(value: object, name: str, known: Sequence[str]) -> None:
    """Refuses a setting that is none of the known words.

    Raises:
        InputError: If it is not.
    """
    if value not in known:
        raise InputError(f"{name} is {value!r}", f"Known: {', '.join(known)}.")


def flag(value: object, name: str) -> None:
    """Refuses a setting that is neither true nor false: a word such as ``"none"`` means neither.

    Raises:
        InputError: If it is not.
    """
    if not isinstance(value, bool):
        raise InputError(f"{name} is {value!r}", "Give true or false.")


def number(
    value: object, name: str, low: float, high: float = math.inf, *, above: bool = False
) -> None:
    """Refuses a setting that is no finite number from ``low`` (or above it) to ``high``.

    Raises:
        InputError: If it is not.
    """
    right = False
    if isinstance(value, int | float) and not isinstance(value, bool):
        inside = math.isfinite(value) and low <= value <= high
        right = inside and not (above and value == low)
    if not right:
        start = f"above {low:g}" if above else f"from {low:g}"
        end = "" if high == math.inf else f" to {high:g}"
        raise InputError(f"{name} is {value!r}", f"Give a number {start}{end}.")


def several(value: object, name: str, what: str) -> tuple[Any, ...]:
    """The items of a list; a single word or number is none.

    Raises:
        InputError: If it is no list.
    """
    if not isinstance(value, list | tuple):
        raise InputError(f"{name} is {value!r}", f"Give a list of {what}.")
    return tuple(value)


def names(value: object, name: str) -> tuple[str, ...]:
    """The words of a list of them.

    Raises:
        InputError: If it is no list of words.
    """
    found = several(value, name, "column names")
    for one in found:
        if not isinstance(one, str):
            raise InputError(f"{name} names {one!r}", "Give column names, in quotes where need be.")
    return found
