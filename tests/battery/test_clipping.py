"""Clipping is per record. See ``checks/clipping.py``."""

from __future__ import annotations

from battery.cases import cases
from battery.checks import clipping
from battery.row import Row


@cases(clipping.check_other_records_unmoved)
def test_one_record_at_its_extreme_changes_no_other_report(row: Row) -> None:
    clipping.check_other_records_unmoved(row)


@cases(clipping.check_norms)
def test_no_record_contributes_more_than_the_clip_norm(row: Row) -> None:
    clipping.check_norms(row)


@cases(clipping.check_batch_size)
def test_the_size_of_batches_does_not_matter(row: Row) -> None:
    clipping.check_batch_size(row)
