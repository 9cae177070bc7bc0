"""Defects of matched sets, generators by transport, and diffusion models."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import torch

from sfumato.learn import noise, own_noise
from sfumato.learn.centres import Centres
from sfumato.learn.clipping import Stacked
from sfumato.learn.multiplicity import MultiplicityEngine
from sfumato.learn.noise import Independent
from sfumato.privacy.guarantee import Central
from sfumato.publish.generators.matching import Matched
from sfumato.publish.generators.versions import Versions
from sfumato.publish.method import Calibrated

PSG, SINKHORN, DIFFUSION = "generators.psg", "generators.sinkhorn", "generators.diffusion"


@contextmanager
def taught_by_private_images() -> Iterator[None]:
    """The networks learn from the private images between two turns, and not from the set."""

    def learn(matched: Matched) -> None:
        loss = torch.nn.functional.cross_entropy(
            matched._network(matched._work.images), matched._work.labels
        )
        parameters = list(matched._network.parameters())
        # Not by a backward pass, which the private loop would see.
        for parameter, found in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.grad = found
        matched._teach.step()

    with patch.object(Matched, "_learn", learn):
        yield


@contextmanager
def radius_of_a_stack() -> Iterator[None]:
    """Noise for the bound on a stack, as if it were a sum over records."""
    with patch.object(
        Stacked, "noise_stddevs", lambda clip, multiplier: [multiplier * clip.max_grad_norm]
    ):
        yield


@contextmanager
def noise_on_the_value() -> Iterator[None]:
    """Noise on one number, which scales a gradient whose direction is exact."""

    def add(
        self: Independent, step: int, tensors: Any, stddevs: Any, source: Any, *, divisor: float
    ) -> Any:
        values = [tensor.norm().view(1) for tensor in tensors]
        noisy = noise.add_gaussian(values, stddevs, source)
        pairs = zip(tensors, values, noisy, strict=True)
        return [tensor * (new / old.clamp_min(1e-9)) / divisor for tensor, old, new in pairs]

    with patch.object(Independent, "add", add):
        yield


@contextmanager
def realised_counts() -> Iterator[None]:
    """Central images over the number of images a cell happens to have."""
    original = Centres.sums

    def sums(made: Centres, images: Any, labels: Any) -> Any:
        total = original(made, images, labels)
        counts = torch.zeros(total.shape[0] * total.shape[1])
        cells = own_noise.keys_of(images).remainder(made.parts) * made.classes + labels
        counts += torch.bincount(cells, minlength=len(counts))
        expected = len(images) / len(counts)
        return total / counts.clamp_min(1).view(*total.shape[:2], 1) * expected

    with patch.object(Centres, "sums", sums):
        yield


@contextmanager
def levels_by_place() -> Iterator[None]:
    """Noise levels drawn in the order of the batch, from the published seed."""
    original = Versions.__call__

    def by_place(made: Versions, inputs: Any, step: int) -> Any:
        images, classes, keys = inputs
        return original(made, (images, classes, torch.arange(len(keys))), step)

    with patch.object(Versions, "__call__", by_place):
        yield


@contextmanager
def clipped_level_by_level() -> Iterator[None]:
    """Every noise level's gradient is clipped by itself, and all of them are summed."""
    original = MultiplicityEngine.clipped_sum

    def clipped_sum(engine: MultiplicityEngine, inputs: Any, targets: Any) -> Any:
        alone = [
            original(engine, tuple(part[:, k : k + 1] for part in inputs), targets[:, k : k + 1])
            for k in range(targets.shape[1])
        ]
        total = {k: sum(one.gradients[k] for one in alone) for k in alone[0].gradients}
        return alone[0]._replace(gradients=total)

    with patch.object(MultiplicityEngine, "clipped_sum", clipped_sum):
        yield


def warm_up_for_free(made: Calibrated) -> Calibrated:
    """Leaves central images and embedding out of the total."""
    guarantee: Any = made.guarantee
    steps = made.run.steps.mechanism.event
    claim = Central(steps, guarantee.delta, guarantee.unit, guarantee.neighbours)
    return replace(made, guarantee=claim)
