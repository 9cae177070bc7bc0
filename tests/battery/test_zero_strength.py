"""Next to no noise is next to the truth. See ``checks/zero_strength.py``."""

from __future__ import annotations

from battery.cases import cases
from battery.checks import zero_strength
from battery.row import Row


@cases(zero_strength.check_identity)
def test_a_huge_epsilon_gives_the_truth(row: Row) -> None:
    zero_strength.check_identity(row)
