"""Fine-tuning of a public network on private images, by noisy sums of clipped gradients.

What stays frozen is a public function of each image alone: it is computed once, before the first
step, and costs neither time nor budget afterwards. What is trained (see
:mod:`sfumato.learn.trainable`) goes through :class:`~sfumato.learn.trainer.PrivateTrainer`. No
statistic of the private images is used anywhere: not to normalise them, not in the batch norms
(frozen to ImageNet's), not to choose anything.

    method = FineTune(classes=2, trainable="last-2")
    calibrated = method.calibrate(Budget(3.0, 1e-5), records=4_000)
    model = calibrated.fit(images, labels)
    model.probabilities(more_images), model.guarantee.describe()

Source: Tida et al., arXiv 2209.04445 (the sweep over layers, epsilon and clip norm, on EfficientNet
and X-rays); Tramer and Boneh, ICLR 2021, and De et al. 2022 (public features, large batches).
"""

from __future__ import annotations

import copy
import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.errors import InputError
from sfumato.learn import checkpoint
from sfumato.learn.clipping import Flat
from sfumato.learn.engine.refusals import refuse_mixing
from sfumato.learn.mechanism import DpSgd
from sfumato.learn.records import check_labels
from sfumato.learn.sampling import PoissonSampling
from sfumato.learn.trainable import Trainable, merge
from sfumato.privacy.neighbours import Neighbours
from sfumato.vision import pretrained
from sfumato.vision.efficientnet_lite import FEATURES, Prepare, between

if TYPE_CHECKING:
    from sfumato.learn.progress import Progress
    from sfumato.privacy.budget import Budget
    from sfumato.privacy.guarantee import Central
    from sfumato.privacy.noise import NoiseSource

Report = Callable[[int, int, str], None]
"""Told how much is done, of how much, and of what."""

_CHUNK = 64
"""Images that go through frozen parts at a time."""
_ADAPTERS = 20220930
"""Seed of the public numbers that low-rank adapters begin at."""


@dataclass(frozen=True)
class FineTune:
    """Public choices of the training; see :meth:`calibrate`.

    Args:
        classes: How many labels there are; labels are codes in ``[0, classes)``.
        trainable: What is trained; see :mod:`sfumato.learn.trainable`.
        side: Pixels that images are resized to before the network sees them.
        sample_rate: Probability with which a step sees a record, in ``(0, 1]``. Noisy sums are
            divided by ``sample_rate * records``, the expected size of a batch.
        steps: How many there are.
        max_grad_norm: Bound on the gradient of one record.
        learning_rate: Of the head, on the noisy mean gradient; falls to 0 as a cosine.
        body_rate: Learning rate of everything else over the head's.
        momentum: Heavy-ball, in ``[0, 1)``.
        averaging: Decay of the average of the weights along the way, in ``[0, 1)``.
        weights: What the network begins with: ``"imagenet"`` or ``"random"``; see
            :mod:`sfumato.vision.pretrained`.
        base: Another public network in parts in its place; never changed.

    Raises:
        InputError: If a value is out of its range.
    """

    classes: int
    trainable: str = "head"
    side: int = 64
    sample_rate: float = 0.125
    steps: int = 100
    max_grad_norm: float = 1.0
    learning_rate: float = 0.5
    body_rate: float = 1.0
    momentum: float = 0.9
    averaging: float = 0.9
    weights: str = "imagenet"
    base: nn.Sequential | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not (isinstance(self.classes, int) and self.classes >= 2):
            raise InputError(f"classes is {self.classes!r}", "Give at least 2.")
        for name in ("learning_rate", "body_rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"{name} is {getattr(self, name)!r}", "Give a number above 0.")
        for name in ("momentum", "averaging"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)!r}", "Give a number in [0, 1).")
        if not 0 < self.sample_rate <= 1:
            raise InputError(
                f"sample_rate is {self.sample_rate!r}", "Give a number above 0 and at most 1."
            )
        if self.weights not in pretrained.WEIGHTS:
            raise InputError(
                f"weights are {self.weights!r}", f"Use one of {', '.join(pretrained.WEIGHTS)}."
            )
        Trainable.parse(self.trainable)
        Prepare(self.side)
        Flat(self.max_grad_norm)

    def calibrate(
        self, budget: Budget, *, records: int, neighbours: Neighbours = Neighbours.ADD_REMOVE
    ) -> CalibratedFineTune:
        """The least noise with which all steps together meet the budget.

        Args:
            budget: Its delta must be above 0 and below ``1 / records``.
            records: The *declared*, public number of records.
            neighbours: The relation of the budget.

        Raises:
            InputError: If an argument is out of its range, or no noise meets the budget.
        """
        dp_sgd = DpSgd.calibrate(
            budget,
            records=records,
            expected_batch_size=PoissonSampling(records, self.sample_rate).expected_batch_size,
            steps=self.steps,
            clipping=Flat(self.max_grad_norm),
            neighbours=neighbours,
        )
        return CalibratedFineTune(self, dp_sgd)

    def network(self) -> nn.Sequential:
        """The public network, a copy.

        Raises:
            MissingExtraError: If it is the default one and its weights are not installed.
        """
        if self.base is None:
            return pretrained.load(self.side, self.weights)
        return copy.deepcopy(self.base).requires_grad_(False)

    def parts(self, device: str = "cpu") -> tuple[nn.Sequential, nn.Sequential]:
        """The public network, and of it what comes before anything that is trained."""
        network = self.network().to(device)
        return network, between(network, 0, Trainable.parse(self.trainable).cut(network))


