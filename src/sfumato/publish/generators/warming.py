"""What a diffusion model starts from: noisy central images and a noisy random-feature embedding.

Both are single draws on all private images, composed with the steps that follow. All that is made
of them is free: a generator is trained on the embedding, and the diffusion model, without any noise
on its gradients, on that generator's images and on the central ones.

Source: Zhu et al. 2026 (FETA-Pro, arXiv 2601.06368) for the two together; here the central images
are divided by expected counts, and the embedding's norm is bounded in integers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sfumato.publish import rehearsal

if TYPE_CHECKING:
    from dp_accounting import DpEvent
    from torch import Tensor, nn

    from sfumato.data import ImageSchema, ImageSet
    from sfumato.learn.centres import Centres
    from sfumato.privacy.mechanisms import Gaussian
    from sfumato.publish.generators.denoiser import Denoiser
    from sfumato.publish.generators.embedding import NoisyEmbedding
    from sfumato.publish.generators.features import FourierFeatures
    from sfumato.publish.generators.lessons import Lesson
    from sfumato.publish.generators.work import Work
    from sfumato.publish.method import Progress


_FEW = 4  # steps of each kind that are taken to see how long they take


@dataclass(frozen=True)
class Measured:
    """The draws before the steps; see :class:`steps.FirstDraws`.

    Args:
        facts: Of the images.
        records: Their public number.
        centres: Central images, or None.
        noise: Of the embedding, or None.
        features: How many random features it has.
    """

    facts: ImageSchema
    records: int
    centres: Centres | None
    noise: Gaussian | None
    features: int

    @classmethod
    def calibrate(
        cls,
        facts: ImageSchema,
        records: int,
        mu: float,
        *,
        centre_share: float,
        parts: int,
        embedding_share: float,
        features: int,
    ) -> Measured | None:
        """Draws that cost their shares of a budget's ``mu``; None where both are 0."""
        from sfumato.learn.centres import Centres
        from sfumato.privacy.mechanisms import Gaussian
        from sfumato.publish.generators.features import STEP
        from sfumato.publish.generators.merf import CONTRIBUTION

        centres = noise = None
        if centre_share:
            centres = Centres(facts.shape, len(facts.classes), parts, 1 / (centre_share * mu))
        if embedding_share:
            noise = Gaussian(CONTRIBUTION / (embedding_share * mu), CONTRIBUTION, STEP)
        found = cls(facts, records, centres, noise, features)
        return found if centre_share or embedding_share else None

    @property
    def event(self) -> DpEvent:
        """Both draws."""
        from sfumato.privacy import events

        return events.compose(*(part.event for part in (self.centres, self.noise) if part))

    @property
    def plan(self) -> dict[str, Any]:
        """Their noise, as JSON values."""
        plan: dict[str, Any] = {}
        if self.centres is not None:
            plan["centres_noise_multiplier"] = self.centres.noise_multiplier
            plan["centres"] = self.centres.parts * self.centres.classes
        if self.noise is not None:
            plan["embedding_noise_multiplier"] = self.noise.stddev / self.noise.contribution
            plan["bandwidths"] = list(self.feature_map(0).bandwidths)
        return plan

    def feature_map(self, seed: int) -> FourierFeatures:
        """As ``generators.merf`` chooses it, from public facts and the noise."""
        from sfumato.publish.generators.merf import Merf

        assert self.noise is not None
        merf = Merf(features=self.features)
        return merf.feature_map(self.facts, self.noise.stddev / self.records, seed)

    def release(self, data: ImageSet, work: Work, progress: Progress) -> dict[str, Any]:
        """Draws both, as JSON values."""
        from sfumato.publish.generators.embedding import NoisyEmbedding

        drawn: dict[str, Any] = {}
        if self.centres is not None:
            found = self.centres.release(
                work.images, work.labels, self.records, work.prior, work.source
            )
            drawn["centres"] = found.tolist()
        if self.noise is not None:
            embedding = NoisyEmbedding.release(
                data,
                self.feature_map(work.seeds["weights"]),
                self.noise,
                self.records,
                work.source,
                lambda done: progress(done, self.records, "measuring the images"),
            )
            names = ("shares", "cosines", "sines")
            drawn["embedding"] = {name: getattr(embedding, name).tolist() for name in names}
            drawn["stddevs"] = [embedding.share_stddev, embedding.wave_stddev]
        return drawn

    def embedding(self, drawn: Mapping[str, Any]) -> NoisyEmbedding | None:
        """What :meth:`release` gave of it."""
        from sfumato.publish.generators.embedding import NoisyEmbedding

        if "embedding" not in drawn:
            return None
        parts = {name: np.asarray(values) for name, values in drawn["embedding"].items()}
        return NoisyEmbedding(
            **parts, share_stddev=drawn["stddevs"][0], wave_stddev=drawn["stddevs"][1]
        )


