"""A small set of images whose gradients match the noisy gradients of the private images.

The images of the set are what is learnt. At a network with public weights the private images give
one noisy mean gradient, clipped record by record; the set's own gradient is a function of the set
and free to compute, and the set is moved until the two point the same way. The network then learns
a little from the set, and after some turns a new random one takes its place. Private images are
touched by the noisy gradients alone, so the set may be moved as often as it helps.

Source: Chen, Kerkouche, Fritz 2022 (arXiv 2211.04446); the distance is that of Zhao, Mopuri, Bilen
2021 (arXiv 2006.05929).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sfumato.learn.checkpoint import pack_optimizer, unpack_optimizer
from sfumato.learn.loop import PrivateLoop

if TYPE_CHECKING:
    from sfumato.publish.generators.work import Work

_NETWORK_MOMENTUM = 0.9
_TINY = 1e-6
_GREY, _APART = 0.5, 0.05  # where a set starts that knows nothing, and what parts its images
_SMALLEST = 4  # pixels a side: norms within maps of fewer leave nothing to tell apart


@dataclass(frozen=True)
class Network:
    """The classifier whose gradients are matched: blocks of convolution, norm, ReLU and pooling.

    Args:
        shape: ``(channels, height, width)`` of the images.
        classes: K.
        width: Channels of each block.
        depth: Blocks; fewer where maps are smaller than four pixels a side.
    """

    shape: tuple[int, int, int]
    classes: int
    width: int
    depth: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {"kind": "convolutional classifier", **asdict(self), "shape": list(self.shape)}

    def build(self) -> nn.Module:
        """With random weights. Only matrices are learnt: offsets and scales take their part of a
        clipped norm and of the noise, and tell the set next to nothing.
        """
        channels, height, width = self.shape
        layers: list[nn.Module] = [_Centred()]
        for done in range(self.depth):
            if done and min(height, width) < _SMALLEST:
                break
            layers.append(nn.Conv2d(channels, self.width, 3, padding=1, bias=False))
            if height * width > 1:
                layers.append(nn.GroupNorm(self.width, self.width, affine=False))
            layers.append(nn.ReLU())
            channels = self.width
            if min(height, width) >= 2:
                layers.append(nn.AvgPool2d(2))
                height, width = height // 2, width // 2
        head = nn.Linear(channels * height * width, self.classes, bias=False)
        return nn.Sequential(*layers, nn.Flatten(), head)


@dataclass(frozen=True)
class Matching:
    """How the set is moved; none of it matters to privacy.

    Args:
        rate: Learning rate of the images' Adam, in pixels; falls to 0 as a cosine.
        moves: Times the set is moved after each noisy gradient.
        turn_steps: Private steps at one network before it learns from the set.
        turns: Turns of a network, before a new one takes its place.
        network_steps: Steps that a network learns from the set between two turns.
        network_rate: Of those.
    """

    rate: float
    moves: int
    turn_steps: int
    turns: int
    network_steps: int
    network_rate: float


class Matched:
    """Takes private steps, and moves a set of images after each.

    Args:
        labels: (m,) classes of the set's images.
        matching: See :class:`Matching`.
        work: Private images, mechanism, seeds and noise; its architecture is a :class:`Network`. It
            may start with a noisy mean image of each class, (K, c, h, w).
    """

    def __init__(self, labels: Tensor, matching: Matching, work: Work) -> None:
        self._matching, self._work = matching, work
        drawn = torch.Generator().manual_seed(work.seeds["drawing"])
        first = torch.randn(len(labels), *work.architecture.shape, generator=drawn)
        first = (_GREY if work.start is None else work.start[labels]) + _APART * first
        self.labels = labels.to(work.device)
        self.images = nn.Parameter(first.clamp(0, 1).to(work.device))
        self._move = torch.optim.Adam([self.images], matching.rate, betas=(0.5, 0.99))
        self._network = self._fresh(0).to(work.device)
        self._teach = torch.optim.SGD(
            self._network.parameters(), matching.network_rate, momentum=_NETWORK_MOMENTUM
        )
        self._mean = [torch.zeros_like(p) for p in self._network.parameters()]
        self._loop = PrivateLoop(
            self._network,
            self._teach,
            _loss,
            (work.images, work.labels),
            work.steps.mechanism,
            source=work.source,
        )

    @property
    def steps_taken(self) -> int:
        """Private steps begun."""
        return self._loop.run.taken

    def step(self) -> None:
        """One noisy gradient, and the moves of the set after it."""
        matching = self._matching
        network, within = divmod(self.steps_taken, matching.turns * matching.turn_steps)
        turn, number = divmod(within, matching.turn_steps)
        if number == 0:
            if turn == 0:
                self._network.load_state_dict(self._fresh(network).state_dict())
                self._teach.state.clear()
            else:
                self._learn()
        self._loop.backward()
        parameters = list(self._network.parameters())
        for mean, parameter in zip(self._mean, parameters, strict=True):
            assert parameter.grad is not None
            # Of one network in one turn all noisy gradients estimate the same.
            mean.lerp_(parameter.grad, 1 / (number + 1))
        # Smaller and smaller moves: what the noise has moved at random is averaged out.
        total = self._work.most or self._work.steps.mechanism.steps
        for group in self._move.param_groups:
            group["lr"] = matching.rate * 0.5 * (1 + math.cos(math.pi * self.steps_taken / total))
        for _ in range(matching.moves):
            self._match(parameters)

    def finish(self) -> Tensor:
        """(m, c, h, w) the set, on the CPU."""
        return self.images.detach().cpu()

    def save(self, folder: Path | str) -> None:
        """Writes a checkpoint."""
        settings, moments = pack_optimizer(self._move)
        tensors = {"images": self.images.detach()}
        tensors |= {f"moments/{name}": tensor for name, tensor in moments.items()}
        tensors |= {f"mean/{i}": mean for i, mean in enumerate(self._mean)}
        self._loop.save(folder, tensors=tensors, values={"adam": settings})

    def resume(self, folder: Path | str) -> None:
        """Continues from a checkpoint, before the first step."""
        values, tensors = self._loop.resume(folder)
        with torch.no_grad():
            self.images.copy_(tensors["images"])
            for i, mean in enumerate(self._mean):
                mean.copy_(tensors[f"mean/{i}"])
        moments = {
            name.partition("/")[2]: tensor
            for name, tensor in tensors.items()
            if name.startswith("moments/")
        }
        unpack_optimizer(self._move, values["adam"], moments)

    def close(self) -> None:
        """Lets go of the checkpoint's folder."""
        self._loop.close()

    def _fresh(self, number: int) -> nn.Module:
        """The random network of this number, of public weights."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._work.seeds["weights"] + number)
            built: nn.Module = self._work.architecture.build()
        return built

    def _match(self, parameters: Sequence[Tensor]) -> None:
        loss = functional.cross_entropy(self._network(self.images), self.labels)
        own = torch.autograd.grad(loss, parameters, create_graph=True)
        distance = torch.stack([apart(a, b) for a, b in zip(own, self._mean, strict=True)]).sum()
        (self.images.grad,) = torch.autograd.grad(distance, [self.images])
        self._move.step()
        with torch.no_grad():
            self.images.clamp_(0, 1)

    def _learn(self) -> None:
        """The network learns from the set as it is now."""
        images, parameters = self.images.detach(), list(self._network.parameters())
        for _ in range(self._matching.network_steps):
            loss = functional.cross_entropy(self._network(images), self.labels)
            # Set by hand: the private loop refuses steps with what a backward pass left there.
            for parameter, found in zip(
                parameters, torch.autograd.grad(loss, parameters), strict=True
            ):
                parameter.grad = found
            self._teach.step()


class _Centred(nn.Module):
    """Pixels in [0, 1] as numbers in [-1, 1]."""

    def forward(self, images: Tensor) -> Tensor:
        """Of the same shape."""
        return 2 * images - 1


def apart(one: Tensor, other: Tensor) -> Tensor:
    """Sum over a layer's outputs of one less the cosine of their two gradients (rows)."""
    one, other = one.flatten(1), other.flatten(1)
    lengths = one.norm(dim=1) * other.norm(dim=1) + _TINY
    found: Tensor = (1 - (one * other).sum(dim=1) / lengths).sum()
    return found


def _loss(scores: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(scores, labels, reduction="none")
