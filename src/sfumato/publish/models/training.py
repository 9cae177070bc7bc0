"""A network trained by noisy clipped gradients, from private records to a model.

What every method of this room that trains a network shares: the plain choices of optimiser and
schedule, the run itself, its checkpoints and its progress. What differs, the mechanism, is handed
in.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sfumato.learn import checkpoint
from sfumato.learn.architectures import build, weights
from sfumato.learn.trainer import PrivateTrainer
from sfumato.publish import checks
from sfumato.publish.workspace import TRAINING
from sfumato.release.model import Model
from sfumato.release.release import Artefact

if TYPE_CHECKING:
    from sfumato.data import ImageSchema, Schema
    from sfumato.learn.accounted import Mechanism
    from sfumato.learn.contracts import EngineMaker
    from sfumato.learn.progress import Progress as Stand
    from sfumato.learn.toeplitz import Workload
    from sfumato.privacy.noise import NoiseSource
    from sfumato.publish.method import Progress

OPTIMIZERS = ("sgd", "adam")
SCHEDULES = ("constant", "linear", "cosine")
_MOST_RATES = 2000  # beyond, the best bands take minutes to find
_TOLD_EVERY = 3.0  # seconds between two accountings of what was spent so far


@dataclass(frozen=True)
class Optimisation:
    """How weights follow the noisy gradients: nothing here is of consequence for privacy.

    Args:
        optimizer: ``"sgd"`` or ``"adam"``.
        learning_rate: Of the noisy mean gradient.
        momentum: Of ``sgd``, in ``[0, 1)``.
        schedule: Of the learning rate: ``"constant"``, or falling to a hundredth of it,
            ``"linear"`` or ``"cosine"``.
        averaging: Decay of the exponential average of the weights that is published, in
            ``[0, 1)``; None publishes the last ones.
        physical_batch_size: Records in memory at a time.

    Raises:
        InputError: If a value is unknown or out of its range.
    """

    optimizer: str = "sgd"
    learning_rate: float = 0.5
    momentum: float = 0.9
    schedule: str = "constant"
    averaging: float | None = None
    physical_batch_size: int = 1024

    def __post_init__(self) -> None:
        checks.one_of("optimizer", self.optimizer, OPTIMIZERS)
        checks.one_of("schedule", self.schedule, SCHEDULES)
        checks.number("learning_rate", self.learning_rate, 0, closed=False)
        checks.number("momentum", self.momentum, 0, 1 - 1e-9)
        if self.averaging is not None:
            checks.number("averaging", self.averaging, 0, 1 - 1e-9)
        checks.whole("physical_batch_size", self.physical_batch_size, 1)

    @classmethod
    def of_settings(cls, method: Any) -> Optimisation:
        """The choices of these names among a method's settings."""
        named = [field.name for field in fields(cls) if hasattr(method, field.name)]
        return cls(**{name: getattr(method, name) for name in named})

    def of(self, module: nn.Module) -> torch.optim.Optimizer:
        """The optimiser of the module's trainable parameters."""
        parameters = [p for p in module.parameters() if p.requires_grad]
        if self.optimizer == "adam":
            return torch.optim.Adam(parameters, self.learning_rate)
        return torch.optim.SGD(parameters, self.learning_rate, self.momentum)

    def factor(self, steps: int) -> Callable[[int], float] | None:
        """The factor on the learning rate by the steps taken before, of ``steps`` in all."""
        if self.schedule == "linear":
            return lambda step: max(0.01, 1 - step / steps)
        if self.schedule == "cosine":
            return lambda step: max(0.01, (1 + math.cos(math.pi * step / steps)) / 2)
        return None

    def workload(self, steps: int) -> Workload:
        """The sums of gradients that the weights are, as far as they are sums.

        Momentum and the schedule of the learning rate are known; what Adam does is taken for SGD.
        """
        from sfumato.learn.toeplitz import Workload

        momentum = self.momentum if self.optimizer == "sgd" else 0.0
        factor = self.factor(steps)
        rates = tuple(map(factor, range(steps))) if factor and steps <= _MOST_RATES else None
        return Workload(momentum, rates)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Training:
    """The run of one network under one mechanism.

    Args:
        facts: Public facts of the records.
        mechanism: What is accounted.
        architecture: Of the network.
        optimisation: See :class:`Optimisation`.
        device: As torch names it.
        engine: Gives clipped sums; None for the one-pass engine.
    """

    facts: ImageSchema | Schema
    mechanism: Mechanism
    architecture: Mapping[str, Any]
    optimisation: Optimisation
    device: str = "cpu"
    engine: EngineMaker | None = None

    def train(
        self,
        module: nn.Module,
        inputs: Tensor,
        targets: Tensor,
        source: NoiseSource,
        progress: Progress,
        workspace: Path | None = None,
    ) -> None:
        """Trains a module in place, and leaves what is to be published in it.

        Args:
            module: Built from ``architecture``; frozen parameters stay as they are.
            inputs: (n, ...) private.
            targets: (n,) private class numbers.
            source: Sampling and noise.
            progress: Told the steps taken.
            workspace: Where checkpoints lie; a training that is found there goes on.
        """
        module.to(self.device)
        trainer = PrivateTrainer(
            module,
            _losses,
            self.optimisation.of(module),
            self.mechanism,
            (inputs, targets),
            averaging=self.optimisation.averaging,
            schedule=self.optimisation.factor(self.mechanism.steps),
            physical_batch_size=self.optimisation.physical_batch_size,
            source=source,
            engine=self.engine,
        )
        folder = None if workspace is None else workspace / TRAINING
        try:
            if folder is not None and checkpoint.found(folder):
                trainer.resume(folder)
            if trainer.steps_taken < self.mechanism.steps:
                trainer.fit(progress=_Told(progress), checkpoint=folder)
        finally:
            trainer.close()
        if trainer.average is not None:
            trainer.average.copy_to(module)

    def build(self, seed: int) -> nn.Module:
        """The network with its public initial weights."""
        return build(self.architecture, seed=seed)

    def artefact(self, module: nn.Module, seeds: Mapping[str, int], **notes: Any) -> Artefact:
        """What is published of a trained module."""
        model = Model(self.facts, self.architecture, weights(module))
        return Artefact(model, seeds=seeds, notes=notes)

    @property
    def plan(self) -> dict[str, Any]:
        """The mechanism and the network, as JSON values for a card."""
        mechanism = self.mechanism.to_dict()
        del mechanism["event"], mechanism["delta"], mechanism["neighbours"]  # the guarantee's own
        return {**mechanism, "architecture": dict(self.architecture)}


class _Told:
    """Passes a training's progress on, with what it has spent so far."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._label = "training"
        self._next = time.monotonic() + _TOLD_EVERY

    def __call__(self, stand: Stand) -> None:
        if time.monotonic() >= self._next:
            self._label = f"training, ε {stand.epsilon:.3f} so far"
            self._next = time.monotonic() + _TOLD_EVERY
        self._progress(stand.step, stand.steps, self._label)


def _losses(scores: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(scores, targets, reduction="none")
