"""``generators.sinkhorn``: a generator drawn towards private images by entropic optimal transport.

What is guaranteed, and by what: at each step the gradient at the generated images of a class is a
function of the sampled records of that class, clipped as a whole
(:mod:`sfumato.learn.class_stacks`). One record more or less moves one such stack, and by its
diameter at most, twice the bound; the noise is for that distance. The rest of the generator's
gradient touches nothing private. Steps are Poisson sampled. How many images are generated is a
setting: the published code generates as many as were sampled, which tells the size of the private
sample.

Source: Cao, Bie, Vahdat, Fidler, Kreis 2021 (arXiv 2111.01177); generative.md 3.11.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sfumato.publish import checks, room
from sfumato.publish.generators.gradient_trained import GradientTrained
from sfumato.publish.generators.work import Work
from sfumato.registry import method

if TYPE_CHECKING:
    from torch import nn

    from sfumato.data import ImageSchema
    from sfumato.learn.clipping import Clipping
    from sfumato.privacy.budget import Budget
    from sfumato.publish.method import Calibrated
    from sfumato.publish.room import Part


@method("generators.sinkhorn")
@dataclass(frozen=True)
class Sinkhorn(GradientTrained):
    """A generator of labelled images, trained by noisy gradients of a Sinkhorn divergence.

    Args:
        learning_rate: Of the generator's Adam.
        images_per_class: Generated images of each class and step.
        coefficients: The most low frequencies in which images are compared; each has noise.
        blur: Of the transport: the root-mean-square difference of pixels below which images count
            as the same.
        debias: Weight of the transport among generated images, which keeps them apart; 0 for none.

    ``max_grad_norm`` bounds the gradient at all generated images of a class: twice the
    root-mean-square difference of pixels between them and where they are drawn to.

    The other settings are :class:`GradientTrained`'s.

    Guaranteed: ``Central``, (epsilon, delta) for adding or removing one record.
    """

    epochs: float = 15
    expected_batch_size: int | None = 50
    max_grad_norm: float = 0.4
    learning_rate: float = 1e-3
    images_per_class: int = 8
    coefficients: int = 100
    blur: float = 0.05
    debias: float = 1.0
    averaging: float = 0.999

    source: ClassVar[str] = "Cao, Bie, Vahdat, Fidler, Kreis, NeurIPS 2021 (arXiv 2111.01177)"
    chosen_on: ClassVar[tuple[str, ...]] = ("MNIST", "Fashion-MNIST")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("learning_rate", "blur"):
            checks.number(name, getattr(self, name), 0, closed=False)
        checks.number("debias", self.debias, 0)
        for name in ("images_per_class", "coefficients"):
            checks.whole(name, getattr(self, name), 1)

    @property
    def clipping(self) -> Clipping:
        """The bound on the stack of a class."""
        from sfumato.learn.clipping import Stacked

        return Stacked(self.max_grad_norm)

    def calibrate(self, budget: Budget, facts: ImageSchema) -> Calibrated:
        """See :meth:`StepTrained.calibrate`.

        Raises:
            MissingExtraError: If the package for transport is not installed.
        """
        from sfumato.publish.generators.transporting import divergence

        divergence(self.blur)  # before anything is spent
        return super().calibrate(budget, facts)

    def certain(self, facts: ImageSchema) -> Iterator[Part]:
        """Generator, and the generated images of a step."""
        yield from super().certain(facts)
        count = self.images_per_class * len(facts.classes)
        yield room.images("the generated images of a step", ("images_per_class",), count, facts)

    def train(self, work: Work) -> nn.Module:
        """The generator, step by step."""
        import torch

        from sfumato.publish.generators.fitting import fit
        from sfumato.publish.generators.transporting import Transport, Transported

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(work.seeds["weights"])
            generator = work.architecture.build()
        transport = Transport(
            self.learning_rate,
            self.images_per_class,
            self.coefficients,
            self.blur,
            self.debias,
            self.averaging,
        )
        transported = Transported(generator, transport, work)
        fit(transported, work)
        return transported.finish()
