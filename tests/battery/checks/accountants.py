"""Calibrated noise meets its budget, and two ways of accounting agree on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
    with at_most(1 << 30):
        _compare(row)


def _compare(row: Row) -> None:
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


@contextmanager
def at_most(more: int) -> Iterator[None]:
    """Lets the process take so many more bytes of memory, where the system can tell.

    Raises:
        AssertionError: If it asked for more.
    """
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (ImportError, OSError):
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_AS)
    limit = pages * resource.getpagesize() + more
    if before[1] != resource.RLIM_INFINITY:
        limit = min(limit, before[1])
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    try:
        yield
    except MemoryError as error:
        raise AssertionError(f"more than {more >> 20} MiB were asked for: {error}") from None
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
