"""What training shadow models costs: ways of a step, and what is used against a loop.

Parts of ``membership.py``, which runs them and keeps what they find.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional

from sfumato.attack.shadows import Job, Recipe, halves
from sfumato.attack.shadows.training import GROUPS
from sfumato.measure import cnn

EPOCHS = 8
TIMED = 5
ROUNDS, A_ROUND = 15, 40
OURS = "ours, a worker a core"


def timing(images: Any, labels: Any) -> dict[str, Any]:
    """Processor milliseconds of a step of one model, by several ways; the best of a few.

    The first four are torch's own convolutions, the groups what shadow models are trained by.
    """
    pool, truth = torch.from_numpy(images), torch.from_numpy(labels)
    taken = torch.randperm(len(pool), generator=torch.Generator().manual_seed(0))[: cnn.BATCH]
    y = truth[taken]

    def batch() -> Tensor:
        return (pool[taken] - 0.3) / 0.35

    def one(layout: Any, bfloat16: bool = False) -> Callable[[], None]:
        model = cnn.build(cnn.CONVOLUTIONAL, (1, 28, 28), 10).to(memory_format=layout)
        optimiser = torch.optim.Adam(model.parameters(), lr=cnn.RATE)

        def step() -> None:
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                scores = model(batch().contiguous(memory_format=layout))
                loss = functional.cross_entropy(scores, y)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

        return step

    def mapped(models: int) -> Callable[[], None]:
        made = [cnn.build(cnn.CONVOLUTIONAL, (1, 28, 28), 10) for _ in range(models)]
        weights = {k: v.detach().requires_grad_() for k, v in stack_module_state(made)[0].items()}
        optimiser = torch.optim.Adam(weights.values(), lr=cnn.RATE, fused=True)

        def loss(weights: dict[str, Tensor], records: Tensor) -> Tensor:
            return functional.cross_entropy(functional_call(made[0], weights, (records,)), y)

        def step() -> None:
            optimiser.zero_grad()
            some = batch()
            vmap(loss)(weights, some.expand(models, *some.shape)).sum().backward()
            optimiser.step()

        return step

    found: dict[str, float] = {}
    group = 4
    with cnn.one_torch_thread():
        ways = {
            "one by one, torch's default layout": (one(torch.contiguous_format), 1),
            "one by one, channels last": (one(torch.channels_last), 1),
            "one by one, channels last, bfloat16": (one(torch.channels_last, True), 1),
            f"vmap over {group}": (mapped(group), group),
        }
        for name, (step, models) in ways.items():
            step()
            times = []
            for _ in range(TIMED):
                began = time.process_time()
                step()
                times.append(time.process_time() - began)
            found[name] = 1000 * min(times) / models
        groups = [(family, models) for family in GROUPS for models in (1, 4, 8)]
        for family, models in groups:
            rows = halves(len(images), models, 0)
            job = Job(images, labels, 10, rows, Recipe(family, EPOCHS, models))
            spent = []
            for steps in (1, 1 + 2 * TIMED):
                times = []
                for _ in range(2):
                    began = time.process_time()
                    job.train_part(slice(0, models), most_steps=steps)
                    times.append(time.process_time() - began)
                spent.append(min(times))
            found[f"groups of {models}, {family}"] = (
                1000 * (spent[1] - spent[0]) / (2 * TIMED * models)
            )
    return {name: round(value, 2) for name, value in found.items()}


def clock(images: Any, labels: Any) -> dict[str, Any]:
    """Milliseconds by the clock of a step of one model on the whole machine, three ways in turn."""
    cores = os.cpu_count() or 1
    job = Job(images, labels, 10, halves(len(images), cores, 0), Recipe(epochs=EPOCHS))

    def worked(steps: int) -> None:
        def one(model: int) -> None:
            torch.set_num_threads(1)  # of this worker
            job.train_part(slice(model, model + 1), most_steps=steps)

        with cnn.one_torch_thread(), ThreadPoolExecutor(cores) as workers:
            list(workers.map(one, range(cores)))

    pool, y, draw = torch.from_numpy(images), torch.from_numpy(labels), np.random.default_rng(0)

    def looped(layout: Any) -> Callable[[int], None]:
        model = cnn.build(cnn.CONVOLUTIONAL, (1, 28, 28), 10).to(memory_format=layout)
        optimiser = torch.optim.Adam(model.parameters(), lr=cnn.RATE)

        def way(steps: int) -> None:
            torch.set_num_threads(cores)
            for _ in range(steps):
                rows = torch.from_numpy(draw.integers(0, len(images), cnn.BATCH))
                records = ((pool[rows] - 0.3) / 0.35).contiguous(memory_format=layout)
                optimiser.zero_grad()
                functional.cross_entropy(model(records), y[rows]).backward()
                optimiser.step()

        return way

    ways = {
        OURS: (worked, cores),
        "loop, torch's layout and threads": (looped(torch.contiguous_format), 1),
        "loop, channels last, torch's threads": (looped(torch.channels_last), 1),
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, (way, models) in ways.items():
            spent = []
            for steps in (2, 2 + A_ROUND):
                began = time.perf_counter()
                way(steps)
                spent.append(time.perf_counter() - began)
            found[name].append(1000 * (spent[1] - spent[0]) / (A_ROUND * models))
    told: dict[str, Any] = {"cores": cores, "rounds": ROUNDS}
    for name, spent in found.items():
        told[name] = {"ms": round(statistics.median(spent), 2)}
        if name != OURS:
            times = [a / b for a, b in zip(spent, found[OURS], strict=True)]
            told[name]["times ours"] = [round(f(times), 2) for f in (statistics.median, min, max)]
    return told | {"load": [round(x, 1) for x in os.getloadavg()]}
