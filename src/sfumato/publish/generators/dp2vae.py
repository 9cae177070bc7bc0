"""``generators.dp2vae``: an autoencoder in two stages, both of them private.

First encoder and decoder are trained together; then the encoder is frozen and a new decoder is
trained alone, by steps whose noise falls on the decoder's weights only. What is published is the
second decoder. Both stages draw from the private images, by the same sampler and the same noise, so
the event is that of all steps.

DP2-VAE is often told otherwise: the encoder is trained on the private images *without* noise,
because it is not published. That is not private. In the second stage every image's gradient goes
through the encoder, which one image more or less changes: all gradients of a batch move, and the
sum by up to twice the bound for each of them. There is no setting for it here. The encoder is
private, or it is trained on images that nobody protects (``public_data``).

Source: Jiang et al. 2022 (arXiv 2208.03409), as generative.md 3.6 reads it (A).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from sfumato.errors import InputError
from sfumato.publish import checks
from sfumato.publish.generators.gradient_trained import GradientTrained
from sfumato.publish.generators.work import Work
from sfumato.registry import method

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import nn

    from sfumato.data import ImageSchema
    from sfumato.data.facts import Fact
    from sfumato.learn.clipping import Clipping
    from sfumato.learn.pate.pool import Pool
    from sfumato.privacy.budget import Budget
    from sfumato.publish.generators.networks import Architecture
    from sfumato.publish.generators.step_run import Run
    from sfumato.publish.generators.variational import Autoencoder
    from sfumato.publish.method import Calibrated
    from sfumato.publish.room import Part

_MOST_PUBLIC = 60_000


@method("generators.dp2vae")
@dataclass(frozen=True)
class Dp2Vae(GradientTrained):
    """A decoder trained by DP-SGD through an encoder that was private before, or is public.

    Args:
        learning_rate: Of Adam on the noisy mean gradient.
        divergence: Weight of the posterior's divergence from the prior.
        encoder_width: Channels of the encoder's first map.
        encoder_hidden: Width of the encoder's dense layer.
        encoder_share: Share of the private steps that train the encoder.
        public_data: Images, of the same shape, that nobody protects: a path or
            ``dataset:NAME/SPLIT``. The encoder is then trained on them, without noise, and all
            private steps are the decoder's.
        public_epochs: How often it sees each of them.

    The other settings are :class:`GradientTrained`'s.

    Guaranteed: ``Central``, (epsilon, delta) for adding or removing one private record.
    """

    max_grad_norm: float = 0.1
    latent: int = 4
    learning_rate: float = 2e-3
    divergence: float = 5.0
    encoder_width: int = 8
    encoder_hidden: int = 100
    encoder_share: float = 0.3
    public_data: str | None = None
    public_epochs: float = 3

    source: ClassVar[str] = "Jiang et al. 2022 (arXiv 2208.03409), both stages by DP-SGD"
    chosen_on: ClassVar[tuple[str, ...]] = ("MNIST",)
    generator_norm: ClassVar[str] = "group"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("learning_rate", "public_epochs"):
            checks.number(name, getattr(self, name), 0, closed=False)
        checks.number("divergence", self.divergence, 0)
        checks.number("encoder_share", self.encoder_share, 0, 1 - 1e-9, closed=False)
        for name in ("encoder_width", "encoder_hidden"):
            checks.whole(name, getattr(self, name), 1)
        if self.public_data is None:
            if self.public_epochs != type(self).public_epochs:
                raise InputError("public_epochs was given without public_data", "Give both.")
            return
        if not isinstance(self.public_data, str):
            raise InputError(f"public_data is {self.public_data!r}", "Give a path or dataset:NAME.")
        if self.encoder_share != type(self).encoder_share:
            raise InputError(
                "encoder_share was given, and the encoder learns from public_data",
                "All private steps are then the decoder's: leave it out.",
            )

    @property
    def clipping(self) -> Clipping:
        """Every gradient to about the bound: the scale of the loss does not matter."""
        from sfumato.learn.clipping import Automatic

        return Automatic(self.max_grad_norm)

    def prepared(self, facts: ImageSchema) -> tuple[Pool | None, tuple[Fact, ...]]:
        """What the encoder learns from, if it is public."""
        if self.public_data is None:
            return None, ()
        from sfumato.learn.pate.pool import load_pool

        pool = load_pool(self.public_data, facts, _MOST_PUBLIC)
        return pool, (pool.fact,)

    def calibrate(self, budget: Budget, facts: ImageSchema) -> Calibrated:
        """As :meth:`GradientTrained.calibrate`.

        Raises:
            InputError: Or if there is a single step for two stages.
        """
        made = super().calibrate(budget, facts)
        if made.plan["steps"] < 2 and self.public_data is None:
            raise InputError(
                "there is one step, and two stages", "Give more epochs, or smaller batches."
            )
        return made

    def planned(self, steps: int, prepared: Pool | None) -> dict[str, Any]:
        """How many of the private steps are the encoder's."""
        return {"encoder_steps": self.encoder_steps(steps)}

    def encoder_steps(self, steps: int) -> int:
        """Of so many private steps; one at least is the decoder's."""
        if self.public_data is not None:
            return 0
        return min(steps - 1, max(1, round(self.encoder_share * steps)))

    def prepare(self, run: Run, seeds: Mapping[str, int]) -> nn.Module | None:
        """The public encoder, if it is to be one: no part of the time that a private step takes."""
        if run.prepared is None:
            return None
        from sfumato.publish.generators import variational

        first = self._first(run.architecture, seeds, run.device)
        encoder = variational.Blind(first.encoder)
        first.encoder = encoder
        variational.train_in_public(
            first,
            run.prepared.inputs,
            self.learning_rate,
            self.divergence,
            self.public_epochs,
            seeds["training"],
        )
        return encoder

    def certain(self, facts: ImageSchema) -> Iterator[Part]:
        """Encoder and decoder, and what the decoder draws."""
        from sfumato.publish.generators import variational

        yield from super().certain(facts)
        made = self.architecture(facts)
        yield variational.weights(made, self.encoder_width, self.encoder_hidden)

    def train(self, work: Work) -> nn.Module:
        """Encoder, then decoder; the decoder is returned."""
        import torch

        from sfumato.publish.generators import variational

        steps = work.most or work.steps.mechanism.steps
        of_encoder = self.encoder_steps(steps)
        encoder: nn.Module
        if work.prepared is not None:
            encoder = work.prepared
        else:
            first = self._first(work.architecture, work.seeds, work.device)
            encoder = first.encoder
            if of_encoder:
                self._stage(first, _part(work, "encoder", of_encoder, 0))
        encoder.requires_grad_(False)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(work.seeds["weights"] + 1)
            decoder: nn.Module = work.architecture.build()
        second = variational.Autoencoder(encoder, decoder, work.architecture).to(work.device)
        self._stage(second, _part(work, "decoder", steps - of_encoder, of_encoder))
        return decoder.eval().cpu()

    def _first(
        self, architecture: Architecture, seeds: Mapping[str, int], device: str
    ) -> Autoencoder:
        """Encoder and decoder before the first stage."""
        from sfumato.publish.generators import variational

        return variational.build(
            architecture, self.encoder_width, self.encoder_hidden, seeds["weights"]
        ).to(device)

    def _stage(self, coder: Autoencoder, work: Work) -> None:
        """Trains what is not frozen, in place."""
        import torch

        from sfumato.publish.generators import variational

        trainable = [p for p in coder.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(trainable, self.learning_rate)
        variational.train(coder, optimizer, self.divergence, self.averaging, work)


def _part(work: Work, name: str, steps: int, before: int) -> Work:
    """A stage of so many of the work's steps, with checkpoints and random inputs of its own."""
    folder = work.workspace
    if folder is not None:
        folder = folder / name
        folder.mkdir(mode=0o700, exist_ok=True)
    mechanism = replace(work.steps.mechanism, steps=steps)
    total = before + steps
    return replace(
        work,
        steps=replace(work.steps, mechanism=mechanism),
        seeds={**work.seeds, "training": work.seeds["training"] + before},
        workspace=folder,
        most=None,
        progress=lambda done, _: work.progress(before + done, max(total, before + done)),
    )
