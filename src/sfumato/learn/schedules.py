"""Numbers that change from step to step, as public functions of the step alone.

What a schedule may not know is the data: a clip norm read off the norms of the private batch, or
noise that falls when the loss does, is outside of every proof. A clip norm that follows the
gradients and pays for it is :class:`sfumato.learn.adaptive.AdaptiveQuantile`.

Source: Wei and Liu, "Gradient Leakage Attack Resilient Deep Learning", IEEE TIFS 2022; the settings
are those of its published code.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from sfumato.errors import InputError


class Schedule(Protocol):
    """A positive number for each step."""

    def at(self, step: int, steps: int) -> float:
        """The value at a step.

        Args:
            step: Steps taken before, in ``0..steps - 1``.
            steps: How many there will be.
        """
        ...

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        ...


class _Checked:
    """Fields that are positive numbers, as JSON."""

    kind: ClassVar[str]

    def __post_init__(self) -> None:
        for name, value in self.to_dict().items():
            if name in ("stairs", "cycles"):
                if not (isinstance(value, int) and value >= 1):
                    raise InputError(
                        f"{name} of a schedule is {value!r}", "Give a whole number of at least 1."
                    )
            elif name != "kind" and not (isinstance(value, int | float) and 0 < value < math.inf):
                raise InputError(
                    f"{name} of a schedule is {value!r}", "Give a finite number above 0."
                )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]  # subclasses are dataclasses
        return {"kind": self.kind} | {field.name: getattr(self, field.name) for field in fields}


@dataclass(frozen=True)
class Constant(_Checked):
    """The same at every step."""

    kind: ClassVar[str] = "constant"
    value: float

    def at(self, step: int, steps: int) -> float:
        """``value``."""
        return self.value


@dataclass(frozen=True)
class Linear(_Checked):
    """On a straight line from ``first``, reaching ``last`` when all steps are taken.

    >>> Linear(15.0, 4.85).at(50, 100)
    9.925
    """

    kind: ClassVar[str] = "linear"
    first: float
    last: float

    def at(self, step: int, steps: int) -> float:
        """``first + (last - first) step / steps``."""
        return self.first + (self.last - self.first) * step / steps


@dataclass(frozen=True)
class Staircase(_Checked):
    """The straight line from ``first`` to ``last``, held for a ``stairs``-th of the steps each."""

    kind: ClassVar[str] = "staircase"
    first: float
    last: float
    stairs: int = 10

    def at(self, step: int, steps: int) -> float:
        """The line's value where the present stair began."""
        stair = step * self.stairs // steps
        return self.first + (self.last - self.first) * stair / self.stairs


@dataclass(frozen=True)
class Exponential(_Checked):
    """By the same factor at every step, from ``first`` towards ``last``."""

    kind: ClassVar[str] = "exponential"
    first: float
    last: float

    def at(self, step: int, steps: int) -> float:
        """``first (last / first)^(step / steps)``."""
        return self.first * math.pow(self.last / self.first, step / steps)


@dataclass(frozen=True)
class Cyclic(_Checked):
    """``first cos(x)``, with ``x`` running from 0 to where it is ``last``, ``cycles`` times over.

    The source has one cycle, ``15 cos(1.24 t / T)``.
    """

    kind: ClassVar[str] = "cyclic"
    first: float
    last: float
    cycles: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.last > self.first:
            raise InputError(
                f"a cyclic schedule goes from {self.first:g} to {self.last:g}",
                "Give a last value no larger than the first.",
            )

    def at(self, step: int, steps: int) -> float:
        """The cosine at this part of the cycle."""
        part = step * self.cycles % steps / steps
        return self.first * math.cos(math.acos(self.last / self.first) * part)


NOISE = {
    "linear": Linear(15.0, 4.85),
    "staircase": Staircase(15.0, 4.85, 10),
    "exponential": Exponential(math.exp(2.71), math.exp(1.58)),
    "cyclic": Cyclic(15.0, 15.0 * math.cos(1.24)),
}
"""The noise scales of the source: 15 falling to about 4.85."""


KINDS = ("constant", "linear", "staircase", "exponential", "cyclic")
"""The names that :func:`named` knows."""


def named(kind: str, first: float, last: float) -> Schedule:
    """The schedule of this name from ``first`` towards ``last``; a constant is ``first``.

    Raises:
        InputError: If the name is unknown.
    """
    if kind == "constant":
        return Constant(first)
    if kind not in KINDS:
        raise InputError(f"a schedule is {kind!r}", f"Use one of {', '.join(KINDS)}.")
    falling: dict[str, type[Linear | Staircase | Exponential | Cyclic]] = {
        "linear": Linear,
        "staircase": Staircase,
        "exponential": Exponential,
        "cyclic": Cyclic,
    }
    return falling[kind](first, last)
