"""Audits: what a release surely leaks, through its public contract, is at most what it claims."""

from __future__ import annotations

from typing import Any

import numpy as np

from battery import audit
from battery.check import check
from battery.row import Row
from sfumato.privacy.noise import SeededSource

CANARY_DELTA = 1e-9
"""Where the one-run audit reads off epsilon: its bound is no use unless m delta is tiny."""


@check("runs")
def check_two_point(row: Row) -> float:
    """Runs on the two extremes of the domain are no easier to tell apart than claimed."""
    return audited(row, row.runs)


def audited(row: Row, runs: int) -> float:
    """The lower bound on epsilon from so many runs a side, once it is known to be no violation.

    False alarms: below 2e-6 (one for epsilon, one for the whole trade-off curve).
    """
    made = row.make(row.budget)
    a, b = (
        row.samples(made, private, runs, SeededSource(100 + side))
        for side, private in enumerate(row.extremes)
    )
    bound = audit.two_point(a, b, row.delta(made))
    claim = row.epsilon(made)
    assert bound <= claim, f"epsilon is at least {bound:.3f}, claimed is {claim:.3f}"
    over = audit.excess(a, b, row.ceiling(made))
    assert over <= 0, f"a test does better than the claimed trade-off allows, by {over:.4f}"
    return bound


@check("one_run")
def check_one_run(row: Row) -> float:
    """Guessing which of many canaries were in one run succeeds no more often than claimed."""
    made = row.make(row.budget)
    included = np.random.default_rng(17).random(row.canaries) < 0.5
    scores = row.one_run(row, included, SeededSource(19))
    delta = 0.0 if row.delta(made) == 0 else CANARY_DELTA
    bound = audit.one_run(scores, included, delta)
    claim = row.epsilon(made, delta)
    assert bound <= claim, f"epsilon is at least {bound:.3f}, claimed is {claim:.3f}"
    return bound


def figures(row: Row) -> dict[str, Any]:
    """Claim and lower bounds, for a report."""
    made = row.make(row.budget)
    runs = row.runs or row.slow_runs
    return {
        "row": row.name,
        "claim": row.epsilon(made),
        "two_point": audited(row, runs) if runs else None,
        "one_run": check_one_run(row) if row.one_run else None,
        "one_run_claim": row.epsilon(made, CANARY_DELTA if row.delta(made) else 0.0),
    }
