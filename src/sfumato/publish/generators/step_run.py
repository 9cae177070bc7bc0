"""The calibrated run of a method that is trained by private steps: in order, what is drawn."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfumato.publish import disk, memory, rehearsal
from sfumato.publish.generators import priors
from sfumato.publish.generators.steps import PrivateSteps
from sfumato.publish.generators.work import Work
from sfumato.publish.seeds import seeds_of
from sfumato.publish.workspace import once

if TYPE_CHECKING:
    from sfumato.data import ImageSchema, ImageSet
    from sfumato.learn.mechanism import DpSgd
    from sfumato.privacy.noise import NoiseSource
    from sfumato.publish.generators.gradient_trained import StepTrained
    from sfumato.publish.method import Progress
    from sfumato.publish.room import Part
    from sfumato.release.release import Artefact

_OUT_OF_TIME = (
    "max_minutes ({:g}) left no time beside warm-up and drawing: one private step was taken, and "
    "the whole budget is spent"
)


@dataclass(frozen=True)
class Run:
    """Class counts, if they are paid for; first draws; training; the release.

    Args:
        method: The public choices.
        facts: Of the images.
        records: The public number of images.
        steps: What is drawn from them.
        prior: (K,) declared shares of the classes, or None.
        device: As torch names it.
        prepared: What the method needs beside the private images.
    """

    method: StepTrained
    facts: ImageSchema
    records: int
    steps: PrivateSteps
    prior: priors.Shares | None
    device: str
    prepared: Any = None
    resumable: bool = field(default=True, init=False)

    @property
    def architecture(self) -> Any:
        """Of what is trained."""
        return self.method.architecture(self.facts)

    @property
    def plan(self) -> dict[str, Any]:
        """As JSON values for a card."""
        plan = {**self.steps.plan, self.method.trains: self.architecture.to_dict()}
        if hasattr(self.method, "samples"):
            plan["samples"] = self.method.samples or self.records
        return {**plan, **self.method.planned(self.steps.mechanism.steps, self.prepared)}

    @property
    def certain(self) -> Iterator[Part]:
        """What is in memory for certain; see :mod:`sfumato.publish.room`."""
        return self.method.certain(self.facts)

    @property
    def holds(self) -> Mapping[str, int]:
        """Bytes at the peak; see :mod:`sfumato.publish.memory`."""
        return {
            **memory.images(self.records, self.facts, getattr(self.method, "samples", 0)),
            **self.method.holds(self.facts),
            "steps": memory.step(
                self.steps.mechanism.sampling.expected_batch_size, self.facts.shape
            ),
        }

    @property
    def stores(self) -> disk.Stored:
        """Bytes on disk; see :mod:`sfumato.publish.disk`."""
        return self.method.stores(self.facts, self.records, self.prepared)

    def __call__(
        self,
        data: ImageSet,
        source: NoiseSource,
        progress: Progress,
        workspace: Path | None = None,
    ) -> Artefact:
        """Trains on private images; what it has drawn is kept in ``workspace``."""
        import torch

        from sfumato.learn.examples import labelled

        method = self.method
        seeds = once(
            workspace, "seeds", lambda: seeds_of(method.seed, "weights", "training", "drawing")
        )
        progress(0, 1, "preparing")
        prepared = method.prepare(self, seeds)
        each, began = None, time.perf_counter()
        if method.max_minutes is not None:
            trial = partial(self._rehearse, seeds, prepared)
            timed = partial(rehearsal.seconds, self.steps.mechanism, trial)
            each = once(workspace, "seconds_a_step", timed)
            made_up = partial(self._made_up, seeds, prepared, self.steps.mechanism, 1)
            warm, drawing = once(workspace, "seconds_beside", lambda: method.beside(made_up()))
            rehearsed = time.perf_counter() - began
        images, labels = labelled(data)
        counted = self.steps.counted
        prior = priors.drawn(self.prior, counted, labels.numpy(), source, workspace)
        work = Work(
            self.architecture,
            images,
            labels,
            self.steps,
            torch.from_numpy(prior),
            seeds,
            source,
            self.device,
            lambda done, total: progress(done, total, f"training the {method.trains}"),
            workspace,
            prepared=prepared,
        )
        most: int | None = None
        late: dict[str, Any] = {}
        minutes, total = method.max_minutes, self.steps.mechanism.steps
        if minutes is not None and each is not None:
            left = minutes - (rehearsed + drawing) / 60
            share = partial(rehearsal.part, left, warm, each * total)
            work = replace(work, part=once(workspace, "warm_up_part", share))
            if work.part < 1:
                late["warm_up_part"] = work.part
        start, gone = self._start(data, work, progress)
        work = replace(work, start=start)
        if minutes is not None and each is not None:
            left = once(workspace, "minutes_left", lambda: left - gone / 60)
            most = once(workspace, "most_steps", lambda: rehearsal.within(left, each, total))
            if left <= 0:
                late["out_of_time"] = _OUT_OF_TIME.format(minutes)
        work = replace(work, most=most)
        trained = method.train(work)
        made = method.publish(trained, work, self.facts)
        taken = most or self.steps.mechanism.steps
        shares = dict(zip(self.facts.classes, prior.tolist(), strict=True))
        notes = {"class_prior": shares, **made.notes, "steps_taken": taken, **late}
        return replace(made, notes=notes)

    def _start(self, data: ImageSet, work: Work, progress: Progress) -> tuple[Any, float]:
        """What the training starts with, and the seconds that took beyond the first draws.

        A training that goes on has begun already.
        """
        from sfumato.learn import checkpoint
        from sfumato.publish.workspace import TRAINING

        first, folder = self.steps.first, work.workspace
        if first is None or (folder is not None and checkpoint.found(folder / TRAINING)):
            return None, 0.0
        drawn = once(folder, "first_draws", lambda: first.release(data, work, progress), drawn=True)
        public = replace(
            work,
            images=work.images[:0],
            labels=work.labels[:0],
            progress=lambda done, total: progress(done, total, "warming up"),
        )
        began = time.perf_counter()  # no private image is looked at from here on
        return self.method.warm_up(drawn, public), time.perf_counter() - began

    def _rehearse(
        self, seeds: Mapping[str, int], prepared: Any, mechanism: DpSgd, size: int
    ) -> None:
        """A training on pictures of noise."""
        self.method.train(self._made_up(seeds, prepared, mechanism, size))

    def _made_up(
        self, seeds: Mapping[str, int], prepared: Any, mechanism: DpSgd, size: int
    ) -> Work:
        """A training's work with so many pictures of noise."""
        import torch

        from sfumato.learn.noise import STREAM

        generator = torch.Generator().manual_seed(seeds["training"])
        classes = len(self.facts.classes)
        return Work(
            self.architecture,
            torch.rand(size, *self.facts.shape, generator=generator),
            torch.randint(classes, (size,), generator=generator),
            replace(self.steps, mechanism=mechanism),
            torch.full((classes,), 1 / classes, dtype=torch.float64),
            seeds,
            STREAM,
            self.device,
            lambda done, total: None,
            prepared=prepared,
        )
