"""The sensitivity that is paid for is that of what is computed. See ``checks/counts.py``."""

from __future__ import annotations

from battery.cases import cases
from battery.checks import counts
from battery.row import Row


@cases(counts.check_realised_loss)
def test_no_neighbour_costs_more_than_epsilon_under_the_noise_drawn(row: Row) -> None:
    counts.check_realised_loss(row)
