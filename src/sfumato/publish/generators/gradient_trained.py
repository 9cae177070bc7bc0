"""What image methods trained by noisy clipped steps share: settings, calibration, run.

A method adds its networks and its training; what is drawn from private images, the steps, the class
counts and what a method measures beforehand, is accounted here in one event.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from sfumato.data.facts import Fact
from sfumato.errors import InputError
from sfumato.privacy.guarantee import Central
from sfumato.publish import checks, disk, room
from sfumato.publish.generators import priors
from sfumato.publish.generators.networks import SIZES, Architecture
from sfumato.publish.generators.sampling import DrawsAgain, publishable
from sfumato.publish.generators.step_run import Run
from sfumato.publish.generators.steps import FirstDraws, PrivateSteps
from sfumato.publish.generators.work import Work
from sfumato.publish.method import Calibrated, chosen_on
from sfumato.publish.models.run import caveats
from sfumato.release.release import Artefact

if TYPE_CHECKING:
    from torch import nn

    from sfumato.data import ImageSchema
    from sfumato.learn.clipping import Clipping
    from sfumato.privacy.budget import Budget
    from sfumato.publish.room import Part


PUBLIC = "public records"
"""The name of the fact that states which records a method was given beside the private ones."""
PUBLIC_CAVEAT = (
    "The public records are not protected at all: that no private record, and nobody who expects "
    "protection, is among them is the custodian's declaration."
)


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
    chosen_on: ClassVar[tuple[str, ...]] = ()
    """Public sets on which the defaults were chosen."""

    def __post_init__(self) -> None:
        checks.trained(self)
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

    def beside(self, work: Work) -> tuple[float, float]:
        """Seconds that the whole warm-up takes, and that drawing the release does: where they
        matter, measured on the made-up images of ``work``.
        """
        return 0.0, 0.0

    def prepare(self, run: Run, seeds: Mapping[str, int]) -> Any:
        """What has to be made of public data first: before time is taken, and once for all
        trainings, which find it as :attr:`Work.prepared`; by default what ``run`` came with.
        """
        return run.prepared

    @property
    def clipping(self) -> Clipping:
        """The bound on one record's gradient."""
        from sfumato.learn.clipping import Flat

        return Flat(self.max_grad_norm)

    def prepared(self, facts: ImageSchema) -> tuple[Any, tuple[Fact, ...]]:
        """What a method needs beside the private images, and the facts that it states of it."""
        return None, ()

    def holds(self, facts: ImageSchema) -> Mapping[str, int]:
        """Bytes beside what all hold; see :mod:`sfumato.publish.memory`."""
        return {}

    def stores(self, facts: ImageSchema, records: int, prepared: Any) -> disk.Stored:
        """Bytes on disk; see :mod:`sfumato.publish.disk`.

        Args:
            facts: Of the images.
            records: How many are published where ``samples`` is not set.
            prepared: What the method needs beside the private images.
        """
        samples = getattr(self, "samples", None) or records
        weights = disk.weights(self.architecture(facts).build)
        return disk.stored(samples, facts, weights=weights)

    def certain(self, facts: ImageSchema) -> Iterator[Part]:
        """What settings make large for certain; see :mod:`sfumato.publish.room`."""
        yield from ()

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
                *chosen_on(*self.chosen_on),
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
        checks.optional(self, samples=1)

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

    def certain(self, facts: ImageSchema) -> Iterator[Part]:
        """The generator, its average, and what it draws."""
        yield room.network("the generator's weights", SIZES, self.architecture(facts).build, 2)
        yield from room.released(self.samples, facts)

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
