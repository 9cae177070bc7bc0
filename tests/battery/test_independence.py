"""Every coordinate, record, batch and run has noise of its own. See ``checks/independence.py``."""

from __future__ import annotations

from battery.cases import cases
from battery.checks import independence
from battery.row import Row


@cases(independence.check_coordinates_independent)
def test_coordinates_and_records_have_noise_of_their_own(row: Row) -> None:
    independence.check_coordinates_independent(row)


@cases(independence.check_batches_independent)
def test_batches_have_noise_of_their_own(row: Row) -> None:
    independence.check_batches_independent(row)


@cases(independence.check_runs_independent)
def test_runs_have_noise_of_their_own(row: Row) -> None:
    independence.check_runs_independent(row)
