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


def convolutions() -> nn.Module:
    """Small sums, large activations."""
    layers = [nn.Conv2d(1, 16, 8, 2, padding=3), nn.Tanh(), nn.MaxPool2d(2, 1)]
    layers += [nn.Conv2d(16, 32, 4, 2), nn.Tanh(), nn.MaxPool2d(2, 1)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512, 32), nn.Tanh(), nn.Linear(32, 10))


def test_two_steps_of_convolutions_need_less_than_plain_ones() -> None:
    last = torch.channels_last  # the layout in which both are fastest
    module = convolutions().to(memory_format=last)
    inputs = torch.randn(BATCH, 1, 28, 28).contiguous(memory_format=last)
    targets = torch.randint(0, 10, (BATCH,))
    parameters = list(module.parameters())
    engine = Engine(module, losses, Flat(1.0))

    def plain() -> object:
        return torch.autograd.grad(losses(module(inputs), targets).mean(), parameters)

    def ours() -> object:  # with all that it keeps between steps
        engine.clipped_sum(inputs, targets)
        return engine.clipped_sum(inputs, targets).gradients

    assert peak(ours) <= 0.9 * peak(plain)


def test_a_first_step_takes_the_lengths_of_later_ones() -> None:
    """After the chunk that measures; what is recorded of each is within 32 MiB."""
    module = nn.Linear(300, 300)
    inputs, targets = torch.randn(BATCH, 64, 300), torch.randint(0, 300, (BATCH,))
    sizes: list[int] = []

    def seen(outputs: Tensor, targets: Tensor) -> Tensor:
        sizes.append(len(targets))
        return losses(outputs.mean(1), targets)

    engine = Engine(module, seen, Flat(1e6))  # nothing is clipped: the plain gradient
    for expected in [16, 86, 86, 68], [86, 86, 84]:
        sizes.clear()
        sums = engine.clipped_sum(inputs, targets).gradients
        assert [size for size in sizes if size > 3] == expected  # the others are looks at mixing
        plain = torch.autograd.grad(
            losses(module(inputs).mean(1), targets).sum(), [module.weight, module.bias]
        )
        for found, exact in zip(sums.values(), plain, strict=True):
            torch.testing.assert_close(found, exact, rtol=1e-4, atol=1e-4)


def test_planted_contributions_that_stay_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    add = together.add_weighted
    stay: list[dict[str, Contribution]] = []

    def keeping(found: dict[str, Contribution], *rest: object) -> None:
        stay.append(dict(found))
        add(found, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(together, "add_weighted", keeping)
    plain, ours = steps()
    assert ours > SLACK * plain
