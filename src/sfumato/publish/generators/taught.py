"""``generators.taught``: pictures of nobody, labelled by a private teacher.

The release has to train a classifier, and nothing else. A classifier is the cheapest thing to learn
from private images: at epsilon 1 a linear layer on scattering features is nearly as good as without
privacy. So most of the budget trains that teacher. A little may buy a description of the classes:
one noisy sum of counts, means and second moments of low frequencies. Everything after that is free:
pictures are drawn by public procedures and from the description, the teacher says how likely each
class is for each, and pictures with these soft labels are released.

What is guaranteed, and by what:

- Whatever is released is a function of the teacher's weights, the noisy description and public
  seeds. The event is the composition of the description's Gaussian, that of the features' mean, and
  all sampled steps of the teacher's training; the steps' noise is calibrated on this composition.
- No private image, label or count is an argument of anything that runs after the two draws. Class
  shares come from the noisy counts, or are public.

The images show what the procedures draw: they are no likenesses of private images, and a set that
was labelled for one task is of no use for another.

Source: own. Soft labels as in Hinton, Vinyals, Dean 2015 (arXiv 1503.02531); the teacher as in
Tramer and Boneh 2021 (arXiv 2011.11660); procedural pictures that teach as in Baradad et al. 2021
(arXiv 2106.05963).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from sfumato.data.facts import Fact
from sfumato.errors import InputError
from sfumato.privacy.guarantee import Central
from sfumato.privacy.neighbours import Neighbours
from sfumato.publish import checks
from sfumato.publish.generators import priors
from sfumato.publish.generators.proxies import KINDS, Mixture
from sfumato.publish.generators.teaching import Run
from sfumato.publish.method import Calibrated, chosen_on
from sfumato.publish.models.run import caveats
from sfumato.registry import method

if TYPE_CHECKING:
    from sfumato.data import ImageSchema
    from sfumato.learn.moments import ClassMoments
    from sfumato.learn.recipe import ScatterLinear
    from sfumato.privacy.budget import Budget

_SHARES = ("estimated", "uniform")
_WHOLE = {"steps": 1, "coefficients": 3, "samples": 1, "candidates": 1, "repeats": 1}
_POSITIVE = ("max_grad_norm", "brightness", "temperature")


@method("generators.taught")
@dataclass(frozen=True)
class Taught:
    """A fixed set of procedural images with the soft labels of a private teacher.

    Args:
        samples: How many images to publish; None: as many as there are records.
        candidates: How many are drawn for each that is published; the classes, as the teacher
            sees them, are then balanced by ``class_shares`` as far as the candidates allow.
        repeats: How many times an image may be published where its class has too few of them.
        class_shares: ``"uniform"``, ``"estimated"`` (from the noisy counts, where the description
            is paid for), or public shares by class name.
        temperature: What the teacher's logits are divided by before they become soft labels.
        labels: ``"soft"``, or ``"hard"`` for the likeliest class alone.
        drawings: Weight of strokes and blobs among the images; only the ratios of the four count.
        silhouettes: Of filled outlines.
        textured: Of images drawn from the noisy description, overlaid with one of those.
        outlines: Of outlines of such images, bent and filled anew.
        description_share: The share of the budget's mu that the description costs, in ``[0, 1)``;
            about half its square is what the teacher's steps lose. 0 for no description.
        coefficients: The most low frequencies of an image that are described.
        brightness: The root-mean-square pixel up to which an image is described in full.
        sample_rate: Probability with which a step of the teacher sees a record, in ``(0, 1]``.
        steps: How many there are.
        max_grad_norm: Bound on one record's gradient.
        learning_rate: Of the noisy mean gradient; None: 5 up to epsilon 1.5, else 8.
        momentum: Heavy-ball, in ``[0, 1)``.
        averaged: The part of the steps, from the end, whose weights are averaged.
        centre_share: The share of the budget's mu that the features' mean costs; 0 for none.
        neighbours: ``"add-remove"`` or ``"replace-one"``.
        max_minutes: Draw only as many pictures as there is time for, and release fewer (1,000 at
            least) where not even ``samples`` can be drawn; the whole budget is spent all the same.
            How many is measured on made-up images before anything is paid. None draws all.
        seed: Of the pictures, which are not privacy noise; None draws one.

    Preset: ``lines``, for images that are known to be drawn or written.

    Raises:
        InputError: If a value is unknown or out of its range.

    Guaranteed: ``Central``, (epsilon, delta) for the relation chosen; the number of records is
    declared public.
    """

    samples: int | None = None
    candidates: int = 2
    repeats: int = 1
    class_shares: str | Mapping[str, float] = "uniform"
    temperature: float = 8.0
    labels: str = "soft"
    drawings: float = 1.0
    silhouettes: float = 2.0
    textured: float = 0.5
    outlines: float = 2.0
    description_share: float = 0.3
    coefficients: int = 256
    brightness: float = 0.5
    sample_rate: float = 0.14
    steps: int = 280
    max_grad_norm: float = 0.1
    learning_rate: float | None = None
    momentum: float = 0.9
    averaged: float = 0.25
    centre_share: float = 0.1
    neighbours: str = "add-remove"
    max_minutes: float | None = None
    seed: int | None = None

    name: ClassVar[str]
    kinds: ClassVar[tuple[str, ...]] = ("images",)
    gives: ClassVar[str] = "images"
    source: ClassVar[str] = "own; teacher of Tramèr and Boneh, ICLR 2021 (arXiv 2011.11660)"
    relation: ClassVar[str] = "central"
    needs_records: ClassVar[bool] = True
    default_delta: ClassVar[float] = 1e-5
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "lines": {"drawings": 4.0, "silhouettes": 0.5}
    }

    def __post_init__(self) -> None:
        checks.one_of("neighbours", self.neighbours, ("add-remove", "replace-one"))
        checks.one_of("labels", self.labels, ("soft", "hard"))
        for name, least in _WHOLE.items():
            if name != "samples" or self.samples is not None:
                checks.whole(name, getattr(self, name), least)
        if self.seed is not None:
            checks.whole("seed", self.seed, 0)
        for name in KINDS:
            checks.number(name, getattr(self, name), 0)
        if not any(getattr(self, name) for name in KINDS):
            raise InputError("all kinds of images have the weight 0", "Give one of them more.")
        for name in ("sample_rate", "averaged"):
            checks.number(name, getattr(self, name), 0, 1, closed=False)
        for name in ("momentum", "centre_share", "description_share"):
            checks.number(name, getattr(self, name), 0, 1 - 1e-9)
        if self.description_share**2 + self.centre_share**2 >= 1:
            raise InputError("nothing is left for the teacher", "Lower description_share.")
        for name in _POSITIVE:
            checks.number(name, getattr(self, name), 0, closed=False)
        if self.learning_rate is not None:
            checks.number("learning_rate", self.learning_rate, 0, closed=False)
        if self.max_minutes is not None:
            checks.number("max_minutes", self.max_minutes, 0, closed=False)
        if (self.textured or self.outlines) and not self.description_share:
            raise InputError(
                "images of the classes are wanted, and no description is paid for",
                "Give description_share, say 0.3, or set textured and outlines to 0.",
            )
        object.__setattr__(self, "class_shares", priors.check(self.class_shares, "class_shares"))
        if self.class_shares == "estimated" and not self.description_share:
            raise InputError(
                "class_shares is 'estimated', and no description is paid for",
                "Give description_share, say 0.3, or public shares.",
            )

    def calibrate(self, budget: Budget, facts: ImageSchema) -> Calibrated:
        """The run that spends ``budget`` on images with these public facts.

        Raises:
            InputError: If the facts are not those of images or lack the number of records, or a
                setting does not fit them.
        """
        from sfumato.data import ImageSchema
        from sfumato.learn.noise import STREAM
        from sfumato.privacy import events

        if not isinstance(facts, ImageSchema):
            raise InputError("generators.taught was given a table", "It publishes images.")
        records = checks.records(facts, budget)
        if len(facts.classes) < 2:
            raise InputError("there is one class", "Declare the classes to tell apart.")
        relation = Neighbours(self.neighbours)
        recipe = self._recipe(len(facts.classes), budget.epsilon)
        recipe.scattering.shape(*facts.shape)  # refuses images that are too small
        described = self._description(budget, facts, relation)
        paid = None if described is None else described.event
        teacher = recipe.calibrate(budget, records=records, neighbours=relation, beside=paid)
        event = teacher.event if paid is None else events.compose(paid, teacher.event)
        run = Run(
            facts=facts,
            description=described,
            teacher=teacher,
            mixture=Mixture(self.drawings, self.silhouettes, self.textured, self.outlines),
            samples=self.samples or records,
            candidates=self.candidates,
            repeats=self.repeats,
            shares=priors.declared(self.class_shares, facts.classes, "class_shares"),
            temperature=self.temperature,
            soft=self.labels == "soft",
            seed=self.seed,
            minutes=self.max_minutes,
        )
        return Calibrated(
            method=self,
            budget=budget,
            facts=facts,
            guarantee=Central(event, budget.delta, "record", relation),
            plan=run.plan,
            run=run,
            public=_public(self),
            caveats=(
                *caveats(relation),
                "The images are drawn by procedures and labelled for this task: they look like no "
                "private image, and say nothing that the labels' teacher did not know.",
                *chosen_on("MNIST", "Fashion-MNIST"),
            ),
            source=STREAM,
        )

    def _recipe(self, classes: int, epsilon: float) -> ScatterLinear:
        from sfumato.learn.recipe import ScatterLinear

        rate = self.learning_rate
        return ScatterLinear(
            classes=classes,
            sample_rate=self.sample_rate,
            steps=self.steps,
            max_grad_norm=self.max_grad_norm,
            learning_rate=(5.0 if epsilon <= 1.5 else 8.0) if rate is None else rate,
            momentum=self.momentum,
            averaged=self.averaged,
            centre_share=self.centre_share,
        )

    def _description(
        self, budget: Budget, facts: ImageSchema, relation: Neighbours
    ) -> ClassMoments | None:
        from sfumato.learn.moments import ClassMoments
        from sfumato.privacy import calibration

        if not self.description_share:
            return None
        far = 2 if relation is Neighbours.REPLACE_ONE else 1
        mu = self.description_share * calibration.analytic_gaussian_mu(budget)
        return ClassMoments(
            facts.shape, len(facts.classes), far / mu, self.coefficients, self.brightness
        )


def _public(method: Taught) -> tuple[Fact, ...]:
    known = [
        Fact(
            "features",
            "wavelet scattering, normalised within each image",
            "public: mathematics",
        ),
        Fact(
            "what the images show",
            "strokes, blobs and upright or lying silhouettes in the middle of the frame",
            "public: seeded procedure of this package",
        ),
    ]
    if isinstance(method.class_shares, Mapping):
        known.append(Fact("class shares", dict(method.class_shares)))
    return tuple(known)