@dataclass(frozen=True)
class Warming:
    """How the model learns from the first draws; none of it matters to privacy.

    Args:
        steps: On images of the embedding's generator; a quarter as many, rounded up, on central
            images before.
        batch: Images a step.
        rate: Learning rate of Adam, falling to 0 as a cosine.
        pictures: Images that are drawn from the embedding's generator.
        generator_steps: That train it.
        dropout: Share of the images whose class is kept from the model.
        averaging: Decay of the average of the weights.
    """

    steps: int
    batch: int
    rate: float
    pictures: int
    generator_steps: int
    dropout: float
    averaging: float

    def shortened(self, part: float) -> Warming:
        """With so much of its steps, at least one of those it has."""
        steps, of_generator = (
            math.ceil(part * count) or min(count, 1) for count in (self.steps, self.generator_steps)
        )
        return replace(self, steps=steps, generator_steps=of_generator)

    @property
    def on_centres(self) -> int:
        """Steps on central images."""
        return -(-self.steps // 4)

    def lesson(
        self, number: int, pictures: Tensor, labels: Tensor, steps: int, seed: int
    ) -> Lesson:
        """So many steps on these pictures."""
        from sfumato.publish.generators.lessons import Lesson

        return Lesson(
            pictures,
            labels,
            steps,
            self.batch,
            self.rate,
            self.dropout,
            self.averaging,
            seed + 1 + number,
        )


def warmed(
    module: nn.Module,
    measured: Measured,
    drawn: Mapping[str, Any],
    warming: Warming,
    work: Work,
) -> None:
    """Trains a model in place on what the first draws give; no private image is at hand.

    Args:
        module: Of the architecture of ``work``.
        measured: What was drawn.
        drawn: What it gave.
        warming: See :class:`Warming`.
        work: Architecture, shares, seeds, device, and who is told of progress.
    """
    import torch

    from sfumato.publish.generators.lessons import kept, learn

    folder = work.workspace
    lessons = []
    if "centres" in drawn:
        centres = torch.tensor(drawn["centres"]).clamp(0, 1)
        labels = torch.arange(centres.shape[1]).repeat(len(centres))
        lessons.append((centres.flatten(0, 1), labels, warming.on_centres))
    embedding = measured.embedding(drawn)
    if embedding is not None:
        features = measured.feature_map(work.seeds["weights"])
        made = kept(
            folder and folder / "pictures",
            lambda: _of_embedding(embedding, features, warming, work),
        )
        lessons.append((made["pictures"].float() / 255, made["labels"], warming.steps))
    for number, (pictures, labels, steps) in enumerate(lessons):
        lesson = warming.lesson(number, pictures, labels, steps, work.seeds["training"])
        place = folder and folder / f"lesson-{number}"
        learn(module, work.architecture, lesson, work.progress, place)


def rehearsed(module: nn.Module, measured: Measured, warming: Warming, work: Work) -> float:
    """Seconds that a whole warm-up takes, by a few steps of each kind on made-up pictures.

    Args:
        module: As for :func:`warmed`; changed.
        measured: What is to be drawn; nothing is.
        warming: See :class:`Warming`.
        work: With no private image.
    """
    import torch

    from sfumato.publish.generators.embedding import NoisyEmbedding
    from sfumato.publish.generators.lessons import learn

    denoiser: Denoiser = work.architecture
    pictures = torch.rand(warming.batch, *denoiser.shape)
    labels = torch.arange(warming.batch) % denoiser.classes
    lesson = warming.lesson(0, pictures, labels, _FEW, work.seeds["training"])
    each = rehearsal.taken(lambda: learn(module, denoiser, lesson, work.progress)) / _FEW
    steps = warming.on_centres if measured.centres is not None else 0
    if measured.noise is None:
        return steps * each
    features = measured.feature_map(work.seeds["weights"])
    blank = np.zeros((denoiser.classes, features.pairs))
    equal = np.full(denoiser.classes, 1 / denoiser.classes)
    embedding = NoisyEmbedding(equal, blank, blank, 0.0, 0.0)
    few = replace(warming, generator_steps=_FEW, pictures=1)
    of_generator = rehearsal.taken(lambda: _of_embedding(embedding, features, few, work)) / _FEW
    return (steps + warming.steps) * each + warming.generator_steps * of_generator


def _of_embedding(
    embedding: NoisyEmbedding, features: FourierFeatures, warming: Warming, work: Work
) -> dict[str, Tensor]:
    """Images of a generator that was trained on the embedding, as bytes, and their classes."""
    import torch

    from sfumato.publish.generators.merf import Merf
    from sfumato.publish.generators.networks import Architecture
    from sfumato.publish.generators.training import Training, train

    denoiser: Denoiser = work.architecture
    merf = Merf()
    architecture = Architecture(
        denoiser.shape, denoiser.classes, merf.latent, merf.hidden, merf.width
    )
    module = train(
        embedding,
        features,
        architecture,
        Training(
            warming.generator_steps, merf.batch, merf.learning_rate, merf.frequencies_per_step
        ),
        seed=work.seeds["training"],
        device=work.device,
        progress=lambda done: None,
    )
    draws = torch.Generator().manual_seed(work.seeds["drawing"])
    labels = torch.arange(warming.pictures) % denoiser.classes
    with torch.no_grad():
        parts = [architecture.images(module, some, draws) for some in torch.split(labels, 500)]
    return {"pictures": (255 * torch.cat(parts)).round().byte(), "labels": labels}
