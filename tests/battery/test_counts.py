"""The sensitivity that is paid for is that of what is computed. See ``checks/counts.py``."""

from __future__ import annotations

import pytest

from battery.cases import cases
from battery.checks import counts
from battery.row import MethodRow, Row


@cases(counts.check_realised_loss)
def test_no_neighbour_costs_more_than_epsilon_under_the_noise_drawn(row: Row) -> None:
    counts.check_realised_loss(row)


@pytest.mark.slow
@cases(counts.check_realised_loss)
def test_none_of_many_neighbours_costs_more_than_epsilon(row: MethodRow) -> None:
    counts.dearest(row, 60)
