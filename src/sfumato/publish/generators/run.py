"""A calibrated run of ``generators.merf``: embedding, noise, training, drawing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.privacy.neighbours import Neighbours
from sfumato.publish import disk, memory, room
from sfumato.publish.generators.embedding import NoisyEmbedding
from sfumato.publish.generators.features import FourierFeatures
from sfumato.publish.generators.networks import SIZES, Architecture
from sfumato.publish.generators.sampling import publishable
from sfumato.publish.generators.training import Training, train
from sfumato.publish.method import Progress
from sfumato.publish.seeds import seeds_of
from sfumato.release.release import Artefact

if TYPE_CHECKING:
    from sfumato.data import ImageSchema, ImageSet
    from sfumato.privacy.mechanisms import Gaussian
    from sfumato.privacy.noise import NoiseSource
    from sfumato.publish.generators.merf import Merf
    from sfumato.publish.room import Part


@dataclass(frozen=True)
class Run:
    """Embedding, noise, training, drawing.

    Args:
        method: The public choices.
        facts: Of the images.
        records: The public number of images.
        noise: Of every coordinate of the sum.
        prior: (K,) public shares of the classes, or None.
        device: As torch names it.
    """

    method: Merf
    facts: ImageSchema
    records: int
    noise: Gaussian
    prior: NDArray[np.float64] | None
    device: str

    @property
    def mean_stddev(self) -> float:
        """Of the noise in each coordinate of the mean."""
        return self.noise.stddev / self.records

    @property
    def plan(self) -> dict[str, Any]:
        """Sensitivity, noise and network, as JSON values."""
        far = self.noise.sensitivity(Neighbours.REPLACE_ONE)
        return {
            "coordinates": len(self.facts.classes) * (1 + self.method.features),
            "contribution": self.noise.contribution,
            "mean_sensitivity": far / self.records,
            "mean_stddev": self.mean_stddev,
            "noise_multiplier": self.noise.stddev / self.noise.contribution,
            "noise_over_sensitivity": self.noise.stddev / far,
            "grid_step": self.noise.granularity,
            "bandwidths": list(self.method.bandwidths(self.facts, self.mean_stddev)),
            "samples": self._samples,
            "generator": self._architecture.to_dict(),
        }

    @property
    def certain(self) -> Iterator[Part]:
        """What is in memory for certain; see :mod:`sfumato.publish.room`."""
        method = self.method
        yield room.network("the generator's weights", SIZES, self._architecture.build, room.TRAINED)
        waves = math.prod(self.facts.shape) * method.features // 2 * 8
        yield room.Part("the random features' frequencies", ("features",), waves)
        yield room.images("the generated images of a step", ("batch",), method.batch, self.facts)
        yield from room.released(method.samples, self.facts)

    @property
    def holds(self) -> Mapping[str, int]:
        """Bytes at the peak; see :mod:`sfumato.publish.memory`. Private images are streamed."""
        released = memory.images(0, self.facts, self._samples)
        return {**released, "training": memory.step(self.method.batch, self.facts.shape)}

    @property
    def stores(self) -> disk.Stored:
        """Bytes on disk; see :mod:`sfumato.publish.disk`."""
        weights = disk.weights(self._architecture.build)
        return disk.Stored(disk.stored(self._samples, self.facts, weights=weights).released)

    def __call__(self, data: ImageSet, source: NoiseSource, progress: Progress) -> Artefact:
        """Measures once with noise; trains and draws from what was measured."""
        seeds = seeds_of(self.method.seed, "features", "training", "drawing")
        features = self.method.feature_map(self.facts, self.mean_stddev, seeds["features"])
        embedding = NoisyEmbedding.release(
            data,
            features,
            self.noise,
            self.records,
            source,
            lambda done: progress(done, self.records, "measuring the images"),
        )
        # No private image below this line: `data` is not passed on.
        return self._generate(embedding, features, seeds, progress)

    def _generate(
        self,
        embedding: NoisyEmbedding,
        features: FourierFeatures,
        seeds: dict[str, int],
        progress: Progress,
    ) -> Artefact:
        """Everything after the noise: post-processing."""
        method = self.method
        module = train(
            embedding,
            features,
            self._architecture,
            Training(method.steps, method.batch, method.learning_rate, method.frequencies_per_step),
            seed=seeds["training"],
            device=self.device,
            progress=lambda done: progress(done, method.steps, "training the generator"),
        )
        prior = embedding.estimated_shares() if self.prior is None else self.prior
        return publishable(
            self._architecture, module, prior, self.facts.classes, self._samples, seeds
        )

    @property
    def _samples(self) -> int:
        return self.method.samples or self.records

    @property
    def _architecture(self) -> Architecture:
        return Architecture(
            shape=self.facts.shape,
            classes=len(self.facts.classes),
            latent=self.method.latent,
            hidden=self.method.hidden,
            width=self.method.width,
        )
