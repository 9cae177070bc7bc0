"""Audits: what a release surely leaks, through its public contract, is at most what it claims."""

from __future__ import annotations

import numpy as np

from battery.check import check
from battery.correlation import ALARM, largest_correlation
from battery.row import MethodRow, Row
from sfumato.api import Audit
from sfumato.api import audit as audit_of
from sfumato.measure import audit
from sfumato.privacy.noise import SECURE, NoiseSource, SeededSource

CANARY_DELTA = 1e-9
"""Where the one-run audit reads off epsilon: its bound is no use unless m delta is tiny."""


@check("runs")
def check_two_point(row: Row) -> float:
    """Runs on the two extremes of the domain are no easier to tell apart than claimed."""
    return audited(row, row.runs)


@check("noise", "runs", methods=False)
def check_secure_draws(row: Row) -> None:
    """The operating system's bits, which may come another way, make the same noise.

    Nobody can seed these. False alarms: below 4e-6 a row.
    """
    audited(row, min(row.runs, 4000), SECURE)
    noise = np.asarray(row.noise(row.make(row.budget), SECURE), np.float64)
    worst, bound = largest_correlation(noise)
    assert worst < bound, f"two coordinates correlate by {worst:.3f}, chance gives {bound:.3f}"


def audited(row: Row, runs: int, source: NoiseSource | None = None) -> float:
    """The lower bound on epsilon from so many runs a side, once it is known to be no violation.

    False alarms: below 2e-6 (one for epsilon, one for the whole trade-off curve). Seeded unless
    a source is given.
    """
    made = row.make(row.audit_budget)
    a, b = (
        row.samples(made, private, runs, source or SeededSource(100 + side))
        for side, private in enumerate(row.extremes)
    )
    bound = audit.two_point(a, b, row.delta(made), ALARM)
    claim = row.epsilon(made)
    assert bound <= claim, f"epsilon is at least {bound:.3f}, claimed is {claim:.3f}"
    over = audit.excess(a, b, row.ceiling(made), ALARM)
    assert over <= 0, f"a test does better than the claimed trade-off allows, by {over:.4f}"
    return bound


@check("one_run")
def check_one_run(row: Row) -> float:
    """Guessing which of many canaries were in one run succeeds no more often than claimed."""
    made = row.make(row.audit_budget)
    included = np.random.default_rng(17).random(row.canaries) < 0.5
    scores = row.one_run(row, included, SeededSource(19))
    delta = 0.0 if row.delta(made) == 0 else CANARY_DELTA
    bound = audit.one_run(scores, included, delta, ALARM)
    claim = row.epsilon(made, delta)
    assert bound <= claim, f"epsilon is at least {bound:.3f}, claimed is {claim:.3f}"
    return bound


@check("public_audit", methods=True)
def check_public_audit(row: MethodRow) -> Audit:
    """``sfumato audit``, which sees nothing but releases, finds no more than claimed.

    At 99 %: false alarms in one of 100 rows, were they not seeded.
    """
    how = row.public_audit
    assert how is not None
    found = audit_of(
        row.subject(**{**row.settings, **how.settings}),
        epsilon=how.budget.epsilon,
        delta=how.budget.delta,
        runs=how.runs,
        records=how.records,
        confidence=0.99,
        source=lambda number: SeededSource(41 + number),
    )
    assert not found.broken, found.summary
    return found
