"""The parts sum to the whole. See ``checks/parts_sum.py``."""

from __future__ import annotations

import pytest

from battery import accountant
from battery.cases import cases
from battery.checks import parts_sum
from battery.row import Row
from sfumato.data import Categorical, Schema
from sfumato.privacy.budget import Budget
from sfumato.publish.tables.adaptive import Adaptive


@cases(parts_sum.check_event_gives_epsilon)
def test_another_accountant_arrives_at_the_printed_epsilon(row: Row) -> None:
    parts_sum.check_event_gives_epsilon(row)


@cases(parts_sum.check_parts_sum)
def test_the_printed_noise_composes_to_the_printed_epsilon(row: Row) -> None:
    parts_sum.check_parts_sum(row)


@cases(parts_sum.check_epsilons_sum)
def test_printed_parts_sum_to_the_budget(row: Row) -> None:
    parts_sum.check_epsilons_sum(row)


def test_an_event_handed_over_whole_gives_the_same_epsilon_in_dp_accounting() -> None:
    # Columns that are alike have equal events, which are written as one repeated event.
    from dp_accounting import NeighboringRelation
    from dp_accounting.pld import PLDAccountant

    alike = Schema(tuple(Categorical(name, tuple("abcd")) for name in "xyz"))
    guarantee = Adaptive().calibrate(Budget(3.0), alike).guarantee
    theirs = PLDAccountant(NeighboringRelation.REPLACE_ONE)
    theirs.compose(guarantee.event)
    ours = accountant.of_card(guarantee.to_dict(), delta=1e-6)
    assert theirs.get_epsilon(1e-6) == pytest.approx(ours, rel=1e-3)
