"""How many steps a training has time for, measured on made-up records.

The time that a step takes on private records tells a little of them (how many were sampled, say). A
training that stopped by a clock running beside them would publish a function of that time, which no
event accounts for. So the number of steps is fixed first, on records of noise.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from sfumato.privacy.transcript import listening

if TYPE_CHECKING:
    from sfumato.learn.mechanism import DpSgd

_STEPS, _AWHILE = 20, 5.0  # at most so many, and so many seconds beside the first


def within(minutes: float, seconds: float, most: int) -> int:
    """How many steps of so many seconds there is time for: at least one, at most ``most``.

    Where that is less than all of them, it is said.
    """
    taken = max(1, min(most, int(60 * minutes / seconds)))
    if taken < most:
        logging.getLogger("sfumato").warning(
            "in %g minutes there is time for %d of %d steps, which are taken; the whole budget is "
            "spent all the same, and would have paid for all",
            max(minutes, 0.0),
            taken,
            most,
        )
    return taken


def seconds(mechanism: DpSgd, trial: Callable[[DpSgd, int], object]) -> float:
    """What a step takes on this machine. To be called before a private record is looked at.

    Args:
        mechanism: Whose steps are timed.
        trial: ``trial(mechanism, size)`` trains on so many made-up records by a mechanism of a few
            steps that samples all of them; nothing private is among its arguments.
    """
    from sfumato.learn.sampling import PoissonSampling

    size = max(1, round(mechanism.sampling.expected_batch_size))
    short = replace(mechanism, sampling=PoissonSampling(size, 1.0), steps=1)
    one = taken(lambda: trial(short, size))
    few = min(_STEPS, mechanism.steps)
    if few * one > _AWHILE:
        few = int(_AWHILE / one)
    if few < 2:
        return one
    return taken(lambda: trial(replace(short, steps=few), size)) / few


def taken(work: Callable[[], object]) -> float:
    """Seconds that something takes; who listens to what is drawn hears nothing of it."""
    began = time.perf_counter()
    with listening():
        work()
    return time.perf_counter() - began


def part(minutes: float, seconds: float, steps: float) -> float:
    """How much of a warm-up there is time for, in (0, 1]: at least half the time is for it.

    Where that is less than all of it, it is said.

    Args:
        minutes: For warm-up and steps together.
        seconds: Of the whole warm-up.
        steps: Seconds of all steps.

    >>> part(10, 200, 1000), part(10, 400, 100)
    (1.0, 1.0)
    """
    left = max(60 * minutes, 0.0)
    found = min(1.0, max(left / 2, left - steps) / seconds) if seconds else 1.0
    if found < 1:
        logging.getLogger("sfumato").warning(
            "there is time for %.0f %% of the warm-up", 100 * found
        )
    return found
