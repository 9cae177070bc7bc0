"""``learn.recipe``: one linear layer on public scattering features.

The baseline that private training has to beat, and seldom does on small grey images: the features
cost nothing, so the whole budget goes into a few thousand weights.

Source: Tramèr and Boneh, "Differentially Private Learning Needs Better Features (or Much More
Data)", ICLR 2021.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from sfumato.data.facts import Fact
from sfumato.errors import InputError
from sfumato.privacy.neighbours import Neighbours
from sfumato.publish import checks
from sfumato.publish.method import Calibrated, chosen_on
from sfumato.publish.models.run import caveats
from sfumato.registry import method

if TYPE_CHECKING:
    from sfumato.data import ImageSchema, ImageSet
    from sfumato.learn.recipe import CalibratedScatterLinear, ScatterLinear
    from sfumato.privacy.budget import Budget
    from sfumato.privacy.noise import NoiseSource
    from sfumato.publish.method import Progress
    from sfumato.release.release import Artefact


@method("learn.recipe")
@dataclass(frozen=True)
class Recipe:
    """A linear classifier of images on scattering features that nobody's data shaped.

    Args:
        sample_rate: Probability with which a step sees a record, in ``(0, 1]``.
        steps: How many there are.
        max_grad_norm: Bound on one record's gradient.
        learning_rate: Of the noisy mean gradient; None: 5 up to epsilon 1.5, else 8.
        momentum: Heavy-ball, in ``[0, 1)``.
        averaged: The part of the steps, from the end, whose weights are averaged.
        centre_share: The share of the budget's mu that the features' mean costs; 0 for none.
        upright: Whether images are sheared until they stand upright first, each by itself: for
            writing.
        drawings: How many procedural drawings a public whitening of the features is learnt from, 0
            for none. It wants fewer steps and other learning rates, see the preset.
        neighbours: ``"add-remove"`` or ``"replace-one"``.

    Presets: ``whitened``, chosen on images held out of Fashion-MNIST's training part at epsilon
    2.7; ``writing``, upright, chosen on images held out of MNIST's.

    Raises:
        InputError: If a value is unknown or out of its range.

    Guaranteed: ``Central``, (epsilon, delta) for the relation chosen; the number of records is
    declared public.
    """

    sample_rate: float = 0.14
    steps: int = 280
    max_grad_norm: float = 0.1
    learning_rate: float | None = None
    momentum: float = 0.9
    averaged: float = 0.25
    centre_share: float = 0.1
    drawings: int = 0
    upright: bool = False
    neighbours: str = "add-remove"

    name: ClassVar[str]
    kinds: ClassVar[tuple[str, ...]] = ("images",)
    gives: ClassVar[str] = "model"
    source: ClassVar[str] = "Tramèr and Boneh, ICLR 2021 (arXiv 2011.11660)"
    relation: ClassVar[str] = "central"
    needs_records: ClassVar[bool] = True
    default_delta: ClassVar[float] = 1e-5
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "whitened": {"drawings": 6000, "sample_rate": 0.25, "steps": 160, "learning_rate": 25.0},
        "writing": {"upright": True},
    }

    def __post_init__(self) -> None:
        checks.one_of("neighbours", self.neighbours, ("add-remove", "replace-one"))
        checks.whole("steps", self.steps, 1)
        checks.whole("drawings", self.drawings, 0)
        for name in ("sample_rate", "averaged"):
            checks.number(name, getattr(self, name), 0, 1, closed=False)
        for name in ("momentum", "centre_share"):
            checks.number(name, getattr(self, name), 0, 1 - 1e-9)
        if self.learning_rate is not None:
            checks.number("learning_rate", self.learning_rate, 0, closed=False)
        checks.number("max_grad_norm", self.max_grad_norm, 0, closed=False)
        self._recipe(2, 1.0)

    def _recipe(self, classes: int, epsilon: float) -> ScatterLinear:
        from sfumato.learn.recipe import ScatterLinear

        rate = self.learning_rate
        if rate is None:
            rate = 5.0 if epsilon <= 1.5 else 8.0
        return ScatterLinear(
            classes=classes,
            sample_rate=self.sample_rate,
            steps=self.steps,
            max_grad_norm=self.max_grad_norm,
            learning_rate=rate,
            momentum=self.momentum,
            averaged=self.averaged,
            centre_share=self.centre_share,
            drawings=self.drawings,
            upright=self.upright,
        )

    def calibrate(self, budget: Budget, facts: ImageSchema) -> Calibrated:
        """The run that spends ``budget`` on images with these public facts.

        Raises:
            InputError: If the facts are not those of images, or lack the number of records.
        """
        from sfumato.data import ImageSchema
        from sfumato.learn.noise import STREAM

        if not isinstance(facts, ImageSchema):
            raise InputError("learn.recipe was given a table", "It takes images.")
        records = checks.records(facts, budget)
        if len(facts.classes) < 2:
            raise InputError("there is one class", "Declare the classes to tell apart.")
        relation = Neighbours(self.neighbours)
        recipe = self._recipe(len(facts.classes), budget.epsilon)
        recipe.scattering.shape(*facts.shape)  # refuses images that are too small
        ready = recipe.calibrate(budget, records=records, neighbours=relation)
        return Calibrated(
            method=self,
            budget=budget,
            facts=facts,
            guarantee=ready.guarantee(),
            plan=_plan(ready),
            run=Run(facts, ready),
            public=self._public(),
            caveats=(
                *caveats(relation),
                *chosen_on("MNIST", "Fashion-MNIST"),
            ),
            source=STREAM,
        )

    def _public(self) -> tuple[Fact, ...]:
        known = (
            Fact(
                "features",
                "wavelet scattering, normalised within each image",
                "public: mathematics",
            ),
        )
        if not self.drawings:
            return known
        return (
            *known,
            Fact(
                "whitening of the features",
                f"from {self.drawings} drawings of random strokes and blobs",
                "public: seeded procedure of this package",
            ),
        )


@dataclass(frozen=True)
class Run:
    """Features, their noisy mean, and the steps.

    Args:
        facts: Of the images.
        ready: The calibrated recipe.
    """

    facts: ImageSchema
    ready: CalibratedScatterLinear

    resumable: bool = field(default=True, init=False)

    def __call__(
        self,
        data: ImageSet,
        source: NoiseSource,
        progress: Progress,
        workspace: Path | None = None,
    ) -> Artefact:
        """Trains on private images; mean and steps are drawn once in a ``workspace``."""
        import torch

        from sfumato.learn.architectures import weights
        from sfumato.learn.architectures.scattering import ScatterNet, feature_values
        from sfumato.publish.scattered import fitted
        from sfumato.release.model import Model
        from sfumato.release.release import Artefact

        found = fitted(self.ready, data, source, progress, workspace)
        module = ScatterNet(self.ready.method, self.facts.shape)
        with torch.no_grad():
            module.linear.weight.copy_(found.weight)
            module.linear.bias.copy_(found.bias)
        architecture = {
            "family": "scatter-linear",
            "shape": list(self.facts.shape),
            "classes": len(self.facts.classes),
            "features": feature_values(self.ready.method),
        }
        return Artefact(Model(self.facts, architecture, weights(module)))


def _plan(ready: CalibratedScatterLinear) -> dict[str, Any]:
    mechanism = ready.dp_sgd.to_dict()
    del mechanism["event"], mechanism["delta"], mechanism["neighbours"]
    return {
        **mechanism,
        "mean_noise_multiplier": ready.mean_multiplier,
        "learning_rate": ready.method.learning_rate,
        "drawings": ready.method.drawings,
        "upright": ready.method.upright,
    }
