"""How many steps a training has time for, measured on made-up images.

The time that a step takes on private images tells a little of them (how many were sampled, say). A
training that stopped by a clock running beside them would publish a function of that time, which no
event accounts for. So the number of steps is fixed first, on pictures of noise.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sfumato.publish.generators.gradient_trained import Run

_STEPS = 20


def steps(minutes: float, run: Run, seeds: Mapping[str, int]) -> int:
    """At least one, and at most what ``minutes`` leave time for on this machine.

    Args:
        minutes: That are left.
        run: Whose method's ``train`` is rehearsed; its steps, architecture and device; nothing
            private.
        seeds: Of weights and training.
    """
    import torch

    from sfumato.learn.noise import STREAM
    from sfumato.learn.sampling import PoissonSampling
    from sfumato.publish.generators.gradient_trained import Work

    mechanism = run.steps.mechanism
    size = max(1, round(mechanism.sampling.expected_batch_size))
    few = min(_STEPS, mechanism.steps)
    short = replace(mechanism, sampling=PoissonSampling(size, 1.0), steps=few)
    generator = torch.Generator().manual_seed(seeds["training"])
    classes = len(run.facts.classes)
    work = Work(
        run.architecture,
        torch.rand(size, *run.facts.shape, generator=generator),
        torch.randint(classes, (size,), generator=generator),
        replace(run.steps, mechanism=short),
        torch.full((classes,), 1 / classes, dtype=torch.float64),
        seeds,
        STREAM,
        run.device,
        lambda done, total: None,
    )
    began = time.perf_counter()
    run.method.train(work)
    each = (time.perf_counter() - began) / few
    return max(1, min(mechanism.steps, int(60 * minutes / each)))
