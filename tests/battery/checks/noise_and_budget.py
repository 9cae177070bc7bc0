"""A larger budget buys less noise, and nothing else."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from battery.check import check
from battery.recorder import Recorder
from battery.row import BUDGETS, MethodRow, Row
from sfumato.errors import InputError
from sfumato.privacy.budget import Budget
from sfumato.privacy.noise import SeededSource
from sfumato.publish.method import silent

WIDE = (Budget(1.0, 1e-6), Budget(4.0, 1e-6), Budget(16.0, 1e-6))
"""Epsilons that show in the reports of a row whose columns share them."""


@check("error")
def check_noise_falls(row: Row) -> None:
    """The measured error falls as epsilon grows, from each budget to the next."""
    errors = [row.error(row.make(budget), SeededSource(13)) for budget in WIDE]
    for more, less in pairwise(errors):
        assert less < 0.98 * more, f"errors over the budgets are {errors}"


@check("reach")
def check_reach_is_fixed(row: Row) -> None:
    """How far a record moves the release, noise aside, is no function of the budget."""
    reaches = [row.reach(row.make(budget)) for budget in BUDGETS]
    assert np.abs(reaches[0]).max() > 0
    for reach in reaches[1:]:
        # Noise of another scale leaves other last digits.
        assert np.allclose(reach, reaches[0], rtol=1e-6, atol=1e-9), "the clip norm moves"


@check(methods=True)
def check_bounds_are_fixed(row: MethodRow) -> None:
    """What is measured (bounds, bins, features, counts) is no function of the budget."""
    drawn = []
    for budget in BUDGETS:
        with Recorder() as recorder:
            row.make(budget).run(row.data(4), SeededSource(1), silent)
        drawn.append(recorder.draws)
    for draws in drawn[1:]:
        assert len(draws) == len(drawn[0])
        if not row.adaptive:
            assert [d.values.shape for d in draws] == [d.values.shape for d in drawn[0]]
        # Only the first draw: later ones may follow from the noise of earlier ones.
        assert np.array_equal(draws[0].values, drawn[0][0].values), "what is measured moves"


@check(methods=True)
def check_loose_delta_refused(row: MethodRow) -> None:
    """Where the number of records is public, a delta that allows publishing one of them raises."""
    records = row.facts.records
    if records is None or row.delta(row.make(row.budget)) == 0:
        return
    for delta in (1 / records, 0.1, 0.999):
        with pytest.raises(InputError, match="delta"):
            row.subject(**row.settings).calibrate(Budget(row.budget.epsilon, delta), row.facts)
