"""``learn.finetune``: a small ImageNet network, fine-tuned on private images.

The public network does most of the work; what is trained on private images is its head, its last
parts, or a few numbers in all of them, by noisy sums of clipped gradients. Batch norms are frozen
to ImageNet's statistics and images are normalised by public constants: no statistic of private
images is used for anything.

Source: Tida et al., HICSS 2023 (arXiv 2209.04445), which fine-tunes EfficientNet on X-rays.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from sfumato.data.facts import Fact
from sfumato.errors import InputError
from sfumato.privacy.neighbours import Neighbours
from sfumato.publish import checks
from sfumato.publish.method import Calibrated
from sfumato.publish.models.run import caveats
from sfumato.registry import method

if TYPE_CHECKING:
    from sfumato.data import ImageSchema, ImageSet
    from sfumato.learn.finetune import CalibratedFineTune, FineTune
    from sfumato.privacy.budget import Budget
    from sfumato.privacy.noise import NoiseSource
    from sfumato.publish.method import Progress
    from sfumato.release.release import Artefact

FEW = 1_000
"""Records below which a release says that they are few."""
_FOLDER = "training"
_BATCH = 256


@method("learn.finetune")
@dataclass(frozen=True)
class FineTuneMethod:
    """A classifier of images: EfficientNet-Lite0 with public weights, tuned under a guarantee.

    Args:
        trainable: ``"head"`` (a linear layer on frozen features), ``"last-N"`` (and the last N of
            18 parts), ``"norms-N"``, ``"bias-N"`` (and only their norms, or the biases of these),
            ``"lora-N"`` (and low-rank changes of their 1x1 convolutions); ``"norms"``, ``"bias"``,
            ``"lora"`` and ``"all"`` mean all 18.
        weights: ``"imagenet"``, from the extra ``finetune``; or ``"random"``, which needs none.
        side: Pixels that images are resized to before the network sees them.
        sample_rate: Probability with which a step sees a record, in ``(0, 1]``.
        steps: How many there are.
        max_grad_norm: Bound on one record's gradient.
        learning_rate: Of the head; falls to 0 as a cosine.
        body_rate: Learning rate of everything else over the head's.
        momentum: Heavy-ball, in ``[0, 1)``.
        averaging: Decay of the average of the weights that is published, in ``[0, 1)``.
        neighbours: ``"add-remove"`` or ``"replace-one"``.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.

    Raises:
        InputError: If a value is unknown or out of its range.

    Guaranteed: ``Central``, (epsilon, delta) for the relation chosen; the number of records is
    declared public. Nothing is promised to people in the public pictures.
    """

    trainable: str = "head"
    weights: str = "imagenet"
    side: int = 64
    sample_rate: float = 0.125
    steps: int = 100
    max_grad_norm: float = 1.0
    learning_rate: float = 0.5
    body_rate: float = 1.0
    momentum: float = 0.9
    averaging: float = 0.9
    neighbours: str = "add-remove"
    device: str = "auto"

    name: ClassVar[str]
    kinds: ClassVar[tuple[str, ...]] = ("images",)
    gives: ClassVar[str] = "model"
    source: ClassVar[str] = "Tida et al., HICSS 2023 (arXiv 2209.04445)"
    relation: ClassVar[str] = "central"
    needs_records: ClassVar[bool] = True
    default_delta: ClassVar[float] = 1e-5

    def __post_init__(self) -> None:
        checks.one_of("neighbours", self.neighbours, ("add-remove", "replace-one"))
        checks.one_of("device", self.device, checks.DEVICES)
        checks.whole("steps", self.steps, 1)
        checks.number("sample_rate", self.sample_rate, 0, 1, closed=False)
        for name in ("max_grad_norm", "learning_rate", "body_rate"):
            checks.number(name, getattr(self, name), 0, closed=False)
        for name in ("momentum", "averaging"):
            checks.number(name, getattr(self, name), 0, 1 - 1e-9)
        self._settings(2)

    def _settings(self, classes: int) -> FineTune:
        from sfumato.learn.finetune import FineTune

        return FineTune(
            classes=classes,
            trainable=self.trainable,
            side=self.side,
            sample_rate=self.sample_rate,
            steps=self.steps,
            max_grad_norm=self.max_grad_norm,
            learning_rate=self.learning_rate,
            body_rate=self.body_rate,
            momentum=self.momentum,
            averaging=self.averaging,
            weights=self.weights,
        )

    def calibrate(self, budget: Budget, facts: ImageSchema) -> Calibrated:
        """The run that spends ``budget`` on images with these public facts.

        Raises:
            InputError: If the facts are not those of images, or lack the number of records.
            MissingExtraError: If the weights are not installed.
        """
        from sfumato.data import ImageSchema
        from sfumato.learn.noise import STREAM
        from sfumato.vision import pretrained

        if not isinstance(facts, ImageSchema):
            raise InputError("learn.finetune was given a table", "It takes images.")
        records = checks.records(facts, budget)
        if len(facts.classes) < 2:
            raise InputError("there is one class", "Declare the classes to tell apart.")
        if self.weights == "imagenet":
            pretrained.place()
        relation = Neighbours(self.neighbours)
        ready = self._settings(len(facts.classes)).calibrate(
            budget, records=records, neighbours=relation
        )
        run = Run(facts, ready, checks.device(self.device))
        return Calibrated(
            method=self,
            budget=budget,
            facts=facts,
            guarantee=ready.guarantee(),
            plan=run.plan,
            run=run,
            public=(
                Fact("initial weights", self.weights, pretrained.SOURCES[self.weights]),
                Fact("pixel mean and spread", _PIXELS, "public: what the weights were made for"),
            ),
            caveats=(*caveats(relation), *_caveats(self.weights, records)),
            source=STREAM,
        )


_PIXELS = ["127/255", "128/255"]


@dataclass(frozen=True)
class Run:
    """Frozen parts once, then the steps.

    Args:
        facts: Of the images.
        ready: The calibrated training.
        device: As torch names it.
    """

    facts: ImageSchema
    ready: CalibratedFineTune
    device: str = "cpu"
    resumable: bool = field(default=True, init=False)

    @property
    def architecture(self) -> dict[str, Any]:
        """Of the network that is published."""
        method = self.ready.method
        return {"family": "efficientnet-lite0", "side": method.side, "classes": method.classes}

    @property
    def plan(self) -> dict[str, Any]:
        """As JSON values for a card."""
        mechanism = self.ready.dp_sgd.to_dict()
        del mechanism["event"], mechanism["delta"], mechanism["neighbours"]  # the guarantee's own
        return {
            **mechanism,
            "expected_batch_size": self.ready.dp_sgd.sampling.expected_batch_size,
            "architecture": self.architecture,
        }

    def __call__(
        self,
        data: ImageSet,
        source: NoiseSource,
        progress: Progress,
        workspace: Path | None = None,
    ) -> Artefact:
        """Trains on private images.

        Args:
            data: The images.
            source: Sampling and noise.
            progress: Told after each part of the images, and after each step.
            workspace: Where checkpoints lie; a training that is found there goes on.
        """
        import torch

        from sfumato.learn.architectures import weights
        from sfumato.learn.finetune import frozen_features
        from sfumato.release.model import Model
        from sfumato.release.release import Artefact

        network, frozen = self.ready.method.parts(self.device)
        features = []
        done = 0
        for images, _ in data.batches(_BATCH):  # large images are never in memory all at once
            features.append(frozen_features(frozen, torch.from_numpy(images)))
            done += len(images)
            progress(done, len(data), "frozen layers")
        found = self.ready.fit_frozen(
            torch.cat(features),
            torch.from_numpy(data.labels),
            network=network,
            source=source,
            progress=progress,
            workspace=None if workspace is None else workspace / _FOLDER,
        )
        return Artefact(Model(self.facts, self.architecture, weights(found.network)))


def _caveats(weights: str, records: int) -> tuple[str, ...]:
    found = [
        "A network finds what tells the classes apart, not what ought to: where pictures of one "
        "class come from one place or device, it learns the place. Test on another source.",
        "The defaults were chosen on images held out of the training part of Fashion-MNIST, which "
        "is public.",
    ]
    if weights == "imagenet":
        found.append(
            "The initial weights are public by assumption: people in ImageNet's pictures are "
            "promised nothing, and a private record that is also there is not protected more."
        )
    if records < FEW:
        found.append(
            f"There are {records} records: at a delta well below 1/{records} an epsilon above 3 or "
            "so promises little, and an interval on so few test records is wide."
        )
    return tuple(found)
