"""``generators.augm``: an autoencoder trained by DP-SGD, and what it makes of images of nobody.

DP-AuGM shares a private autoencoder; who has public labelled images sends them through it and
learns from what comes out. The weights are what is published. The first sample is made of the
images of ``public_data``, or, where there are none, of procedural strokes with classes in the paid
or public shares. Private images are never sent through: what a network makes of one image is a
function of that image, whatever budget the network was trained under.

Source: Chen et al. 2018 (arXiv 1812.02274); generative.md 3.3.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sfumato.data.addresses import named
from sfumato.data.facts import Fact
from sfumato.errors import InputError
from sfumato.publish import checks, disk, room
from sfumato.publish.generators.coded import Coded, check_like, sent
from sfumato.publish.generators.gradient_trained import (
    PUBLIC,
    GradientTrained,
    publish_generator,
)
from sfumato.publish.generators.networks import SIZES
from sfumato.publish.generators.work import Work
from sfumato.registry import method

if TYPE_CHECKING:
    from torch import nn

    from sfumato.data import ImageSchema, ImageSet
    from sfumato.learn.clipping import Clipping
    from sfumato.publish.room import Part
    from sfumato.release.release import Artefact


@method("generators.augm")
@dataclass(frozen=True)
class Augm(GradientTrained):
    """A private autoencoder, and what it makes of public or procedural images.

    Args:
        learning_rate: Of Adam on the noisy mean gradient.
        encoder_width: Channels of the encoder's first map.
        encoder_hidden: Width of the encoder's dense layer.
        public_data: Labelled images of the same shape and classes that nobody protects, a path or
            ``dataset:NAME/SPLIT``: the first sample is what is made of them.

    The other settings are :class:`GradientTrained`'s; ``latent`` are the numbers of the code.

    Guaranteed: ``Central``, (epsilon, delta) for adding or removing one private record. Public
    images are not protected at all.
    """

    max_grad_norm: float = 0.1
    latent: int = 4
    learning_rate: float = 2e-3
    encoder_width: int = 8
    encoder_hidden: int = 100
    public_data: str | None = None

    source: ClassVar[str] = "Chen et al. 2018 (arXiv 1812.02274), by DP-SGD (Abadi et al. 2016)"
    generator_norm: ClassVar[str] = "group"

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.number("learning_rate", self.learning_rate, 0, closed=False)
        for name in ("encoder_width", "encoder_hidden"):
            checks.whole(name, getattr(self, name), 1)
        if self.public_data is None:
            return
        if not isinstance(self.public_data, str):
            raise InputError(f"public_data is {self.public_data!r}", "Give a path or dataset:NAME.")
        if self.samples is not None:
            raise InputError(
                "samples and public_data were both given",
                "One image is made of each public one: leave samples out.",
            )

    @property
    def clipping(self) -> Clipping:
        """Every gradient to about the bound: the scale of the loss does not matter."""
        from sfumato.learn.clipping import Automatic

        return Automatic(self.max_grad_norm)

    def architecture(self, facts: ImageSchema) -> Coded:
        """Of encoder and decoder, which are both published."""
        inner = super().architecture(facts)
        return Coded(
            **vars(inner), encoder_width=self.encoder_width, encoder_hidden=self.encoder_hidden
        )

    def prepared(self, facts: ImageSchema) -> tuple[ImageSet | None, tuple[Fact, ...]]:
        """The public images, if there are any."""
        if self.public_data is None:
            return None, ()
        found = public_images(self.public_data, facts)
        digest = hashlib.sha256(np.ascontiguousarray(found.images).tobytes())
        digest.update(np.ascontiguousarray(found.labels).tobytes())
        name, sha256 = named(self.public_data), digest.hexdigest()
        value = {"name": name, "records": len(found), "sha256": sha256}
        return found, (Fact(PUBLIC, value, "public: declared by the custodian"),)

    def planned(self, steps: int, prepared: ImageSet | None) -> dict[str, Any]:
        """How many images are released."""
        return {} if prepared is None else {"samples": len(prepared)}

    def certain(self, facts: ImageSchema) -> Iterator[Part]:
        """Encoder and decoder, and what they make."""
        sizes = (*SIZES, "encoder_width", "encoder_hidden")
        build = self.architecture(facts).build
        yield room.network("the autoencoder's weights", sizes, build, room.TRAINED)
        yield from room.released(self.samples, facts)

    def train(self, work: Work) -> nn.Module:
        """Encoder and decoder together."""
        import torch
        from torch.nn import functional

        from sfumato.learn.trainer import PrivateTrainer
        from sfumato.publish.generators.fitting import fit
        from sfumato.publish.generators.variational import cross_entropy

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(work.seeds["weights"])
            coder: nn.Module = work.architecture.build().to(work.device)
        classes = functional.one_hot(work.labels, work.architecture.classes).float()
        trainer = PrivateTrainer(
            coder,
            cross_entropy,
            torch.optim.Adam(coder.parameters(), self.learning_rate),
            work.steps.mechanism,
            ((work.images, classes), work.images),
            averaging=self.averaging,
            source=work.source,
        )
        fit(trainer, work)
        assert trainer.average is not None
        trainer.average.copy_to(coder)
        return coder.eval().cpu()

    def stores(self, facts: ImageSchema, records: int, prepared: Any) -> disk.Stored:
        """As many images as there are public ones, where there are."""
        if prepared is None:
            return super().stores(facts, records, None)
        weights = disk.weights(self.architecture(facts).build)
        return disk.stored(len(prepared), facts, weights=weights)

    def publish(self, trained: nn.Module, work: Work, facts: ImageSchema) -> Artefact:
        """The autoencoder, with what it makes of the public images, or of procedural ones."""
        from dataclasses import replace

        from sfumato.data import ImageSet

        public: ImageSet | None = work.prepared
        if public is None:
            return super().publish(trained, work, facts)
        artefact = publish_generator(trained, work, facts, 1)  # one, in place of which come others
        images = sent(work.architecture, trained, public)
        return replace(artefact, content=ImageSet.from_arrays(images, public.labels, facts.classes))


def public_images(name: str, facts: ImageSchema) -> ImageSet:
    """Labelled images that nobody protects.

    Raises:
        InputError: If they cannot be read, or are not like the private ones.
    """
    from pathlib import Path

    from sfumato.data import ImageSet
    from sfumato.data.load import load_data

    own = name.startswith("dataset:") or Path(name).expanduser().is_dir()
    found = load_data(name, schema=None if own else facts.with_records(None))
    if not isinstance(found, ImageSet):
        raise InputError(f"the public images {name!r} are a table", "Give images.")
    check_like(found, facts.shape, facts.classes)
    return found
