"""``generators.vaegm``: a variational autoencoder for each class, by DP-SGD.

DP-VaeGM trains one autoencoder a class on that class's records. A record is in one class, so the
guarantee is that of one training. Published, each training samples a class at its batch size over
the class's own number of records, which nobody pays for. Here all classes are sampled at one public
rate and trained in one network of blocks that share no weight (:mod:`.per_class`).

Source: Chen et al. 2018 (arXiv 1812.02274); generative.md 3.4.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from sfumato.errors import InputError
from sfumato.publish import checks, room
from sfumato.publish.generators.gradient_trained import GradientTrained
from sfumato.publish.generators.work import Work
from sfumato.registry import method

if TYPE_CHECKING:
    from torch import nn

    from sfumato.data import ImageSchema
    from sfumato.learn.clipping import Clipping
    from sfumato.publish.generators.networks import Architecture
    from sfumato.publish.generators.variational import Autoencoder
    from sfumato.publish.room import Part


@method("generators.vaegm")
@dataclass(frozen=True)
class VaeGm(GradientTrained):
    """A decoder for each class, each trained with an encoder of its own by DP-SGD.

    Args:
        learning_rate: Of Adam on the noisy mean gradient.
        divergence: Weight of the posterior's divergence from the prior.
        encoder_hidden: Hidden units of each class's encoder; ``hidden`` are those of its decoder.

    The other settings are :class:`GradientTrained`'s, of which ``width`` has no meaning here.

    Guaranteed: ``Central``, (epsilon, delta) for adding or removing one record.
    """

    max_grad_norm: float = 0.1
    latent: int = 4
    hidden: int = 32
    learning_rate: float = 2e-3
    divergence: float = 2.0
    encoder_hidden: int = 32

    source: ClassVar[str] = "Chen et al. 2018 (arXiv 1812.02274), by DP-SGD (Abadi et al. 2016)"
    chosen_on: ClassVar[tuple[str, ...]] = ("MNIST",)

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.number("learning_rate", self.learning_rate, 0, closed=False)
        checks.number("divergence", self.divergence, 0)
        checks.whole("encoder_hidden", self.encoder_hidden, 1)
        if self.width != GradientTrained.width:
            raise InputError(
                "width was given, and the networks of the classes are dense", "Set hidden instead."
            )

    @property
    def clipping(self) -> Clipping:
        """Every gradient to about the bound: the scale of the loss does not matter."""
        from sfumato.learn.clipping import Automatic

        return Automatic(self.max_grad_norm)

    def architecture(self, facts: ImageSchema) -> Architecture:
        """Of the published decoders."""
        from dataclasses import replace

        return replace(super().architecture(facts), form="one a class")

    def certain(self, facts: ImageSchema) -> Iterator[Part]:
        """All classes' encoders and decoders, and what is drawn."""
        sizes = ("latent", "hidden", "encoder_hidden")
        build = partial(self._coder, self.architecture(facts))
        yield room.network("the autoencoders' weights", sizes, build, room.TRAINED)
        yield from room.released(self.samples, facts)

    def train(self, work: Work) -> nn.Module:
        """All classes' autoencoders; the decoders are returned."""
        import torch

        from sfumato.publish.generators import variational

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(work.seeds["weights"])
            coder = self._coder(work.architecture).to(work.device)
        variational.train(
            coder,
            torch.optim.Adam(coder.parameters(), self.learning_rate),
            self.divergence,
            self.averaging,
            work,
        )
        return coder.decoder.eval().cpu()

    def _coder(self, made: Architecture) -> Autoencoder:
        """Encoders and decoders with random weights."""
        from sfumato.publish.generators import variational
        from sfumato.publish.generators.per_class import Encoder

        encoder = Encoder(made.shape, made.classes, made.latent, self.encoder_hidden)
        return variational.Autoencoder(encoder, made.build(), made)