@dataclass(frozen=True)
class CalibratedFineTune:
    """A :class:`FineTune` whose cost is known; made by its ``calibrate``.

    Args:
        method: Public choices.
        dp_sgd: The steps: sampler, clip, noise, count and event.
    """

    method: FineTune
    dp_sgd: DpSgd

    def guarantee(self) -> Central:
        """What a fit proves."""
        return self.dp_sgd.guarantee()

    def fit(
        self,
        images: Tensor,
        labels: Tensor,
        *,
        source: NoiseSource | None = None,
        progress: Report | None = None,
        workspace: Path | None = None,
        device: str = "cpu",
    ) -> FineTunedModel:
        """Trains on private images. Every call spends the budget once more.

        Args:
            images: (n, c, h, w) floats in [0, 1], grey or RGB.
            labels: (n,) int64 codes.
            source: Of sampling and noise; anything but the default is for tests.
            progress: Told after each part of the images, and after each step.
            workspace: Where checkpoints lie; a training that is found there goes on.
            device: As torch names it.

        Raises:
            InputError: If images and labels do not belong together, or a label is no class.
            MissingExtraError: If the network's weights are not installed.
        """
        check_labels(images, labels, self.method.classes)
        network, frozen = self.method.parts(device)
        return self.fit_frozen(
            frozen_features(frozen, images, progress),
            labels,
            network=network,
            source=source,
            progress=progress,
            workspace=workspace,
        )

    def fit_frozen(
        self,
        inputs: Tensor,
        labels: Tensor,
        *,
        network: nn.Sequential,
        source: NoiseSource | None = None,
        progress: Report | None = None,
        workspace: Path | None = None,
    ) -> FineTunedModel:
        """As :meth:`fit`, on what :func:`frozen_features` gave of the frozen parts.

        Args:
            inputs: (n, ...) what the first part that is trained takes.
            labels: (n,) int64 codes.
            network: Of which a copy is trained; the model shares what is frozen with it.
            source: For tests.
            progress: Told after each step.
            workspace: See :meth:`fit`.

        Guaranteed: the weights are a function of ``dp_sgd.steps`` noisy sums of clipped gradients,
        whose joint cost is ``dp_sgd.event``, and of public numbers.
        """
        from sfumato.learn.trainer import PrivateTrainer

        method = self.method
        check_labels(inputs, labels, method.classes)
        trainable = Trainable.parse(method.trainable)
        cut = trainable.cut(network)
        suffix = copy.deepcopy(between(network, cut, len(network))).requires_grad_(False)
        trainable.prepare(suffix, torch.Generator().manual_seed(_ADAPTERS))
        head = nn.Linear(FEATURES, method.classes)
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        body = [p for p in suffix.parameters() if p.requires_grad]
        groups = [{"params": [*head.parameters()], "lr": method.learning_rate}]
        if body:
            groups.append({"params": body, "lr": method.learning_rate * method.body_rate})
        suffix.add_module("head", head)
        suffix.to(next(network.parameters()).device)
        trainer = PrivateTrainer(
            suffix,
            _losses,
            torch.optim.SGD(groups, momentum=method.momentum),
            self.dp_sgd,
            (inputs, labels),
            averaging=method.averaging,
            schedule=lambda step: (1 + math.cos(math.pi * step / method.steps)) / 2,
            source=source,
        )
        try:
            if workspace is not None and checkpoint.found(workspace):
                trainer.resume(workspace)
            if trainer.steps_taken < method.steps:
                trainer.fit(progress=_told(progress), checkpoint=workspace)
        finally:
            trainer.close()
        assert trainer.average is not None
        trainer.average.copy_to(suffix)
        merge(suffix)
        whole = OrderedDict(network.named_children()) | dict(suffix.named_children())
        model = nn.Sequential(OrderedDict(whole)).requires_grad_(False).eval().to("cpu")
        return FineTunedModel(method, model, self.guarantee())


