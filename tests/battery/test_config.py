"""Settings are honoured or refused. See ``checks/config.py``."""

from __future__ import annotations

from typing import Any

import pytest

from battery.cases import cases
from battery.checks import config
from battery.row import Row
from battery.table import METHODS
from sfumato.errors import InputError


@cases(config.check_unknown_keys)
def test_an_unknown_setting_raises(row: Row) -> None:
    config.check_unknown_keys(row)


@cases(config.check_nonsense_refused)
def test_an_impossible_value_raises(row: Row) -> None:
    config.check_nonsense_refused(row)


@cases(config.check_every_setting_matters)
def test_every_setting_changes_something_or_is_refused(row: Row) -> None:
    config.check_every_setting_matters(row)


IGNORED = [
    ("tables.adaptive: public", "model_share", 0.3),
    ("tables.adaptive: public", "importance_share", 0.2),
    ("tables.independent: pure", "target_bins", 3),
]


@pytest.mark.parametrize(("name", "setting", "value"), IGNORED)
def test_a_setting_without_meaning_in_its_mode_is_refused(
    name: str, setting: str, value: Any
) -> None:
    row = next(row for row in METHODS if row.name == name)
    usual = config.fingerprint(row)
    try:
        changed = config.fingerprint(row, **{setting: value})
    except InputError:
        return
    assert changed != usual
