"""Private data reach a release through the noise alone. See ``checks/data_independence.py``."""

from __future__ import annotations

from battery.cases import cases
from battery.checks import data_independence
from battery.row import Row


@cases(data_independence.check_card_is_public)
def test_other_people_get_the_same_card(row: Row) -> None:
    data_independence.check_card_is_public(row)


@cases(data_independence.check_only_draws_leak)
def test_with_equal_draws_other_people_get_the_same_release(row: Row) -> None:
    data_independence.check_only_draws_leak(row)
