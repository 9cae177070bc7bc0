"""What generators taught by many small private critics share: settings, calibration, run.

The records are dealt out to teachers, each record to exactly one, by a public function of the
record and a seed. In every round the student, a generator, makes a few images of each class; each
teacher says where these should go, judging by its own records alone; what is released is a noisy
aggregate. A method adds how answers are aggregated, and what noise that needs.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from sfumato.data.facts import Fact
from sfumato.errors import InputError
from sfumato.privacy.guarantee import Central
from sfumato.publish import checks
from sfumato.publish.generators import priors
from sfumato.publish.generators.networks import Architecture
from sfumato.publish.generators.rounds import RELATION, Aggregation, Rounds
from sfumato.publish.generators.sampling import DrawsAgain
from sfumato.publish.method import TUNED, Calibrated, RecordCaveat, chosen_on

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from sfumato.data import ImageSchema
    from sfumato.learn.frequencies import LowFrequencies
    from sfumato.privacy.budget import Budget
    from sfumato.privacy.noise import NoiseSource
    from sfumato.publish.room import Part

_WHOLE = {
    "teachers": 2,
    "rounds": 1,
    "batch": 1,
    "crowd": 0,
    "coefficients": 1,
    "repeats": 1,
    "latent": 1,
    "hidden": 1,
    "width": 1,
}


@dataclass(frozen=True)
class Voted(DrawsAgain, ABC):
    """Settings of every such method.

    Args:
        teachers: How many parts the records are dealt out in; the fewer, the more each knows, and
            the more one of them weighs.
        rounds: How often they are asked.
        batch: Images of each class that they are asked about in a round.
        crowd: Further generated images of the class in a round, which the asked ones are kept away
            from; they cost nothing.
        coefficients: Low frequencies of an image that teachers see and speak on.
        bandwidth: Of a teacher's kernel density, as the root-mean-square difference of two images
            with pixels in [0, 1].
        stride: How far images are moved along an answer.
        repeats: Steps of the generator toward the moved images of a round.
        learning_rate: Of the generator's Adam.
        class_prior: Shares of the classes among the images drawn: ``"estimated"`` (noisy counts,
            a hundredth of the budget's squared mu), ``"uniform"``, or public shares by name.
        samples: How many images to publish; None: as many as there are records.
        latent: Normal variables an image is made from.
        hidden: Width of the generator's dense layer.
        width: Channels of its smallest map.
        averaging: Decay of the average of the weights that is published.
        max_minutes: Take only as many rounds as there is time for, and spend the whole budget all
            the same; None takes all. How many is measured on made-up images beforehand.
        seed: Of parts, weights, training and drawing, none of which is privacy noise; None draws
            one.
        device: Of the generator: ``"auto"``, ``"cpu"`` or ``"cuda"``.

    Raises:
        InputError: If a value is unknown or out of its range.

    Guaranteed: ``Central``, (epsilon, delta) for adding or removing one record; the number of
    records is declared public.
    """

    teachers: int = 1000
    rounds: int = 80
    batch: int = 4
    crowd: int = 12
    coefficients: int = 144
    bandwidth: float = 0.08
    stride: float = 0.3
    repeats: int = 2
    learning_rate: float = 2e-3
    class_prior: str | Mapping[str, float] = "estimated"
    samples: int | None = None
    latent: int = 16
    hidden: int = 200
    width: int = 16
    averaging: float = 0.98
    max_minutes: float | None = None
    seed: int | None = None
    device: str = "auto"

    name: ClassVar[str]
    kinds: ClassVar[tuple[str, ...]] = ("images",)
    gives: ClassVar[str] = "images"
    relation: ClassVar[str] = "central"
    needs_records: ClassVar[bool] = True
    default_delta: ClassVar[float] = 1e-5
    chosen_on: ClassVar[tuple[str, ...]] = ()
    """Public sets on which the defaults were chosen."""

    def __post_init__(self) -> None:
        for name, least in _WHOLE.items():
            checks.whole(name, getattr(self, name), least)
        for name in ("bandwidth", "stride", "learning_rate"):
            checks.number(name, getattr(self, name), 0, closed=False)
        checks.number("averaging", self.averaging, 0, 1 - 1e-9)
        checks.optional(self, samples=1)
        checks.clocked(self)
        object.__setattr__(self, "class_prior", priors.check(self.class_prior))

    # -- what a method adds --------------------------------------------------------------------

    @abstractmethod
    def aggregation(self, stddev: float, basis: LowFrequencies) -> Aggregation:
        """How teachers' answers on one class in one round are aggregated, with so much noise."""

    @abstractmethod
    def answer(
        self,
        aggregation: Any,
        pulls: Tensor,
        present: Tensor,
        coins: torch.Generator,
        source: NoiseSource,
    ) -> Tensor:
        """(b, d): the noisy way that the asked images of a class are to go.

        Args:
            aggregation: Calibrated; nothing else may draw.
            pulls: (teachers, b, d) where each teacher wants them to go; zeros where it knows
                nothing. Private.
            present: (teachers,) who has a record of the class. Private.
            coins: Of what is random and is no privacy noise.
            source: Of the noise.
        """

    def certain(self, facts: ImageSchema) -> Iterator[Part]:
        """What settings of its own make large; see :mod:`sfumato.publish.room`."""
        yield from ()

    # -- what they share -----------------------------------------------------------------------

    def calibrate(self, budget: Budget, facts: ImageSchema) -> Calibrated:
        """The run that spends ``budget`` on images with these public facts.

        Raises:
            InputError: If the facts are not those of images or lack the number of records, the
                budget lacks a delta, or a setting does not fit them.
        """
        from sfumato.data import ImageSchema
        from sfumato.publish.generators.voted_run import Run

        if not isinstance(facts, ImageSchema):
            raise InputError(f"{self.name} was given a table", "It publishes images.")
        if budget.delta == 0:
            raise InputError("delta is 0, which no Gaussian noise can meet", "Give a delta.")
        records = checks.records(facts, budget)
        if self.teachers > records:
            raise InputError(
                f"there are {self.teachers} teachers for {records} records", "Give fewer teachers."
            )
        basis = self.basis(facts)
        prior = priors.declared(self.class_prior, facts.classes)
        rounds = Rounds.calibrate(
            budget,
            lambda stddev: self.aggregation(stddev, basis),
            self.rounds,
            len(facts.classes) if prior is None else None,
        )
        run = Run(self, facts, records, rounds, prior, checks.device(self.device))
        public = [Fact("generator", run.architecture.to_dict(), f"public: setting of {self.name}")]
        if isinstance(self.class_prior, Mapping):
            public.append(Fact("class prior", dict(self.class_prior)))
        return Calibrated(
            method=self,
            budget=budget,
            facts=facts,
            guarantee=Central(rounds.event, budget.delta, "record", RELATION),
            plan=run.plan,
            run=run,
            public=tuple(public),
            caveats=(*_CAVEATS, *chosen_on(*self.chosen_on)),
        )

    def architecture(self, facts: ImageSchema) -> Architecture:
        """Of the published generator."""
        return Architecture(facts.shape, len(facts.classes), self.latent, self.hidden, self.width)

    def basis(self, facts: ImageSchema) -> LowFrequencies:
        """What teachers see of an image."""
        from sfumato.learn.frequencies import LowFrequencies

        return LowFrequencies(facts.shape, self.coefficients)

    def places(self, records: int, classes: int) -> int:
        """The most records of a class that a teacher looks at: enough unless one class has most."""
        mean = records / (self.teachers * classes)
        return math.ceil(1.5 * mean + 4 * math.sqrt(mean)) + 1


_CAVEATS = (
    RecordCaveat(
        "One record is protected against adding or removing it: of a person with k records, all "
        "together are protected less, by group privacy."
    ),
    "The number of records is declared public: how many images are drawn unless samples says so, "
    "and how many records of a class a teacher looks at, follow from it.",
    "Epsilon is that of all noisy answers, whatever the teachers said; smaller figures in the "
    "literature depend on their votes and are private themselves.",
    TUNED,
)
