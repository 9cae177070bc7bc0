"""What image methods trained by noisy clipped steps share: settings, calibration, run.

A method adds its networks and its training; what is drawn from private images, the steps, the class
counts and what a method measures beforehand, is accounted here in one event.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sfumato.data.facts import Fact
from sfumato.errors import InputError
from sfumato.privacy.guarantee import Central
from sfumato.publish import checks, rehearsal
from sfumato.publish.generators import priors
from sfumato.publish.generators.networks import Architecture
from sfumato.publish.generators.sampling import DrawsAgain, publishable
from sfumato.publish.generators.steps import FirstDraws, PrivateSteps
from sfumato.publish.method import Calibrated, Progress
from sfumato.publish.models.run import caveats
from sfumato.publish.seeds import seeds_of
from sfumato.publish.workspace import once
from sfumato.release.release import Artefact

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sfumato.data import ImageSchema, ImageSet
    from sfumato.learn.clipping import Clipping
    from sfumato.learn.mechanism import DpSgd
    from sfumato.privacy.budget import Budget
    from sfumato.privacy.noise import NoiseSource


PUBLIC = "public records"
"""The name of the fact that states which records a method was given beside the private ones."""
PUBLIC_CAVEAT = (
    "The public records are not protected at all: that no private record, and nobody who expects "
    "protection, is among them is the custodian's declaration."
)


@dataclass(frozen=True)
class Work:
    """One training: what a method's :meth:`GradientTrained.train` is given.

    Args:
        architecture: Of what is trained, as the method gives it.
        images: (n, c, h, w) private.
        labels: (n,) private class numbers.
        steps: What may be drawn from them; the mechanism is to be run, and nothing else.
        prior: (K,) public or noisy shares of the classes.
        seeds: ``"weights"`` and ``"training"``.
        source: Sampling and noise.
        device: As torch names it.
        progress: Told steps done and steps in all.
        workspace: Where checkpoints lie; None keeps none.
        most: So many steps are taken, decided before any private image is looked at; None: all.
        start: What a method made of its first draws, see :meth:`StepTrained.warm_up`.
        prepared: What the method needs beside private images: nothing private.
    """

    architecture: Any
    images: Tensor
    labels: Tensor
    steps: PrivateSteps
    prior: Tensor
    seeds: Mapping[str, int]
    source: NoiseSource
    device: str
    progress: Callable[[int, int], None]
    workspace: Path | None = None
    most: int | None = None
    start: Any = None
    prepared: Any = None

    @property
    def planned(self) -> int:
        """Steps that were paid for."""
        return self.steps.mechanism.steps


@dataclass(frozen=True)
class StepTrained(ABC):
    """Settings of every such method.

    Args:
        epochs: How often a record is seen, on average.
        expected_batch_size: Records a step, on average; None: a hundredth of the records, 64 at
            least.
        max_grad_norm: Bound on one record's gradient.
        class_prior: Shares of the classes among the images drawn: ``"estimated"`` (noisy counts,
            a hundredth of the budget's squared mu), ``"uniform"``, or public shares by name.
        max_minutes: Take only as many steps as there is time for, and spend the whole budget all
            the same; None takes all. How many is measured on made-up images beforehand: a clock
            that ran beside the private ones would tell of them.
        seed: Of weights, training and drawing, none of which is privacy noise; None draws one.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.

    Raises:
        InputError: If a value is unknown or out of its range.

    Guaranteed: ``Central``, (epsilon, delta) for adding or removing one record; the number of
    records is declared public.
    """

    epochs: float = 15
    expected_batch_size: int | None = None
    max_grad_norm: float = 1.0
    class_prior: str | Mapping[str, float] = "estimated"
    max_minutes: float | None = None
    seed: int | None = None
    device: str = "auto"

    name: ClassVar[str]
    kinds: ClassVar[tuple[str, ...]] = ("images",)
    gives: ClassVar[str] = "images"
    relation: ClassVar[str] = "central"
    needs_records: ClassVar[bool] = True
    default_delta: ClassVar[float] = 1e-5
    trains: ClassVar[str] = "generator"

    def __post_init__(self) -> None:
        checks.number("epochs", self.epochs, 0, closed=False)
        checks.number("max_grad_norm", self.max_grad_norm, 0, closed=False)
        for name, least in (("expected_batch_size", 1), ("seed", 0)):
            if getattr(self, name) is not None:
                checks.whole(name, getattr(self, name), least)
        if self.max_minutes is not None:
            checks.number("max_minutes", self.max_minutes, 0, closed=False)
        checks.one_of("device", self.device, checks.DEVICES)
        object.__setattr__(self, "class_prior", priors.check(self.class_prior))

    # -- what a method adds --------------------------------------------------------------------

    @abstractmethod
    def architecture(self, facts: ImageSchema) -> Any:
        """Of what is trained; its ``to_dict()`` is public, under the name ``trains``."""

    @abstractmethod
    def train(self, work: Work) -> Any:
        """What is trained, in evaluation mode, on the CPU."""

    @abstractmethod
    def publish(self, trained: Any, work: Work, facts: ImageSchema) -> Artefact:
        """The release of what was trained; no private image or label may have a part in it."""

    def first_draws(self, budget: Budget, facts: ImageSchema, records: int) -> FirstDraws | None:
        """What is measured of the private images before the steps, as a part of the budget."""
        return None

    def warm_up(self, drawn: Any, work: Work) -> Any:
        """What the training starts with, made of the first draws alone; not yet of ``work``'s
        images, which are not there to be looked at.
        """
        return None

    def prepare(self, run: Run, seeds: Mapping[str, int]) -> None:
        """What has to be made of public data first; by default nothing."""
        return

    @property
    def clipping(self) -> Clipping:
        """The bound on one record's gradient."""
        from sfumato.learn.clipping import Flat

        return Flat(self.max_grad_norm)

    def prepared(self, facts: ImageSchema) -> tuple[Any, tuple[Fact, ...]]:
        """What a method needs beside the private images, and the facts that it states of it."""
        return None, ()

    def planned(self, steps: int, prepared: Any) -> Mapping[str, Any]:
        """What a card says of the run beside what all say: JSON values, and nothing private."""
        return {}

    # -- what they share -----------------------------------------------------------------------

    def calibrate(self, budget: Budget, facts: ImageSchema) -> Calibrated:
        """The run that spends ``budget`` on images with these public facts.

        Raises:
            InputError: If the facts are not those of images or lack the number of records, the
                budget lacks a delta, or a setting does not fit them.
        """
        from sfumato.data import ImageSchema
        from sfumato.learn.noise import STREAM

        if not isinstance(facts, ImageSchema):
            raise InputError(f"{self.name} was given a table", "It publishes images.")
        records = checks.records(facts, budget)
        prior = priors.declared(self.class_prior, facts.classes)
        steps = PrivateSteps.calibrate(
            budget,
            records=records,
            expected_batch_size=checks.batch_size(self.expected_batch_size, records),
            epochs=self.epochs,
            clipping=self.clipping,
            counted_classes=len(facts.classes) if prior is None else None,
            first=self.first_draws(budget, facts, records),
        )
        prepared, stated = self.prepared(facts)
        run = Run(self, facts, records, steps, prior, checks.device(self.device), prepared)
        public = [Fact(self.trains, run.architecture.to_dict(), f"public: setting of {self.name}")]
        if isinstance(self.class_prior, Mapping):
            public.append(Fact("class prior", dict(self.class_prior)))
        return Calibrated(
            method=self,
            budget=budget,
            facts=facts,
            guarantee=Central(steps.event, budget.delta, "record", steps.mechanism.neighbours),
            plan=run.plan,
            run=run,
            public=(*public, *stated),
            caveats=(
                *caveats(steps.mechanism.neighbours),
                *(PUBLIC_CAVEAT for fact in stated if fact.name == PUBLIC),
            ),
            source=STREAM,
        )


@dataclass(frozen=True)
class GradientTrained(DrawsAgain, StepTrained):
    """Those that publish a conditional convolutional generator.

    Args:
        samples: How many images to publish; None: as many as there are records.
        latent: Normal variables an image is made from.
        hidden: Width of the generator's dense layer.
        width: Channels of its smallest map.
        averaging: Decay of the average of the weights that is published.

    The other settings are :class:`StepTrained`'s.
    """

    samples: int | None = None
    latent: int = 16
    hidden: int = 100
    width: int = 16
    averaging: float = 0.99

    generator_norm: ClassVar[str] = "batch"

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.number("averaging", self.averaging, 0, 1 - 1e-9)
        for name in ("latent", "hidden", "width"):
            checks.whole(name, getattr(self, name), 1)
        if self.samples is not None:
            checks.whole("samples", self.samples, 1)

    def architecture(self, facts: ImageSchema) -> Architecture:
        """Of the published generator."""
        return Architecture(
            shape=facts.shape,
            classes=len(facts.classes),
            latent=self.latent,
            hidden=self.hidden,
            width=self.width,
            norm=self.generator_norm,
        )

    def publish(self, trained: nn.Module, work: Work, facts: ImageSchema) -> Artefact:
        """Its weights and a first sample."""
        return publish_generator(trained, work, facts, self.samples)


def publish_generator(
    module: nn.Module, work: Work, facts: ImageSchema, samples: int | None
) -> Artefact:
    """The release of a generator: weights, class shares, a first sample of ``samples`` images."""
    return publishable(
        work.architecture,
        module,
        work.prior.numpy(),
        facts.classes,
        samples or work.steps.records,
        work.seeds,
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
        images, labels = labelled(data)
        prior = self.prior
        if prior is None:
            assert self.steps.counted is not None
            counted = self.steps.counted
            drawn = once(
                workspace,
                "class_prior",
                lambda: counted.release(labels.numpy(), source).tolist(),
                drawn=True,
            )
            prior = np.asarray(drawn)
        progress(0, 1, "preparing")
        method.prepare(self, seeds)
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
            prepared=self.prepared,
        )
        start, gone = self._start(data, work, progress)
        work = replace(work, start=start)
        most = None
        if method.max_minutes is not None:
            left, mechanism = method.max_minutes - gone / 60, self.steps.mechanism
            most = once(
                workspace,
                "most_steps",
                lambda: rehearsal.steps(left, mechanism, partial(self._rehearse, seeds)),
            )
        work = replace(work, most=most)
        trained = method.train(work)
        made = method.publish(trained, work, self.facts)
        taken = most or self.steps.mechanism.steps
        shares = dict(zip(self.facts.classes, prior.tolist(), strict=True))
        return replace(made, notes={"class_prior": shares, **made.notes, "steps_taken": taken})

    def _start(self, data: ImageSet, work: Work, progress: Progress) -> tuple[Any, float]:
        """What the training starts with, and the seconds that took beyond the first draws.

        A training that goes on has begun already.
        """
        from sfumato.learn import checkpoint
        from sfumato.publish.generators.fitting import TRAINING

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

    def _rehearse(self, seeds: Mapping[str, int], mechanism: DpSgd, size: int) -> None:
        """A training on pictures of noise."""
        import torch

        from sfumato.learn.noise import STREAM

        generator = torch.Generator().manual_seed(seeds["training"])
        classes = len(self.facts.classes)
        work = Work(
            self.architecture,
            torch.rand(size, *self.facts.shape, generator=generator),
            torch.randint(classes, (size,), generator=generator),
            replace(self.steps, mechanism=mechanism),
            torch.full((classes,), 1 / classes, dtype=torch.float64),
            seeds,
            STREAM,
            self.device,
            lambda done, total: None,
            prepared=self.prepared,
        )
        self.method.train(work)
