"""The battery's own test: every planted defect is caught, and every check catches one."""

from __future__ import annotations

import pytest

import battery.checks  # noqa: F401  (fills CHECKS)
from battery.check import CHECKS
from battery.planted import PLANTED, Planted

CASES = [
    pytest.param(
        *(planted, name),
        id=f"{planted.name}: {name}",
        marks=[pytest.mark.slow] if planted.slow else [],
    )
    for planted in PLANTED
    for name in planted.caught_by
]


@pytest.mark.parametrize(("planted", "name"), CASES)
def test_a_planted_defect_is_caught_by(planted: Planted, name: str) -> None:
    check = CHECKS[name]
    assert check.applies(planted.row)
    # What an honest check calibrated before is not what the defect calibrates.
    forget = getattr(planted.row.make, "cache_clear", lambda: None)
    forget()
    try:
        # An error of another kind would be one of the test, not a finding.
        with planted.patched(), pytest.raises((AssertionError, pytest.fail.Exception)):
            check(planted.row)
    finally:
        forget()


def test_every_check_catches_a_planted_defect() -> None:
    catching = {name for planted in PLANTED for name in planted.caught_by}
    assert catching == set(CHECKS)


def test_every_defect_is_planted_in_a_row_of_the_table() -> None:
    from battery.table import ROWS

    # The honest row passes the same checks in the other files: only the defect makes them fail.
    names = {row.name for row in ROWS}
    assert all(planted.row.name in names for planted in PLANTED)
    assert len({planted.name for planted in PLANTED}) == len(PLANTED)
