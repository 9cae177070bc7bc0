"""How many steps a training has time for, measured on made-up records.

The time that a step takes on private records tells a little of them (how many were sampled, say). A
training that stopped by a clock running beside them would publish a function of that time, which no
event accounts for. So the number of steps is fixed first, on records of noise.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sfumato.learn.mechanism import DpSgd

_STEPS = 20


def steps(max_minutes: float, mechanism: DpSgd, trial: Callable[[DpSgd, int], object]) -> int:
    """At least one, and at most what there is time for on this machine.

    Args:
        max_minutes: Time for all steps.
        mechanism: Whose steps are counted.
        trial: ``trial(mechanism, size)`` trains on so many made-up records by a mechanism of a few
            steps that samples all of them; nothing private is among its arguments.
    """
    from sfumato.learn.sampling import PoissonSampling

    size = max(1, round(mechanism.sampling.expected_batch_size))
    few = min(_STEPS, mechanism.steps)
    short = replace(mechanism, sampling=PoissonSampling(size, 1.0), steps=few)
    began = time.perf_counter()
    trial(short, size)
    each = (time.perf_counter() - began) / few
    return max(1, min(mechanism.steps, int(60 * max_minutes / each)))
