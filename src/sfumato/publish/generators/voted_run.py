"""A calibrated run of a generator that is taught by private critics."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfumato.publish import disk, memory, rehearsal, room
from sfumato.publish.generators import priors
from sfumato.publish.generators.networks import SIZES, Architecture
from sfumato.publish.generators.sampling import publishable
from sfumato.publish.method import Progress
from sfumato.publish.seeds import seeds_of
from sfumato.release.release import Artefact

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from sfumato.data import ImageSchema, ImageSet
    from sfumato.privacy.noise import NoiseSource
    from sfumato.publish.generators.rounds import Rounds
    from sfumato.publish.generators.student import Student
    from sfumato.publish.generators.voted import Voted
    from sfumato.publish.room import Part

_REHEARSED = 5  # rounds on made-up images


@dataclass(frozen=True)
class Job:
    """How far a training is to go, and where it is kept."""

    planned: int
    most: int | None
    workspace: Path | None
    progress: Callable[[int, int], None]


@dataclass(frozen=True)
class Run:
    """Class counts, if they are paid for; rounds; a first sample.

    Args:
        method: The public choices.
        facts: Of the images.
        records: The public number of images.
        rounds: What is drawn from them.
        prior: (K,) declared shares of the classes, or None.
        device: As torch names it.
    """

    method: Voted
    facts: ImageSchema
    records: int
    rounds: Rounds
    prior: priors.Shares | None
    device: str
    resumable: bool = field(default=True, init=False)

    @property
    def architecture(self) -> Architecture:
        """Of the published generator."""
        return self.method.architecture(self.facts)

    @property
    def places(self) -> int:
        """The most records of a class that a teacher looks at."""
        return self.method.places(self.records, len(self.facts.classes))

    @property
    def plan(self) -> dict[str, Any]:
        """As JSON values for a card."""
        return {
            **self.rounds.plan,
            "teachers": self.method.teachers,
            "places": self.places,
            "samples": self.method.samples or self.records,
            "generator": self.architecture.to_dict(),
        }

    @property
    def certain(self) -> Iterator[Part]:
        """What is in memory for certain; see :mod:`sfumato.publish.room`."""
        method, classes = self.method, len(self.facts.classes)
        yield room.network("the generator's weights", SIZES, self.architecture.build, room.TRAINED)
        count = classes * (method.batch + method.crowd)
        asked = ("batch", "crowd")
        yield room.images("the generated images of a round", asked, count, self.facts)
        yield from room.released(method.samples, self.facts)
        yield from method.certain(self.facts)

    @property
    def holds(self) -> Mapping[str, int]:
        """Bytes at the peak; see :mod:`sfumato.publish.memory`."""
        places = len(self.facts.classes) * self.method.teachers * self.places
        width = self.method.basis(self.facts).width
        return {
            **memory.images(self.records, self.facts, self.method.samples),
            "teachers": (self.records + places) * width * memory.FLOAT,
            "rounds": memory.step(self.method.batch, self.facts.shape),
        }

    @property
    def stores(self) -> disk.Stored:
        """Bytes on disk; see :mod:`sfumato.publish.disk`."""
        weights = disk.weights(self.architecture.build)
        return disk.stored(self.method.samples or self.records, self.facts, weights=weights)

    def __call__(
        self,
        data: ImageSet,
        source: NoiseSource,
        progress: Progress,
        workspace: Path | None = None,
    ) -> Artefact:
        """Teaches a generator; what it has drawn is kept in ``workspace``."""
        from sfumato.learn.examples import labelled
        from sfumato.publish.generators.fitting import fit
        from sfumato.publish.workspace import once

        names = ("parts", "weights", "training", "drawing")
        seeds = once(workspace, "seeds", lambda: seeds_of(self.method.seed, *names))
        most = None
        if self.method.max_minutes is not None:
            most = once(workspace, "most_steps", lambda: self._rehearsed(seeds))
        images, labels = labelled(data)
        counted = self.rounds.counted
        prior = priors.drawn(self.prior, counted, labels.numpy(), source, workspace)
        said = "asking the teachers"
        student = self.student(images, labels, seeds, source)
        job = Job(self.rounds.count, most, workspace, lambda at, of: progress(at, of, said))
        fit(student, job)
        return publishable(
            self.architecture,
            student.finish(),
            prior,
            self.facts.classes,
            self.method.samples or self.records,
            seeds,
            rounds_taken=most or self.rounds.count,
        )

    def student(
        self, images: Tensor, labels: Tensor, seeds: Mapping[str, int], source: NoiseSource
    ) -> Student:
        """A generator and its teachers, before the first round."""
        from sfumato.learn import own_noise
        from sfumato.learn.pate.critics import Critics, owners
        from sfumato.publish.generators.student import Lessons, Student

        method, basis = self.method, self.method.basis(self.facts)
        # A distance between pictures is one between their coordinates: the basis is orthonormal.
        bandwidth = method.bandwidth * math.sqrt(math.prod(self.facts.shape))
        keys = own_noise.keys_of(images.float())
        critics = Critics.of(
            basis.coordinates(images),
            labels,
            owners(keys, method.teachers, seeds["parts"]),
            keys,
            classes=len(self.facts.classes),
            teachers=method.teachers,
            places=self.places,
            bandwidth=bandwidth,
        )

        def ask(label: int, asked: Tensor, crowd: Tensor, coins: torch.Generator) -> Tensor:
            pulls, present = critics.pulls(label, asked)
            pulls -= crowd * present[:, None, None]
            return method.answer(self.rounds.aggregation, pulls, present, coins, source)

        lessons = Lessons(
            method.batch,
            method.crowd,
            method.stride,
            method.repeats,
            method.learning_rate,
            method.averaging,
            bandwidth,
        )
        identity = {**self.rounds.plan, "seeds": dict(seeds)}
        return Student(
            self.architecture,
            lessons,
            basis,
            ask,
            seeds,
            self.device,
            self.rounds.count,
            identity,
        )

    def _rehearsed(self, seeds: Mapping[str, int]) -> int:
        """How many rounds there is time for, on pictures of noise; see ``rehearsal``."""
        import torch

        from sfumato.privacy.noise import SECURE

        assert self.method.max_minutes is not None
        drawn = torch.Generator().manual_seed(seeds["training"])
        images = torch.rand(self.records, *self.facts.shape, generator=drawn)
        labels = torch.randint(len(self.facts.classes), (self.records,), generator=drawn)
        student = self.student(images, labels, seeds, SECURE)
        few = min(_REHEARSED, self.rounds.count)
        began = time.perf_counter()
        for _ in range(few):
            student.step()
        each = (time.perf_counter() - began) / few
        return rehearsal.within(self.method.max_minutes, each, self.rounds.count)
