"""What a check is: a function of a row that raises AssertionError, and the rows it speaks of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from battery.row import MethodRow, Row


@dataclass(frozen=True)
class Check:
    """One property.

    Args:
        call: Raises AssertionError for a row that does not have it.
        applies: Whether it has a meaning for a row.
    """

    call: Callable[[Any], Any]
    applies: Callable[[Row], bool]

    @property
    def name(self) -> str:
        """The function's name."""
        return self.call.__name__

    def __call__(self, row: Row) -> Any:
        return self.call(row)

    def __str__(self) -> str:
        return self.name


CHECKS: dict[str, Check] = {}
"""All checks by name, once ``battery.checks`` is imported."""


def check(*hooks: str, methods: bool | None = None) -> Callable[[Callable[[Any], Any]], Check]:
    """Makes a check of a function.

    Args:
        hooks: Fields that a row must have filled in.
        methods: Whether it is for methods alone, or (False) for mechanisms alone.
    """

    def applies(row: Row) -> bool:
        if methods is not None and methods != isinstance(row, MethodRow):
            return False
        return all(getattr(row, hook, None) for hook in hooks)

    def register(call: Callable[[Any], Any]) -> Check:
        made = Check(call, applies)
        assert made.name not in CHECKS
        CHECKS[made.name] = made
        return made

    return register
