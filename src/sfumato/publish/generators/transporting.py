"""A generator drawn towards private images by optimal transport.

Each step generates some images of every class, asks for the gradient at them of the transport
between them and a sample of the private ones, and passes it on into the generator. Between the two
lies the noise. The transport of generated images to other generated ones is subtracted (else images
shrink to the means that blurred transport prefers); it sees nothing private and is free.

Images are compared by their low frequencies: a gradient has that many coordinates, and each has
noise.

Source: Cao et al. 2021 (arXiv 2111.01177); Feydy et al. 2019 for the divergence.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sfumato.errors import MissingExtraError
from sfumato.learn import own_noise
from sfumato.learn.averaging import Averaging
from sfumato.learn.class_stacks import Points, engine_of
from sfumato.learn.frequencies import LowFrequencies
from sfumato.learn.loop import PrivateLoop
from sfumato.learn.ranks import Alone
from sfumato.publish.generators.keeping import Kept

if TYPE_CHECKING:
    from sfumato.publish.generators.work import Work

_BETAS = (0.5, 0.99)
_SCALING = 0.6


@dataclass(frozen=True)
class Transport:
    """How the generator is trained; none of it matters to privacy.

    Args:
        rate: Learning rate of the generator's Adam; falls to 0 as a cosine.
        each: Generated images of a class and step.
        coefficients: The most low frequencies of an image that are compared.
        blur: Of the transport, as a root-mean-square difference of pixels.
        debias: Weight of the transport among generated images.
        averaging: Decay of the average of the generator's weights that is kept.
    """

    rate: float
    each: int
    coefficients: int
    blur: float
    debias: float
    averaging: float


class Frequencies:
    """The low frequencies of images, scaled so that distances are root-mean-square pixels.

    Args:
        shape: ``(channels, height, width)`` of the images.
        coefficients: How many at most.
    """

    def __init__(self, shape: tuple[int, int, int], coefficients: int) -> None:
        self._basis = LowFrequencies(shape, coefficients)
        self._unit = math.sqrt(math.prod(shape))
        self.width = self._basis.width

    def __call__(self, images: Tensor) -> Tensor:
        """(n, d) of (n, c, h, w); differentiable, for generated images alone.

        Its last bits depend on which images come together.
        """
        down, across = (part.to(images.device) for part in self._basis.rows)
        return (down @ images @ across.T).flatten(1) / self._unit

    def of_records(self, images: Tensor) -> Tensor:
        """(n, d) of private (n, c, h, w): each a function of its image alone, bit for bit."""
        return self._basis.coordinates(images) / self._unit


class Transported:
    """Takes private steps of a generator.

    Args:
        generator: As the architecture of ``work`` builds it; it may mix examples.
        transport: See :class:`Transport`.
        work: Private images, mechanism, seeds and noise.
    """

    def __init__(self, generator: nn.Module, transport: Transport, work: Work) -> None:
        self.generator = generator.to(work.device).train()
        self._transport, self._work = transport, work
        self._frequencies = Frequencies(work.architecture.shape, transport.coefficients)
        self._distance = divergence(transport.blur)
        self._adam = torch.optim.Adam(generator.parameters(), transport.rate, betas=_BETAS)
        self._average = Averaging(generator, transport.averaging)
        self._draws = torch.Generator().manual_seed(work.seeds["training"])
        self._kept = Kept(self.generator, self._adam, self._average, self._draws)
        classes = work.architecture.classes
        self._points = Points(classes, transport.each, self._frequencies.width).to(work.device)
        self._labels = torch.arange(classes).repeat_interleave(transport.each)
        keys = own_noise.keys_of(work.images)
        self._loop = PrivateLoop(
            self._points,
            torch.optim.SGD(self._points.parameters(), 0.0),  # points are drawn, never moved
            _no_loss,
            ((self._frequencies.of_records(work.images), keys), work.labels),
            work.steps.mechanism,
            source=work.source,
            engine=engine_of(self._pull, _room(work, classes)),
            ranks=Alone(),  # a stack is no sum over processes either
        )

    @property
    def steps_taken(self) -> int:
        """Private steps begun."""
        return self._loop.run.taken

    def step(self) -> None:
        """One noisy stack of each class, and one step of the generator."""
        work, transport = self._work, self._transport
        points = self._made()
        with torch.no_grad():
            self._points.points.copy_(points)
        self._loop.backward()
        noisy = self._points.points.grad
        assert noisy is not None
        # The mechanism divides sums by the expected batch; a stack is no sum.
        pulled = noisy * work.steps.mechanism.sampling.expected_batch_size
        others = self._made() if transport.debias else points
        loss = (points * pulled).sum()
        if transport.debias:
            among = self._distance(points, others).sum()
            loss = loss - transport.debias * math.sqrt(transport.each) * among
        self._adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        total = work.most or work.steps.mechanism.steps
        for group in self._adam.param_groups:
            group["lr"] = transport.rate * _cosine(self.steps_taken / total)
        self._adam.step()
        self._average.update(self.generator, self.steps_taken)

    def finish(self) -> nn.Module:
        """The generator with its averaged weights, in evaluation mode, on the CPU."""
        self._average.copy_to(self.generator)
        return self.generator.eval().cpu()

    def save(self, folder: Path | str) -> None:
        """Writes a checkpoint."""
        settings, flat = self._kept.packed()
        self._loop.save(folder, tensors=flat, values={"adam": settings})

    def resume(self, folder: Path | str) -> None:
        """Continues from a checkpoint, before the first step."""
        values, flat = self._loop.resume(folder)
        self._kept.unpack(values["adam"], flat)

    def close(self) -> None:
        """Lets go of the checkpoint's folder."""
        self._loop.close()

    def _made(self) -> Tensor:
        """(K, m, d) frequencies of new images of every class."""
        made = self._work.architecture.images(self.generator, self._labels, self._draws)
        found: Tensor = self._frequencies(made)
        return found.view(-1, self._transport.each, found.shape[1])

    def _pull(self, generated: Tensor, real: Tensor, weights: Tensor) -> Tensor:
        """Twice the gradient of the transport at the generated points of each class.

        Times the root of their number, so that a bound means the same for few and for many.
        """
        each = generated.shape[1]
        equal = generated.new_full(generated.shape[:2], 1 / each)
        with torch.enable_grad():
            at = generated.detach().requires_grad_()
            distances = self._distance(equal, at, weights, real)
            (found,) = torch.autograd.grad(distances.sum(), [at])
        return 2 * math.sqrt(each) * found


def _room(work: Work, classes: int) -> int:
    """Records of a class that a step looks at: all, if the classes are about equally common."""
    expected = work.steps.mechanism.sampling.expected_batch_size / classes
    return math.ceil(expected + 5 * math.sqrt(expected) + 3)


def divergence(blur: float) -> Callable[..., Tensor]:
    """Entropic transport between clouds of points, at half the squared distance.

    Of several pairs of clouds at once, each by itself: the number of iterations is fixed by the
    public diameter of all points, which is that of pixels in [0, 1].

    Args:
        blur: The square root of the entropy's weight.

    Raises:
        MissingExtraError: If geomloss is not installed.
    """
    try:
        from geomloss import SamplesLoss
    except ImportError:
        raise MissingExtraError("geomloss", "transport", "generators.sinkhorn") from None
    found: Callable[..., Tensor] = SamplesLoss(
        "sinkhorn",
        p=2,
        blur=blur,
        diameter=1.0,
        scaling=_SCALING,
        debias=False,
        backend="tensorized",
    )
    return found


def _cosine(part: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * min(1.0, part)))


def _no_loss(*_: Any) -> Tensor:
    raise AssertionError("stacks have no loss of single records")