@dataclass(frozen=True, eq=False)
class FineTunedModel:
    """A trained network: wholly publishable under ``guarantee``.

    Attributes:
        method: Public choices.
        network: All parts and the ``head``; adapters are merged into what they adapted.
        guarantee: What is proven of the weights.
    """

    method: FineTune
    network: nn.Sequential
    guarantee: Central

    @torch.no_grad()
    def probabilities(self, images: Tensor) -> Tensor:
        """(n, classes) of (n, c, h, w) images in [0, 1]."""
        scores = [self.network(part) for part in torch.split(images, _CHUNK)]
        return torch.softmax(torch.cat(scores), dim=1)

    def predict(self, images: Tensor) -> Tensor:
        """(n,) int64 codes of the likeliest classes."""
        return self.probabilities(images).argmax(dim=1)

    def changed(self, base: nn.Sequential) -> dict[str, Tensor]:
        """The tensors in which the network differs from the public one, by name."""
        before = base.state_dict()
        return {
            name: value
            for name, value in self.network.state_dict().items()
            if name not in before or not torch.equal(value, before[name])
        }


@torch.no_grad()
def frozen_features(
    frozen: nn.Sequential, images: Tensor, progress: Report | None = None
) -> Tensor:
    """What the frozen parts make of each image, whatever images stand beside it.

    Args:
        frozen: The first parts of a network; there may be none.
        images: (n, c, h, w) floats in [0, 1].
        progress: Told after each part of the images.

    Returns:
        (n, ...) float32; the images themselves if no part is frozen.

    Raises:
        InputError: If a part would mix the images.
    """
    refuse_mixing(frozen)
    if not len(frozen):
        return images
    device = next((p.device for p in frozen.parameters()), torch.device("cpu"))
    if not len(images):
        none: Tensor = frozen(images.to(device)).cpu()
        return none
    found: Tensor | None = None
    for start in range(0, len(images), _CHUNK):
        values = frozen(images[start : start + _CHUNK].float().to(device)).cpu()
        if found is None:
            found = values.new_empty(len(images), *values.shape[1:])
        found[start : start + len(values)] = values
        if progress is not None:
            progress(start + len(values), len(images), "frozen layers")
    assert found is not None
    return found


def _told(progress: Report | None) -> Callable[[Progress], None] | None:
    if progress is None:
        return None
    return lambda now: progress(now.step, now.steps, "training")


def _losses(scores: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(scores, labels, reduction="none")
