"""A calibrated run of ``generators.taught``: two draws, then pictures and their labels."""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.publish import disk, memory, room
from sfumato.publish.generators.proxies import Mixture, proxies
from sfumato.publish.generators.sampling import apportion
from sfumato.publish.method import Progress
from sfumato.release.release import Artefact

if TYPE_CHECKING:
    from sfumato.data import ImageSchema, ImageSet
    from sfumato.learn.moments import ClassMoments, NoisyMoments
    from sfumato.learn.recipe import CalibratedScatterLinear, ScatterLinearModel
    from sfumato.privacy.noise import NoiseSource
    from sfumato.publish.room import Part

_CHUNK = 2000


@dataclass(frozen=True)
class Run:
    """Description, teacher, pictures, labels.

    Args:
        facts: Of the images.
        description: What is measured of the classes; None for nothing.
        teacher: The calibrated recipe.
        mixture: Which kinds of pictures are drawn.
        samples: How many are published.
        candidates: How many are drawn for each of them.
        repeats: How many times one may be published where its class has too few.
        shares: (K,) public shares of the classes, or None if the description estimates them.
        temperature: Of the soft labels.
        soft: Whether soft labels are published.
        seed: Of the pictures; None draws one.
    """

    facts: ImageSchema
    description: ClassMoments | None
    teacher: CalibratedScatterLinear
    mixture: Mixture
    samples: int
    candidates: int
    repeats: int
    shares: NDArray[np.float64] | None
    temperature: float
    soft: bool
    seed: int | None

    @property
    def plan(self) -> dict[str, Any]:
        """Noise, steps and pictures, as JSON values."""
        mechanism = self.teacher.dp_sgd.to_dict()
        del mechanism["event"], mechanism["delta"], mechanism["neighbours"]
        described = self.description
        drawn = self.samples * self.candidates
        return {
            **mechanism,
            "mean_noise_multiplier": self.teacher.mean_multiplier,
            "learning_rate": self.teacher.method.learning_rate,
            "description_noise_multiplier": described and described.noise_multiplier,
            "description_entries": described and self._entries(described),
            "candidates": self.mixture.counts(drawn, described=described is not None),
            "samples": self.samples,
            "repeats": self.repeats,
            "wanted_shares": "estimated" if self.shares is None else self.shares.tolist(),
            "labels": "soft" if self.soft else "hard",
            "temperature": self.temperature,
        }

    def _entries(self, described: ClassMoments) -> int:
        width = described.width
        return len(self.facts.classes) * (1 + width + width * (width + 1) // 2)

    @property
    def certain(self) -> Iterator[Part]:
        """What is in memory for certain; see :mod:`sfumato.publish.room`."""
        drawn, settings = self.samples * self.candidates, ("samples", "candidates")
        yield room.images("the images to choose among", settings, drawn, self.facts)
        times = (*settings, "repeats")
        choices = drawn * min(self.repeats, self.samples) * 8
        yield room.Part("the choices among the images", times, choices)

    @property
    def holds(self) -> Mapping[str, int]:
        """Bytes at the peak; see :mod:`sfumato.publish.memory`."""
        records = self.teacher.dp_sgd.sampling.records
        width = math.prod(self.teacher.method.scattering.shape(*self.facts.shape))
        drawn = self.samples * self.candidates
        # Pictures are drawn as numbers, when the features are gone.
        return {
            **memory.images(records, self.facts, self.samples),
            "features": max(records * width, drawn * math.prod(self.facts.shape)) * memory.FLOAT,
            "steps": memory.WORK,
        }

    @property
    def stores(self) -> disk.Stored:
        """Bytes on disk; see :mod:`sfumato.publish.disk`."""
        shares = len(self.facts.classes) if self.soft else 0
        return disk.stored(self.samples, self.facts, shares=shares)

    def __call__(self, data: ImageSet, source: NoiseSource, progress: Progress) -> Artefact:
        """Measures and trains with noise; draws and labels from what came of it."""
        from sfumato.learn.examples import labelled

        images, labels = labelled(data)
        moments = None
        if self.description is not None:
            progress(0, 1, "describing the classes")
            moments = self.description.release(images, labels, source)
        progress(0, self.teacher.method.steps, "computing features")
        teacher = self.teacher.fit(images, labels, source=source, progress=progress)
        # No private image below this line: neither `data` nor what was read of it is passed on.
        return self._publish(teacher, moments, progress)

    def _publish(
        self, teacher: ScatterLinearModel, moments: NoisyMoments | None, progress: Progress
    ) -> Artefact:
        """Everything after the noise: post-processing."""
        from sfumato.data import ImageSet

        seed = secrets.randbits(31) if self.seed is None else self.seed
        drawn = self.samples * self.candidates
        progress(0, drawn, "drawing pictures")
        pictures = proxies(drawn, self.facts.shape, self.mixture, moments, seed)
        images = pictures.mul_(255).round_().byte().numpy()  # what is labelled is what is released
        soft = _labels(teacher, images, self.temperature, progress)
        hard = soft.argmax(axis=1)
        shares = self.shares
        if shares is None:
            assert moments is not None  # the method refuses estimated shares otherwise
            shares = moments.shares.numpy()
        chosen = balanced(hard, shares, self.samples, self.repeats)
        released = ImageSet.from_arrays(
            images[chosen],
            hard[chosen],
            self.facts.classes,
            soft_labels=soft[chosen] if self.soft else None,
        )
        found = np.bincount(hard[chosen], minlength=len(shares)) / self.samples
        notes: dict[str, Any] = {
            "class_shares": dict(zip(self.facts.classes, found.tolist(), strict=True))
        }
        if moments is not None:
            notes["directions"] = int(moments.factors.shape[2])
        return Artefact(released, seeds={"pictures": seed}, notes=notes)


def balanced(
    labels: NDArray[np.int64], shares: NDArray[np.float64], n: int, repeats: int = 1
) -> NDArray[np.int64]:
    """Row numbers of ``n`` of the candidates, in rising order, the first of each class.

    A class gets its share, its candidates one after the other and, once they are used up, again;
    what it lacks for that even so, the first that are left over fill.

    Args:
        labels: (m,) class numbers of the candidates, m at least n.
        shares: (K,) with sum 1.
        n: How many to choose.
        repeats: How many times a row may be chosen.

    >>> balanced(np.array([0, 0, 0, 1, 2]), np.array([0.5, 0.25, 0.25]), 4)
    array([0, 1, 3, 4])
    >>> balanced(np.array([0, 0, 0, 1, 2]), np.array([0.2, 0.4, 0.4]), 5, repeats=2)
    array([0, 3, 3, 4, 4])
    """
    wanted = apportion(shares, n)
    # The row numbers of a second time go on after the first's.
    again = np.tile(labels, min(repeats, n))
    rank = np.empty(len(again), np.int64)
    for label in range(len(shares)):
        rows = np.flatnonzero(again == label)
        rank[rows] = np.arange(len(rows))
    over = rank >= wanted[again]
    order = np.argsort(over, kind="stable")
    return np.sort(order[:n] % len(labels))


def _labels(
    teacher: ScatterLinearModel,
    images: NDArray[np.uint8],
    temperature: float,
    progress: Progress,
) -> NDArray[np.float32]:
    """(n, K) how likely the teacher thinks each class."""
    import torch

    from sfumato.data.pixels import as_float

    found = []
    for at in range(0, len(images), _CHUNK):
        progress(at, len(images), "labelling pictures")
        part = torch.from_numpy(as_float(images[at : at + _CHUNK]))
        found.append(torch.softmax(teacher.scores(part).double() / temperature, dim=1).float())
    progress(len(images), len(images), "labelling pictures")
    labels: NDArray[np.float32] = torch.cat(found).numpy()
    return labels
