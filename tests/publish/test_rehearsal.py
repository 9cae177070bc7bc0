"""What a run says that has no time for all that it paid for."""

from __future__ import annotations

import pytest

from sfumato.learn.clipping import Flat
from sfumato.learn.mechanism import DpSgd
from sfumato.learn.sampling import PoissonSampling
from sfumato.privacy.neighbours import Neighbours
from sfumato.publish import rehearsal
from sfumato.publish.rehearsal import part, within


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


@pytest.mark.parametrize(
    ("minutes", "warm", "steps", "found"),
    [
        (10.0, 300.0, 9000.0, 1.0),  # half the time is for a warm-up, whatever the steps take
        (10.0, 600.0, 9000.0, 0.5),
        (10.0, 600.0, 60.0, 0.9),  # what the steps leave is its own, too
        (10.0, 0.0, 60.0, 1.0),
        (-1.0, 600.0, 60.0, 0.0),
    ],
)
def test_a_warm_up_takes_half_the_time_or_what_the_steps_leave(
    minutes: float, warm: float, steps: float, found: float, caplog: pytest.LogCaptureFixture
) -> None:
    assert part(minutes, warm, steps) == found
    assert bool(caplog.records) == (found < 1)


@pytest.mark.parametrize(("each", "taken"), [(30.0, [1]), (1.0, [1, 5]), (0.01, [1, 20])])
def test_a_rehearsal_of_slow_steps_is_short(
    each: float, taken: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty steps of half a minute each would be most of ten minutes."""
    clock = [0.0]
    monkeypatch.setattr(rehearsal.time, "perf_counter", lambda: clock[0])
    seen: list[int] = []

    def trial(mechanism: DpSgd, size: int) -> None:
        seen.append(mechanism.steps)
        clock[0] += each * mechanism.steps

    sampling = PoissonSampling(1000, 0.01)
    mechanism = DpSgd(sampling, Flat(1.0), 1.0, 100, 1e-5, Neighbours.ADD_REMOVE)
    assert rehearsal.seconds(mechanism, trial) == pytest.approx(each)
    assert seen == taken
