from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from sfumato.attack import Evidence
from sfumato.attack.linkage import Linkage
from sfumato.data import Table
from sfumato.measure import intervals


def randomised(table: Table, epsilon: float, seed: int) -> Table:
    """Every column by k-ary randomised response at ``epsilon`` a column; for tests only."""
    rng = np.random.default_rng(seed)
    codes = {}
    for column in table.schema:
        true = table.codes()[column.name]
        keep = math.exp(epsilon) / (math.exp(epsilon) + column.size - 1)
        other = (true + rng.integers(1, column.size, len(true))) % column.size
        codes[column.name] = np.where(rng.random(len(true)) < keep, true, other)
    return Table.from_codes(codes, table.schema)


@pytest.fixture
def members(make_people: Any) -> Table:
    table: Table = make_people(300, 1)
    return table


def test_aligned_rows_are_linked_one_by_one(
    members: Table, make_people: Any, make_release: Any, make_pure: Any
) -> None:
    evidence = Evidence(members, make_people(100, 2))
    leaky = Linkage()(make_release(members, make_pure(1.0), aligned=True), evidence)
    assert leaky.metric == "rank-1 linkage rate"
    assert leaky.value > 0.95
    assert leaky.chance == 1 / 300
    assert leaky.ceiling == pytest.approx(math.e / (math.e + 299), rel=1e-3)
    assert leaky.breaks_guarantee
    clean = Linkage()(make_release(make_people(300, 3), make_pure(1.0), aligned=True), evidence)
    assert not clean.better_than_chance


def test_an_honest_local_release_stays_below_its_ceiling_and_a_false_claim_is_caught(
    members: Table, make_people: Any, make_release: Any, make_pure: Any
) -> None:
    """The rate has a ceiling of 0.953; a false alarm would need an 8-sigma excess."""
    each = 1.5
    total = each * len(members.schema)
    release = randomised(members, each, 0)
    evidence = Evidence(members, make_people(100, 2))
    honest = Linkage()(make_release(release, make_pure(total), aligned=True), evidence)
    assert honest.better_than_chance
    assert not honest.breaks_guarantee
    # Planted defect: the card of the same release claims a tenth of the budget.
    false = Linkage()(make_release(release, make_pure(total / 10), aligned=True), evidence)
    assert false.breaks_guarantee


def test_a_central_guarantee_does_not_bound_line_ups_of_all_records(
    members: Table, make_people: Any, make_release: Any
) -> None:
    finding = Linkage()(make_release(members, aligned=True), Evidence(members, make_people(100, 2)))
    assert finding.ceiling is None
    assert "nothing is proven" in finding.summary


@pytest.mark.parametrize("plan", [{}, {"aligned": False}, {"aligned": "yes"}])
def test_without_alignment_members_are_told_from_hold_outs(
    plan: dict[str, Any], members: Table, make_people: Any, make_release: Any
) -> None:
    finding = Linkage()(make_release(members, **plan), Evidence(members, make_people(100, 2)))
    assert finding.details["game"] == "members against hold-outs"
    assert finding.chance == 0.5


def test_alignment_with_another_number_of_rows_is_not_believed(
    members: Table, make_people: Any, make_release: Any
) -> None:
    release = make_release(make_people(50, 1), aligned=True)
    finding = Linkage()(release, Evidence(members, make_people(100, 2)))
    assert finding.details["game"] == "members against hold-outs"


def test_many_equal_released_records_say_no_more_than_one(
    members: Table, make_people: Any, make_release: Any
) -> None:
    """A generator that repeats one record must not look like a leak, or like perfect privacy."""
    one = {name: np.repeat(codes[:1], 500) for name, codes in make_people(1, 9).codes().items()}
    release = make_release(Table.from_codes(one, members.schema))
    finding = Linkage()(release, Evidence(members, make_people(300, 2)))
    assert finding.details["distinct"] == 1
    assert not finding.better_than_chance
    assert finding.interval[1] - finding.interval[0] > 0.9
    # Planted defect: each released record counted by itself is "certain" either way.
    low, high = intervals.clopper_pearson(500 * finding.value, 500)
    assert low > 0.5 or high < 0.5
