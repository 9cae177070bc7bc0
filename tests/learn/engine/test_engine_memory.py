"""What a step takes at most, counted in allocations, which are the same in every run."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from sfumato.learn.clipping import Flat
from sfumato.learn.engine import Engine, together
from sfumato.learn.engine.contributions import Contribution

BATCH = 256
SLACK = 1.15
"""Our sums over the plain gradients and activations; what a step needs besides is the same."""


def losses(outputs: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.cross_entropy(outputs, targets, reduction="none")


def peak(call: Callable[[], object]) -> int:
    """Bytes allocated at once, at most, beyond what there was."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        kept = call()
    events = seen.profiler.kineto_results.events()  # type: ignore[union-attr]
    sizes = [
        e.nbytes() for e in sorted(events, key=lambda e: e.start_ns()) if e.name() == "[memory]"
    ]
    del kept
    now = most = 0
    for size in sizes:
        now += size
        most = max(most, now)
    return most


def steps() -> tuple[int, int]:
    """The peaks of a plain step of an MLP and of ours, each after a first one."""
    module = nn.Sequential(
        nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 10)
    )
    inputs, targets = torch.randn(BATCH, 784), torch.randint(0, 10, (BATCH,))
    engine = Engine(module, losses, Flat(1.0))
    parameters = list(module.parameters())

    def plain() -> object:
        return torch.autograd.grad(losses(module(inputs), targets).mean(), parameters)

    def ours() -> object:
        return engine.clipped_sum(inputs, targets).gradients

    plain(), ours()
    return peak(plain), peak(ours)


def test_a_step_needs_hardly_more_than_a_plain_one() -> None:
    plain, ours = steps()
    assert ours <= SLACK * plain


def test_planted_contributions_that_stay_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    add = together.add_weighted
    stay: list[dict[str, Contribution]] = []

    def keeping(found: dict[str, Contribution], *rest: object) -> None:
        stay.append(dict(found))
        add(found, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(together, "add_weighted", keeping)
    plain, ours = steps()
    assert ours > SLACK * plain
