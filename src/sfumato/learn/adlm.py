"""Noise by relevance: features that matter are learnt from with less of it, relatively.

After a few private steps the network's relevance is averaged over all records, once, under noise.
From then on feature ``j`` enters the network times ``sqrt(beta_j)``, with ``beta_j`` its relevance
over the mean. A record's clipped gradient then spends its length on the features that matter, and
the noise, the same in every coordinate of the rescaled weights, reaches the original ones times
``sqrt(beta_j)`` relative to a step of ``beta_j``. Every step and the relevance are one event.

    calibrated = AdLm(steps=900).calibrate(Budget(1.0, 1e-5), records=60_000)
    beta = calibrated.fit(build({"family": "scaled", "inner": network}), (inputs, labels))

Source: Phan et al., "Adaptive Laplace Mechanism", ICDM 2017, for the idea (relevance decides the
noise). Its mechanism is not this one: there, noise on the input layer and on the loss is claimed to
cost nothing more however many steps are taken, while it is drawn anew in each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sfumato.errors import InputError
from sfumato.learn import relevance
from sfumato.learn.architectures.scaled import ScaledNet
from sfumato.learn.clipping import Flat
from sfumato.learn.mechanism import DpSgd
from sfumato.learn.progress import Progress
from sfumato.learn.relevance import RelevanceMean
from sfumato.learn.sampling import PoissonSampling
from sfumato.learn.trainer import PrivateTrainer
from sfumato.privacy.neighbours import Neighbours

if TYPE_CHECKING:
    from dp_accounting import DpEvent

    from sfumato.privacy.budget import Budget
    from sfumato.privacy.guarantee import Central
    from sfumato.privacy.noise import NoiseSource

_BRACKET = (0.05, 1e4)
"""Noise multipliers among which the steps are calibrated."""
_CHUNK = 512
"""Records whose relevance is propagated at a time."""


@dataclass(frozen=True)
class AdLm:
    """Public choices; see :meth:`calibrate`.

    Args:
        sample_rate: Probability with which a step sees a record, in ``(0, 1]``.
        steps: How many there are in all.
        warmup: How many of them come before the relevance is measured.
        max_grad_norm: Bound on one record's gradient, in the rescaled weights.
        learning_rate: Of the noisy mean gradient.
        momentum: Heavy-ball, in ``[0, 1)``.
        relevance_share: The relevance's mu over that of the whole budget (GDP), in ``(0, 1)``;
            about half its square is what the steps lose.
        floor: The least ``beta_j``, in ``(0, 1]``; at 1 no feature is preferred.
        averaging: Decay of the average of the weights, or None.

    Raises:
        InputError: If a value is out of its range.
    """

    sample_rate: float = 0.02
    steps: int = 900
    warmup: int = 90
    max_grad_norm: float = 1.0
    learning_rate: float = 0.5
    momentum: float = 0.9
    relevance_share: float = 0.1
    floor: float = 0.1
    averaging: float | None = 0.99

    def __post_init__(self) -> None:
        for name in ("steps", "warmup"):
            if not (isinstance(getattr(self, name), int) and getattr(self, name) >= 1):
                raise InputError(f"{name} is {getattr(self, name)!r}", "Give at least 1.")
        if self.warmup >= self.steps:
            raise InputError(
                f"warmup is {self.warmup} of {self.steps} steps",
                "Leave steps to be taken after it.",
            )
        for name in ("max_grad_norm", "learning_rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"{name} is {getattr(self, name)!r}", "Give a number above 0.")
        for name in ("sample_rate", "floor"):
            if not 0 < getattr(self, name) <= 1:
                raise InputError(f"{name} is {getattr(self, name)!r}", "Give a number in (0, 1].")
        if not 0 < self.relevance_share < 1:
            raise InputError(
                f"relevance_share is {self.relevance_share!r}", "Give a number between 0 and 1."
            )
        if not 0 <= self.momentum < 1:
            raise InputError(f"momentum is {self.momentum!r}", "Give a number in [0, 1).")

    def calibrate(
        self, budget: Budget, *, records: int, neighbours: Neighbours = Neighbours.ADD_REMOVE
    ) -> CalibratedAdLm:
        """The least noise with which all steps and the relevance together meet the budget.

        Args:
            budget: Its delta must be above 0 and below ``1 / records``.
            records: The declared, public number of records.
            neighbours: The relation of the budget.

        Raises:
            InputError: If an argument is out of its range.
        """
        from sfumato.privacy import calibration

        budget.check_records(records)
        sampling = PoissonSampling(records, self.sample_rate)
        sampling.check(neighbours)
        far = 2 if neighbours is Neighbours.REPLACE_ONE else 1
        noise = far / (self.relevance_share * calibration.analytic_gaussian_mu(budget))
        mean = RelevanceMean(noise, records)

        def made(multiplier: float) -> CalibratedAdLm:
            dp_sgd = DpSgd(
                sampling,
                Flat(self.max_grad_norm),
                multiplier,
                self.steps,
                budget.delta,
                neighbours,
            )
            return CalibratedAdLm(self, dp_sgd, mean)

        return made(
            calibration.calibrate(lambda sigma: made(sigma).event, budget, neighbours, _BRACKET)
        )


@dataclass(frozen=True)
class CalibratedAdLm:
    """An :class:`AdLm` whose cost is known; made by its ``calibrate``.

    Args:
        method: Public choices.
        dp_sgd: The steps.
        mean: The relevance.
    """

    method: AdLm
    dp_sgd: DpSgd
    mean: RelevanceMean

    @property
    def event(self) -> DpEvent:
        """What a fit draws from the private records: all steps, and the relevance once."""
        from sfumato.privacy import events

        return events.compose(self.mean.event, self.dp_sgd.event)

    def guarantee(self) -> Central:
        """What a fit proves."""
        from sfumato.privacy.guarantee import Central

        return Central(self.event, self.dp_sgd.delta, "record", self.dp_sgd.neighbours)

    def fit(
        self,
        module: ScaledNet,
        data: tuple[Tensor, Tensor],
        *,
        source: NoiseSource | None = None,
        progress: Callable[[Progress], None] | None = None,
        physical_batch_size: int = 1024,
    ) -> Tensor:
        """Trains a network in place. Every call spends the budget once more.

        Args:
            module: Its scale is all ones; its first weights come from no private record. When
                this returns it holds what may be published: scale and weights.
            data: (n, ...) inputs and (n,) int64 labels, on the module's device.
            source: Of sampling and noise; anything but the default is for tests.
            progress: Told after each step.
            physical_batch_size: Records at a time; it changes memory and nothing else.

        Returns:
            (d,) the features' weights ``beta``, whose mean is 1; paid for.

        Guaranteed: module and weights are a function of ``steps`` noisy sums and one noisy mean,
        whose joint cost is ``event``, and of public numbers.

        Raises:
            InputError: If relevance cannot be handed back through a layer.
        """
        from sfumato.learn.noise import STREAM

        relevance.check(module.network)
        method = self.method
        trainer = PrivateTrainer(
            module,
            nn.CrossEntropyLoss(reduction="none"),
            torch.optim.SGD(module.parameters(), method.learning_rate, momentum=method.momentum),
            self.dp_sgd,
            data,
            averaging=method.averaging,
            source=source,
            physical_batch_size=physical_batch_size,
        )
        trainer.fit(method.warmup, progress=progress)
        found = self.mean.release(_relevances(module, *data), STREAM if source is None else source)
        beta = relevance.weights(found, method.floor)
        rescale(trainer, module, beta)
        trainer.fit(progress=progress)
        if trainer.average is not None:
            trainer.average.copy_to(module)
        return beta


@torch.no_grad()
def rescale(trainer: PrivateTrainer, module: ScaledNet, beta: Tensor) -> None:
    """From now on inputs are multiplied by ``sqrt(beta)``.

    A linear first layer gets its weights, and their average, divided by it, so that the network
    computes what it did; its momentum, of a gradient in other units, starts again.
    """
    factors = beta.sqrt()
    module.scale.copy_(factors.view_as(module.scale))
    first = next(layer for layer in module.network if not isinstance(layer, nn.Flatten))
    if not (isinstance(first, nn.Linear) and first.in_features == beta.numel()):
        return
    first.weight.div_(factors)
    trainer.optimizer.state.pop(first.weight, None)
    if trainer.average is not None:
        for name, parameter in module.named_parameters():
            if parameter is first.weight:
                trainer.average.weights[name].div_(factors)


def _relevances(module: ScaledNet, inputs: Tensor, labels: Tensor) -> Iterator[Tensor]:
    """(n, d) of all records, part by part."""
    parts = zip(torch.split(inputs, _CHUNK), torch.split(labels, _CHUNK), strict=True)
    for part, targets in parts:
        with torch.no_grad():
            features = module.encoder(part)
        yield relevance.propagated(module.network, features, targets).flatten(1)
