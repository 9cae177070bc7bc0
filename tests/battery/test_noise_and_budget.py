"""A larger budget buys less noise and nothing else. See ``checks/noise_and_budget.py``."""

from __future__ import annotations

from battery.cases import cases
from battery.checks import noise_and_budget
from battery.row import Row


@cases(noise_and_budget.check_noise_falls)
def test_noise_falls_as_epsilon_grows(row: Row) -> None:
    noise_and_budget.check_noise_falls(row)


@cases(noise_and_budget.check_reach_is_fixed)
def test_the_clip_norm_is_no_function_of_epsilon(row: Row) -> None:
    noise_and_budget.check_reach_is_fixed(row)


@cases(noise_and_budget.check_bounds_are_fixed)
def test_what_is_measured_is_no_function_of_epsilon(row: Row) -> None:
    noise_and_budget.check_bounds_are_fixed(row)


@cases(noise_and_budget.check_loose_delta_refused)
def test_a_delta_that_allows_publishing_somebody_is_refused(row: Row) -> None:
    noise_and_budget.check_loose_delta_refused(row)
