"""A calibrated run of ``generators.taught``: private draws, then pictures and their labels.

In a workspace the noisy description, the noisy mean of the features and every step of the teacher
are drawn once; description and teacher, the pictures' seed and the labels so far are kept, so that
an interrupted run releases what it would have. Private images and their features are not.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.publish import disk, memory, room
from sfumato.publish.generators.proxies import Mixture, proxies
from sfumato.publish.generators.sampling import apportion
from sfumato.publish.generators.teaching_time import Pictures, chosen
from sfumato.publish.method import Progress, silent
from sfumato.publish.workspace import once
from sfumato.release.release import Artefact

if TYPE_CHECKING:
    from torch import Tensor

    from sfumato.data import ImageSchema, ImageSet
    from sfumato.learn.moments import ClassMoments, NoisyMoments
    from sfumato.learn.recipe import CalibratedScatterLinear, ScatterLinearModel
    from sfumato.privacy.noise import NoiseSource
    from sfumato.publish.room import Part

_OVER = 2
"""Checkpoints of a training that lie side by side while one takes the other's place."""
_STATE = 3
"""Tensors of the weights' size in one: weights, momentum, average."""


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
        minutes: For all of it; None takes as long as it takes.
        pictures: How many there is time for; None until it is known.
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
    minutes: float | None = None
    pictures: Pictures | None = None
    resumable: bool = field(default=True, init=False)

    @property
    def wanted(self) -> Pictures:
        """How many pictures there are if time does not matter."""
        return Pictures(self.samples * self.candidates, self.samples)

    @property
    def plan(self) -> dict[str, Any]:
        """Noise, steps and pictures, as JSON values."""
        mechanism = self.teacher.dp_sgd.to_dict()
        del mechanism["event"], mechanism["delta"], mechanism["neighbours"]
        described = self.description
        return {
            **mechanism,
            "mean_noise_multiplier": self.teacher.mean_multiplier,
            "learning_rate": self.teacher.method.learning_rate,
            "description_noise_multiplier": described and described.noise_multiplier,
            "description_entries": described and self._entries(described),
            **self._counts(self.wanted),
            "repeats": self.repeats,
            "wanted_shares": "estimated" if self.shares is None else self.shares.tolist(),
            "labels": "soft" if self.soft else "hard",
            "temperature": self.temperature,
        }

    def _counts(self, pictures: Pictures) -> dict[str, Any]:
        described = self.description is not None
        return {
            "candidates": self.mixture.counts(pictures.drawn, described=described),
            "samples": pictures.released,
        }

    def _entries(self, described: ClassMoments) -> int:
        width = described.width
        return len(self.facts.classes) * (1 + width + width * (width + 1) // 2)

    @property
    def certain(self) -> Iterator[Part]:
        """What is in memory for certain; see :mod:`sfumato.publish.room`."""
        drawn, settings = self.wanted.drawn, ("samples", "candidates")
        yield room.images("the images to choose among", settings, drawn, self.facts)
        times = (*settings, "repeats")
        choices = drawn * min(self.repeats, self.samples) * 8
        yield room.Part("the choices among the images", times, choices)

    @property
    def holds(self) -> Mapping[str, int]:
        """Bytes at the peak; see :mod:`sfumato.publish.memory`."""
        records = self.teacher.dp_sgd.sampling.records
        width, drawn = self._width, self.wanted.drawn
        # Pictures are drawn as numbers, when the features are gone.
        return {
            **memory.images(records, self.facts, self.samples),
            "features": max(records * width, drawn * math.prod(self.facts.shape)) * memory.FLOAT,
            "steps": memory.WORK,
        }

    @property
    def stores(self) -> disk.Stored:
        """Bytes on disk; see :mod:`sfumato.publish.disk`."""
        classes = len(self.facts.classes)
        weights = classes * (self._width + 1) * memory.FLOAT
        labels = self.wanted.drawn * classes * memory.FLOAT
        described = self.description
        noted = self._width if described is None else self._width + self._entries(described)
        return disk.stored(
            self.samples,
            self.facts,
            shares=classes if self.soft else 0,
            kept=weights + _OVER * (_STATE * weights + labels),
            noted=noted,
        )

    @property
    def _width(self) -> int:
        """Features of an image."""
        return math.prod(self.teacher.method.scattering.shape(*self.facts.shape))

    def timed(self, progress: Progress) -> Run:
        """The same with as many pictures as there is time for; to be called before the debit.

        Args:
            progress: Told what is done.

        Raises:
            InputError: If there is no time for the fewest.
        """
        if self.minutes is None:
            return self
        return replace(self, pictures=chosen(self, self.minutes, progress, paid=False))

    def __call__(
        self,
        data: ImageSet,
        source: NoiseSource,
        progress: Progress,
        workspace: Path | None = None,
    ) -> Artefact:
        """Measures and trains with noise; draws and labels from what came of it.

        What was drawn, and what came of it, is kept in ``workspace``.
        """
        pictures = Pictures(*once(workspace, "pictures", lambda: self._pictures(progress)))
        moments = self._described(data, source, progress, workspace)
        teacher = self._taught(data, source, progress, workspace)
        # No private image below this line: neither `data` nor what was read of it is passed on.
        return self._publish(teacher, moments, progress, pictures, workspace)

    def _pictures(self, progress: Progress) -> Pictures:
        """How many there will be, if no one has said so yet."""
        if self.minutes is None:
            return self.wanted
        return self.pictures or chosen(self, self.minutes, progress, paid=True)

    def _described(
        self, data: ImageSet, source: NoiseSource, progress: Progress, workspace: Path | None
    ) -> NoisyMoments | None:
        """The noisy description of the classes, drawn once in a workspace."""
        import torch

        from sfumato.learn.examples import labelled
        from sfumato.learn.moments import NoisyMoments

        query = self.description
        if query is None:
            return None

        def drawn() -> list[Any]:
            found = query.release(*labelled(data), source)
            return [part.tolist() for part in (found.shares, found.means, found.factors)]

        progress(0, 1, "describing the classes")
        kept = once(workspace, "description", drawn, drawn=True)
        return NoisyMoments(query, *(torch.tensor(part, dtype=torch.float64) for part in kept))

    def _taught(
        self, data: ImageSet, source: NoiseSource, progress: Progress, workspace: Path | None
    ) -> ScatterLinearModel:
        """The teacher: its mean, and each of its steps, are drawn once in a workspace."""
        from sfumato.learn.recipe import ScatterLinearModel
        from sfumato.publish.generators.lessons import kept
        from sfumato.publish.scattered import fitted

        ready, method = self.teacher, self.teacher.method

        def trained() -> dict[str, Tensor]:
            found = fitted(ready, data, source, progress, workspace)
            return {"weight": found.weight, "bias": found.bias}

        found = kept(workspace and workspace / "teacher", trained)
        return ScatterLinearModel(
            method, found["weight"], found["bias"], ready.event, ready.guarantee()
        )

    def _publish(
        self,
        teacher: ScatterLinearModel,
        moments: NoisyMoments | None,
        progress: Progress,
        pictures: Pictures | None = None,
        workspace: Path | None = None,
    ) -> Artefact:
        """Everything after the noise: post-processing."""
        from sfumato.data import ImageSet

        pictures = pictures or self.wanted
        seeds = once(workspace, "seeds", self._seeds)
        images, soft = self.labelled(
            teacher, moments, pictures.drawn, seeds["pictures"], progress, workspace
        )
        hard = soft.argmax(axis=1)
        shares = self.shares
        if shares is None:
            assert moments is not None  # the method refuses estimated shares otherwise
            shares = moments.shares.numpy()
        taken = balanced(hard, shares, pictures.released, self.repeats)
        released = ImageSet.from_arrays(
            images[taken],
            hard[taken],
            self.facts.classes,
            soft_labels=soft[taken] if self.soft else None,
        )
        found = np.bincount(hard[taken], minlength=len(shares)) / pictures.released
        notes: dict[str, Any] = {
            "class_shares": dict(zip(self.facts.classes, found.tolist(), strict=True))
        }
        if self.minutes is not None:
            notes |= self._counts(pictures)
        if moments is not None:
            notes["directions"] = int(moments.factors.shape[2])
        return Artefact(released, seeds=seeds, notes=notes)

    def _seeds(self) -> dict[str, int]:
        return {"pictures": secrets.randbits(31) if self.seed is None else self.seed}

    def labelled(
        self,
        teacher: ScatterLinearModel,
        moments: NoisyMoments | None,
        count: int,
        seed: int,
        progress: Progress = silent,
        workspace: Path | None = None,
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """So many pictures, (n, c, h, w), and their (n, K) soft labels.

        Args:
            teacher: Publishable.
            moments: Publishable; None where nothing was paid for.
            count: How many.
            seed: Of the pictures.
            progress: Told what is done.
            workspace: Where labels are kept; None keeps none.
        """
        from sfumato.publish.generators.labelling import labels

        progress(0, count, "drawing pictures")
        pictures = proxies(count, self.facts.shape, self.mixture, moments, seed)
        images = pictures.mul_(255).round_().byte().numpy()  # what is labelled is what is released
        place = workspace and workspace / "labels"
        return images, labels(teacher, images, self.temperature, progress, place)

    def made_up(self, count: int) -> tuple[Tensor, Tensor]:
        """So many images of noise, and classes, to time a part of the run with."""
        import torch

        generator = torch.Generator().manual_seed(0)
        images = torch.rand(count, *self.facts.shape, generator=generator)
        return images, torch.arange(count) % len(self.facts.classes)


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
