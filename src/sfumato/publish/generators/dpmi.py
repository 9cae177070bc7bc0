"""``generators.dpmi``: private images as codes of a public generator, and a private GAN of codes.

Each private image is inverted into a public generator's latent space, by itself; the budget is
spent on a small GAN of the codes alone, whose critic is trained by DP-SGD. What is published makes
codes and decodes them. So what images look like is public, and what is learnt of the private ones
is which of these looks they have.

It would break by anything in the inversion that two images share: batch statistics, codes scaled by
the private mean and spread, a stopping rule or a public generator chosen by private results. None
of that is here: layers are normalised within an image, steps and radius are public numbers.

Source: Chen, Cheung, Chuah, Ozonoff, WIFS 2021 (arXiv 2201.03139); generative.md 3.12.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

from sfumato.data.addresses import named
from sfumato.data.facts import Fact
from sfumato.errors import InputError
from sfumato.publish import checks, memory, room
from sfumato.publish.generators.gradient_trained import GradientTrained
from sfumato.publish.generators.networks import SIZES, Architecture
from sfumato.publish.generators.step_run import Run
from sfumato.publish.generators.work import Work
from sfumato.registry import method

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sfumato.data import ImageSchema
    from sfumato.privacy.budget import Budget
    from sfumato.publish.generators.codes import CodeArchitecture
    from sfumato.publish.generators.variational import Autoencoder
    from sfumato.publish.method import Calibrated
    from sfumato.publish.room import Part

PROCEDURES = ("drawings", "silhouettes")
_PUBLIC_SEED = 20_21


@method("generators.dpmi")
@dataclass(frozen=True)
class Dpmi(GradientTrained):
    """A generator of labelled images: a private GAN of codes, and a public decoder of them.

    Args:
        public: The public images: ``"drawings"`` or ``"silhouettes"``, which a procedure makes, or
            a path or ``dataset:NAME/SPLIT``. Nothing protects the people in them.
        public_images: How many of them are used.
        public_epochs: Passes over them.
        code: Coordinates of a code.
        divergence: Weight of the public codes' divergence from a normal distribution.
        decoder_hidden: Width of the public decoder's dense layer.
        inversion_steps: Gradient steps on an image's own code, after the encoder's guess.
        inversion_rate: Of their Adam.
        critic_rate: Learning rate of the critic.
        generator_rate: Learning rate of the generator of codes.
        critic_steps: Private steps of the critic before each turn of the generator.
        generator_steps: Steps of the generator in a turn; they are free.
        batch: Generated codes a step.
        critic_hidden: Width of the critic's layers.

    ``width`` is the decoder's, ``hidden`` that of the generator of codes. The other settings are
    :class:`GradientTrained`'s.

    Guaranteed: ``Central``, (epsilon, delta) for adding or removing one record.
    """

    public: str = "drawings"
    public_images: int = 10_000
    public_epochs: int = 4
    code: int = 24
    divergence: float = 0.3
    decoder_hidden: int = 200
    inversion_steps: int = 5
    inversion_rate: float = 0.05
    critic_rate: float = 1e-3
    generator_rate: float = 1e-3
    critic_steps: int = 10
    generator_steps: int = 10
    batch: int = 256
    critic_hidden: int = 96

    source: ClassVar[str] = "Chen et al., DPMI, WIFS 2021 (arXiv 2201.03139)"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.public, str) or not self.public:
            raise InputError(
                f"public is {self.public!r}",
                f"Give {' or '.join(PROCEDURES)}, a path, or dataset:NAME.",
            )
        for name in ("inversion_rate", "critic_rate", "generator_rate"):
            checks.number(name, getattr(self, name), 0, closed=False)
        checks.number("divergence", self.divergence, 0)
        checks.whole("inversion_steps", self.inversion_steps, 0)
        for name in (
            "public_images",
            "public_epochs",
            "code",
            "decoder_hidden",
            "critic_steps",
            "generator_steps",
            "critic_hidden",
        ):
            checks.whole(name, getattr(self, name), 1)
        checks.whole("batch", self.batch, 2)
        if not self.inversion_steps:
            checks.idle(self, ("inversion_rate",), "inversion_steps is 0")

    @property
    def public_data(self) -> str | None:
        """Where the public images are, as other methods call it; None where they are made up.

        What is private is refused there, and of a path a card has the name alone.
        """
        return None if self.public in PROCEDURES else self.public

    def calibrate(self, budget: Budget, facts: ImageSchema) -> Calibrated:
        """See :class:`GradientTrained`; the public images are opened here.

        Raises:
            InputError: As there, or if the public images cannot be read or have another shape.
        """
        made = super().calibrate(budget, facts)
        room.check(self, self.certain(facts))  # before the public images are made
        images = _public(self.public, self.public_images, facts.shape)
        fact = Fact("public images", {"name": self.public, "records": len(images)})
        if self.public not in PROCEDURES:
            from sfumato.learn.pate.pool import Pool

            fact = Pool(self.public, images).fact
        said = f"The public images ({named(self.public)}) are not protected at all."
        return replace(made, public=(*made.public, fact), caveats=(*made.caveats, said))

    def architecture(self, facts: ImageSchema) -> CodeArchitecture:  # type: ignore[override]
        """Of the published generator."""
        from sfumato.publish.generators.codes import CodeArchitecture

        return CodeArchitecture(
            facts.shape,
            len(facts.classes),
            self.latent,
            self.hidden,
            self.code,
            self.decoder_hidden,
            self.width,
        )

    def holds(self, facts: ImageSchema) -> Mapping[str, int]:
        """The public images, as they are and as they are trained on."""
        return {"public images": 2 * self.public_images * math.prod(facts.shape) * memory.FLOAT}

    def certain(self, facts: ImageSchema) -> Iterator[Part]:
        """The private and the public networks, public images, and what is drawn."""
        from sfumato.publish.generators.codes import CodeCritic

        sizes = (*SIZES, "code", "decoder_hidden")
        made, classes = self.architecture(facts), len(facts.classes)
        yield room.network("the generator's weights", sizes, made.build)
        yield room.network(
            "the critic's weights",
            ("code", "critic_hidden"),
            lambda: CodeCritic(self.code, classes, self.critic_hidden),
            room.TRAINED,
        )
        codes = self.batch * self.code * memory.FLOAT
        yield room.Part("the generated codes of a step", ("batch", "code"), codes)
        yield room.images("the public images", ("public_images",), self.public_images, facts)
        yield from room.released(self.samples, facts)

    def prepare(self, run: Run, seeds: Mapping[str, int]) -> Autoencoder:
        """The public generator, trained before time is taken or a private image looked at."""
        return self._autoencoder(run.facts.shape, seeds["weights"])

    def train(self, work: Work) -> nn.Module:
        """The generator of codes, trained against a private critic of them; and the decoder."""
        import torch

        from sfumato.publish.generators.adversarial import Adversarial, Contest
        from sfumato.publish.generators.codes import CodeCritic, InCodes, invert, usual_radius
        from sfumato.publish.generators.fitting import fit

        architecture: Any = work.architecture
        coder: Autoencoder = work.prepared
        codes = invert(
            coder, work.images, self.inversion_steps, self.inversion_rate, usual_radius(self.code)
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(work.seeds["weights"])
            module = architecture.build()
            critic = CodeCritic(self.code, architecture.classes, self.critic_hidden)
        contest = Contest(
            self.critic_rate,
            self.generator_rate,
            self.critic_steps,
            self.generator_steps,
            self.batch,
            self.averaging,
        )
        inside: Any = InCodes(architecture)
        contestants = replace(work, architecture=inside, images=codes)
        sides = Adversarial(critic, module["codes"], contest, contestants)
        fit(sides, contestants)
        module["codes"] = sides.finish()
        module["decoder"].load_state_dict(coder.decoder.state_dict())
        finished: nn.Module = module.eval()
        return finished

    def _autoencoder(self, shape: tuple[int, int, int], seed: int) -> Autoencoder:
        decoder = Architecture(shape, 0, self.code, self.decoder_hidden, self.width, "group")
        return _autoencoder(
            self.public, self.public_images, decoder, self.public_epochs, self.divergence, seed
        )


@lru_cache(maxsize=2)
def _public(name: str, count: int, shape: tuple[int, int, int]) -> Tensor:
    """The public images."""
    from sfumato.data import ImageSchema
    from sfumato.learn.drawings import draw
    from sfumato.learn.pate.pool import load_pool
    from sfumato.learn.silhouettes import silhouettes

    if name in PROCEDURES:
        return (draw if name == "drawings" else silhouettes)(count, shape, _PUBLIC_SEED)
    return load_pool(name, ImageSchema(*shape, ("any",)), count).inputs


@lru_cache(maxsize=2)
def _autoencoder(
    public: str, count: int, decoder: Architecture, epochs: int, divergence: float, seed: int
) -> Autoencoder:
    """The public generator and its encoder: functions of public images and settings alone."""
    from sfumato.publish.generators.codes import public_autoencoder

    images = _public(public, count, decoder.shape)
    return public_autoencoder(images, decoder, epochs, divergence, seed)
