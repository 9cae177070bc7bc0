"""What a run says that has no time for all that it paid for."""

from __future__ import annotations

import pytest

from sfumato.publish.rehearsal import within


@pytest.mark.parametrize(
    ("minutes", "taken", "told"),
    [
        (60.0, 100, ""),
        (1.0, 30, "in 1 minutes there is time for 30 of 100 steps"),
        (-2.0, 1, "in 0 minutes there is time for 1 of 100 steps"),
    ],
)
def test_a_budget_that_buys_more_than_there_is_time_for_is_told_of(
    minutes: float, taken: int, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert within(minutes, 2.0, 100) == taken
    assert told in caplog.text
    assert bool(caplog.records) == bool(told)
