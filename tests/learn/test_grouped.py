"""Turns of groups of rows. Statistical tests: false alarm <= 1e-6."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import binom

from sfumato.errors import InputError
from sfumato.learn.grouped import GroupedSampling
from sfumato.learn.sampling import PoissonSampling
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import SeededSource

ALARM = 1e-6


@pytest.mark.parametrize("rows", [0, 1, 7, 100])
def test_groups_in_order_are_every_row_once_an_epoch(rows: int) -> None:
    sampling = GroupedSampling(100, 7, 1.0)
    source = SeededSource(0)
    drawn = [sampling.draw(rows, source, step).tolist() for step in range(14)]
    assert drawn[:7] == drawn[7:]
    assert sorted(row for batch in drawn[:7] for row in batch) == list(range(rows))
    assert drawn[3] == [row for row in range(rows) if row % 7 == 3]


def test_a_record_is_seen_in_its_turn_alone_at_the_accounted_rate() -> None:
    sampling, rows, steps = GroupedSampling(300, 3, 0.3), 300, 600
    source = SeededSource(1)
    seen = np.zeros((steps, rows), bool)
    for step in range(steps):
        seen[step, sampling.draw(rows, source, step)] = True
    groups = np.arange(rows) % 3
    turns = np.arange(steps) % 3
    assert not seen[turns[:, None] != groups[None, :]].any()
    chances = steps * rows // 3
    low, high = binom.ppf(ALARM / 2, chances, 0.3), binom.isf(ALARM / 2, chances, 0.3)
    assert low <= seen.sum() <= high
    assert (seen.sum(axis=0) <= sampling.participations(steps)).all()
    # Two records of a group are drawn apart: within one turn, and from one turn to the next.
    mine = seen[turns == 0][:, groups == 0].astype(float) - 0.3
    together = (mine[:, 0::2] * mine[:, 1::2]).sum() / (0.21 * mine[:, 0::2].size ** 0.5)
    later = (mine[1:] * mine[:-1]).sum() / (0.21 * mine[1:].size ** 0.5)
    assert abs(together) < 5  # false alarm 6e-7
    assert abs(later) < 5


def test_one_group_is_plain_poisson_sampling() -> None:
    plain, grouped = PoissonSampling(50, 0.2), GroupedSampling(50, 1, 0.2)
    for step in range(5):
        a = plain.draw(50, SeededSource(step)).tolist()
        assert grouped.draw(50, SeededSource(step), step).tolist() == a
    assert grouped.event(2.0) == plain.event(2.0)
    assert grouped.expected_batch_size == plain.expected_batch_size
    grouped.check(Neighbours.ADD_REMOVE, 51)


def test_rows_must_keep_their_numbers() -> None:
    grouped = GroupedSampling(50, 2, 0.2)
    with pytest.raises(InputError, match="no guarantee under add-remove"):
        grouped.check(Neighbours.ADD_REMOVE)
    for neighbours in (Neighbours.ZERO_OUT, Neighbours.REPLACE_ONE):
        grouped.check(neighbours, 50)
        with pytest.raises(InputError, match="51 rows, but 50 records"):
            grouped.check(neighbours, 51)


def test_taking_a_row_out_moves_the_others_which_is_why_add_remove_is_refused() -> None:
    grouped, source = GroupedSampling(10, 2, 1.0), SeededSource(0)
    names = list("abcdefghij")
    before = [names[row] for row in grouped.draw(10, source, 0)]
    names.remove("a")
    after = [names[row] for row in grouped.draw(9, source, 0)]
    assert len(set(before) ^ set(after)) > 1  # not the one record alone


def test_batches_of_a_size_and_what_a_card_says() -> None:
    grouped = GroupedSampling.of_batches(1000, 50, 4)
    assert grouped.rate == 0.2
    assert grouped.expected_batch_size == pytest.approx(50)
    assert grouped.participations(9) == 3
    values = grouped.to_dict()
    assert json.loads(json.dumps(values)) == values
    with pytest.raises(InputError, match="do not fit into 21 groups"):
        GroupedSampling.of_batches(1000, 50, 21)


@pytest.mark.parametrize(("records", "groups", "rate"), [(0, 1, 0.5), (5, 0, 0.5), (5, 6, 0.5)])
def test_settings_that_make_no_sense_are_refused(records: int, groups: int, rate: float) -> None:
    with pytest.raises(InputError):
        GroupedSampling(records, groups, rate)
