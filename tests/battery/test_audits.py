"""Audits of every row. See ``checks/audits.py``."""

from __future__ import annotations

import pytest

from battery.cases import cases
from battery.checks import audits
from battery.row import MethodRow, Row
from battery.table import ROWS


@cases(audits.check_two_point)
def test_two_extremes_are_no_easier_to_tell_apart_than_claimed(row: Row) -> None:
    audits.check_two_point(row)


@cases(audits.check_secure_draws)
def test_the_operating_systems_bits_make_the_same_noise(row: Row) -> None:
    audits.check_secure_draws(row)


@cases(audits.check_one_run)
def test_canaries_in_one_run_are_guessed_no_better_than_claimed(row: Row) -> None:
    audits.check_one_run(row)


@cases(audits.check_public_audit)
def test_audited_from_outside_no_more_is_found_than_claimed(row: MethodRow) -> None:
    audits.check_public_audit(row)


@pytest.mark.slow
@pytest.mark.parametrize("row", [r for r in ROWS if r.slow_runs], ids=str)
def test_many_runs_are_no_easier_to_tell_apart_than_claimed(row: Row) -> None:
    audits.audited(row, row.slow_runs)
