"""Calibrated noise meets its budget, and two ways of accounting agree on it."""

from __future__ import annotations

from battery.check import check
from battery.row import BUDGETS, Row
from sfumato.errors import InputError
from sfumato.privacy.budget import Budget

GRID = (*BUDGETS, Budget(0.05, 1e-8), Budget(9.0, 1e-9))


@check()
def check_calibration(row: Row) -> None:
    """Over a grid of budgets, epsilon is at most what was asked for, and not far below it."""
    from sfumato.privacy import accounting

    for budget in GRID:
        made = row.make(budget)
        delta = 0.0 if row.delta(made) == 0 else budget.delta
        spent = accounting.epsilon(row.event(made), delta, row.neighbours)
        assert spent <= budget.epsilon, f"{budget} was asked for, {spent} is spent"
        assert spent >= 0.9 * budget.epsilon, f"{budget} was asked for, {spent} is used"


@check()
def check_renyi_is_above(row: Row) -> None:
    """Renyi accounting gives no less than the loss distribution, where it knows the event."""
    from sfumato.privacy import accounting

    for budget in BUDGETS:
        event = row.event(row.make(budget))
        tight = accounting.epsilon(event, 1e-6, row.neighbours)
        try:
            loose = accounting.rdp_epsilon(event, 1e-6, row.neighbours)
        except InputError:
            continue
        assert loose >= tight * (1 - 1e-3), f"Renyi gives {loose}, the distribution {tight}"
        assert loose <= 1.6 * tight + 0.05, f"Renyi gives {loose}, the distribution {tight}"
