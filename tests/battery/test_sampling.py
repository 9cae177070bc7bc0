"""Sampler and accountant agree. See ``checks/sampling.py``."""

from __future__ import annotations

import pytest

from battery.cases import cases
from battery.checks import sampling
from battery.row import MethodRow, Row


@cases(sampling.check_sampler)
def test_records_are_sampled_as_they_are_accounted(row: Row) -> None:
    sampling.check_sampler(row)


@pytest.mark.slow
@cases(sampling.check_sampler)
def test_many_samples_are_drawn_as_they_are_accounted(row: MethodRow) -> None:
    sampling.sampled(row, 600)


@cases(sampling.check_expected_divisor)
def test_sums_are_divided_by_the_expected_size(row: Row) -> None:
    sampling.check_expected_divisor(row)
