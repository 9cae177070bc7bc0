"""The same data published twice is paid for twice. See ``checks/replay.py``."""

from __future__ import annotations

from battery.cases import cases
from battery.checks import replay
from battery.row import Row


@cases(replay.check_replay)
def test_two_runs_are_two_debits_and_two_releases(row: Row) -> None:
    replay.check_replay(row)
