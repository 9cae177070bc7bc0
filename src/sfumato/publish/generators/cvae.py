"""``generators.cvae``: a conditional variational autoencoder trained by DP-SGD.

Encoder and decoder are trained together by noisy sums of clipped per-example gradients; the decoder
is published, with the shares of the classes. Labels of drawn images come from shares that are
declared public or paid for, never from the private labels.

Source: generative.md 3.5 (DP-CVAE), whose reference code draws labels from the real loader.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sfumato.publish import checks
from sfumato.publish.generators.gradient_trained import GradientTrained
from sfumato.publish.generators.work import Work
from sfumato.registry import method

if TYPE_CHECKING:
    from torch import nn

    from sfumato.data import ImageSchema
    from sfumato.learn.clipping import Clipping
    from sfumato.publish.room import Part


@method("generators.cvae")
@dataclass(frozen=True)
class Cvae(GradientTrained):
    """A decoder of labelled images, trained with its encoder by DP-SGD.

    Args:
        learning_rate: Of Adam on the noisy mean gradient.
        divergence: Weight of the posterior's divergence from the prior. Above 1, and with few
            latent variables, the class is left to the label: under noise an autoencoder else keeps
            it in the latent, and draws pictures of other classes than it is asked for.
        encoder_width: Channels of the encoder's first map.
        encoder_hidden: Width of the encoder's dense layer.

    The other settings are :class:`GradientTrained`'s.

    Guaranteed: ``Central``, (epsilon, delta) for adding or removing one record.
    """

    max_grad_norm: float = 0.1
    latent: int = 4
    learning_rate: float = 2e-3
    divergence: float = 5.0
    encoder_width: int = 8
    encoder_hidden: int = 100

    source: ClassVar[str] = "Kingma, Welling 2014, by DP-SGD (Abadi et al. 2016)"
    chosen_on: ClassVar[tuple[str, ...]] = ("MNIST",)
    generator_norm: ClassVar[str] = "group"

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.number("learning_rate", self.learning_rate, 0, closed=False)
        checks.number("divergence", self.divergence, 0)
        for name in ("encoder_width", "encoder_hidden"):
            checks.whole(name, getattr(self, name), 1)

    @property
    def clipping(self) -> Clipping:
        """Every gradient to about the bound: the scale of the loss does not matter."""
        from sfumato.learn.clipping import Automatic

        return Automatic(self.max_grad_norm)

    def certain(self, facts: ImageSchema) -> Iterator[Part]:
        """Encoder and decoder, and what the decoder draws."""
        from sfumato.publish.generators import variational

        yield from super().certain(facts)
        made = self.architecture(facts)
        yield variational.weights(made, self.encoder_width, self.encoder_hidden)

    def train(self, work: Work) -> nn.Module:
        """Encoder and decoder together; the decoder is returned."""
        import torch

        from sfumato.publish.generators import variational

        coder = variational.build(
            work.architecture, self.encoder_width, self.encoder_hidden, work.seeds["weights"]
        ).to(work.device)
        variational.train(
            coder,
            torch.optim.Adam(coder.parameters(), self.learning_rate),
            self.divergence,
            self.averaging,
            work,
        )
        return coder.decoder.eval().cpu()
