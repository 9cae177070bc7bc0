"""A planted defect: an honest row with one thing wrong, and the checks that must see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

from battery.defects import house
from battery.row import Row
from battery.table import ROWS
from sfumato.privacy.budget import Budget

HONEST: Mapping[str, Row] = {row.name: row for row in ROWS}
LARGE = Budget(60.0, 1e-6)


@dataclass(frozen=True)
class Planted:
    """One defect.

    Args:
        name: What is wrong.
        seen_in: Where it was published, or could have been.
        row: The defective row.
        caught_by: Names of the checks that must fail on it.
        patched: What is wrong outside of the row while a check runs.
        slow: Whether it takes so long to catch that it is a slow test.
    """

    name: str
    seen_in: str
    row: Row
    caught_by: tuple[str, ...]
    patched: Callable[[], AbstractContextManager[Any]] = nullcontext
    slow: bool = False

    def __str__(self) -> str:
        return self.name


def spoilt(base: str | Row, change: Callable[[Any], Any]) -> Any:
    """An honest row whose calibrated subject is changed after the fact."""
    row = HONEST[base] if isinstance(base, str) else base
    return replace(row, make=lambda *given, **named: change(row.make(*given, **named)))


def with_runs(base: str, runs: int) -> Any:
    """An honest row that is audited from outside at more length."""
    row = house.method(base)
    assert row.public_audit is not None
    return replace(row, public_audit=replace(row.public_audit, runs=runs))
