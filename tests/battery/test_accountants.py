"""Accountants agree, and calibration meets its budget. See ``checks/accountants.py``."""

from __future__ import annotations

from battery.cases import cases
from battery.checks import accountants
from battery.row import Row


@cases(accountants.check_calibration)
def test_calibrated_noise_meets_the_budget(row: Row) -> None:
    accountants.check_calibration(row)


@cases(accountants.check_renyi_is_above)
def test_renyi_accounting_gives_no_less(row: Row) -> None:
    accountants.check_renyi_is_above(row)
