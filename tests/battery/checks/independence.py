"""Every coordinate of every record, batch and run has noise of its own."""

from __future__ import annotations

import numpy as np

from battery.check import check
from battery.correlation import largest_correlation, ranked
from battery.row import MethodRow, Row
from sfumato.privacy.ledger import Ledger
from sfumato.privacy.noise import SECURE, SeededSource


@check("noise")
def check_coordinates_independent(row: Row) -> None:
    """Noise is uncorrelated between coordinates, and between one repeat and the next.

    False alarms below 2e-6.
    """
    noise = np.asarray(row.noise(row.make(row.budget), SeededSource(29)), np.float64)
    assert len(noise) >= 200
    worst, bound = largest_correlation(noise)
    assert worst < bound, f"two coordinates correlate by {worst:.3f}, chance explains {bound:.3f}"
    ranks = ranked(noise)  # columns need not be alike
    following = np.stack([ranks[:-1].ravel(), ranks[1:].ravel()], axis=1)
    _, bound = largest_correlation(following)
    # A column's ranks sum to nothing: neighbours among independent ones correlate by -1 / (n - 1).
    worst = abs(float(np.corrcoef(following.T)[0, 1]) + 1 / (len(noise) - 1))
    assert worst < bound, f"repeats correlate by {worst:.3f}, chance explains {bound:.3f}"


@check("batched")
def check_batches_independent(row: MethodRow) -> None:
    """Equal records in different batches get different noise. False alarms below 1e-6."""
    batches = np.asarray(row.batched(row.make(row.budget), SeededSource(31)), np.float64)
    count, rows, columns = batches.shape
    ranks = ranked(batches.reshape(-1, columns)).reshape(count, rows * columns)
    worst, bound = largest_correlation(ranks.T)
    assert worst < bound, f"two batches correlate by {worst:.3f}, chance explains {bound:.3f}"


@check(methods=True)
def check_runs_independent(row: MethodRow) -> None:
    """Runs as users make them, on the same data, never share their noise."""
    made = row.calibrate(**row.telling) if row.telling else row.make(row.budget)
    private = row.data(0)
    ledger = Ledger.in_memory()
    released = [
        b"".join(
            values.tobytes()
            for _, values in sorted(
                row.numbers(made(private, ledger=ledger, source=SECURE).artefact).items()
            )
        )
        for _ in range(4)
    ]
    assert len(set(released)) == len(released), "two runs released the same"
