"""What training shadow models costs: ways of a step, and what is used against a loop.

Parts of ``membership.py``, which runs them and keeps what they find.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional

from sfumato.attack.shadows import Job, Recipe, halves
from sfumato.attack.shadows.training import GROUPS
from sfumato.measure import cnn

EPOCHS = 8
TIMED = 5
ROUNDS, MODELS = 7, 4
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
    """Seconds by the clock of training some models on the whole machine, three ways in turn.

    What is used, and loops over the models as one writes them, in torch's memory layout and in the
    one that is faster on processors. All take the same passes over as many records.
    """
    cores = os.cpu_count() or 1
    rows, recipe = halves(len(images), MODELS, 0), Recipe(epochs=EPOCHS)
    job = Job(images, labels, 10, rows, recipe, workers=cores)
    steps = cnn.passes_over(rows.shape[1], EPOCHS) * -(-rows.shape[1] // cnn.BATCH)

    def looped(layout: Any) -> Callable[[], None]:
        def one(seed: int, own: Any) -> None:
            some, truth = torch.from_numpy(images[own]), torch.from_numpy(labels[own])
            some = ((some - some.mean()) / some.std()).contiguous(memory_format=layout)
            torch.manual_seed(seed)
            model = cnn.build(cnn.CONVOLUTIONAL, (1, 28, 28), 10).to(memory_format=layout)
            optimiser = torch.optim.Adam(model.parameters(), lr=cnn.RATE)
            decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
            for _ in range(EPOCHS):
                for taken in torch.randperm(len(some)).split(cnn.BATCH):
                    records = some[taken].contiguous(memory_format=layout)
                    optimiser.zero_grad()
                    functional.cross_entropy(model(records), truth[taken]).backward()
                    optimiser.step()
                    decay.step()

        def way() -> None:
            torch.set_num_threads(cores)
            for seed, own in enumerate(rows):
                one(seed, own)

        return way

    ways = {
        OURS: job.train,
        "loop, torch's layout and threads": looped(torch.contiguous_format),
        "loop, channels last, torch's threads": looped(torch.channels_last),
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for round_ in range(1 + ROUNDS):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            if round_:  # the first also imports and compiles
                found[name].append(time.perf_counter() - began)
    told: dict[str, Any] = {"cores": cores, "models": MODELS, "steps": steps, "rounds": ROUNDS}
    for name, spent in found.items():
        told[name] = {"seconds": round(statistics.median(spent), 2)}
        if name != OURS:
            times = [a / b for a, b in zip(spent, found[OURS], strict=True)]
            told[name]["times ours"] = [round(f(times), 2) for f in (statistics.median, min, max)]
    return told | {"load": [round(x, 1) for x in os.getloadavg()]}
