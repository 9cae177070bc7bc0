"""Training by directions: every gradient is brought to one length and its direction is randomised.

A record that is sampled contributes ``length * x``, ``x`` a von Mises-Fisher draw around the
direction of its gradient; the contributions are summed and divided by the *expected* batch size and
by the public mean cosine of the noise, so that a step is an unbiased estimate of the mean
direction. The norm of a gradient never enters anything that is released.

**What is proven.** Two data sets differ in the values of one record (replace-one; the number of
records is public). Let ``D`` bound the Euclidean distance between the two records' unit gradients
at the same weights, whatever the weights. Every use of the record then changes the probability of
an outcome by at most ``exp(kappa D)``; the rest of a step is post-processing of draws that do not
depend on the record; steps are composed adaptively. So all ``T`` steps are
``kappa T D``-indistinguishable, and because unit vectors are never further apart than 2, the
training is ``2 kappa T``-differentially private. This is a *local* kind of noise: it protects a
single noised gradient by itself, before it is summed with others.

**No amplification by sampling is claimed.** ``log(1 + q (exp(2 kappa) - 1))`` a step would need the
step without the record to resemble the step with it. It does not: a sum of ``n`` unit vectors can
be longer than ``n - 1``, a sum of ``n - 1`` cannot. With one record, "something came" has
probability ``q`` and its value the full likelihood ratio ``exp(2 kappa)``. For the same reason
nothing is proven under add-remove. What sampling does buy is a bound on how often a record is used:
:meth:`Directional.central_epsilon`.

Source: Faustini et al., "Directional Privacy for Deep Learning", arXiv 2211.04686 (mechanism);
Chatzikokolakis et al., PETS 2013 (metric differential privacy).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sfumato.errors import BudgetError, InputError
from sfumato.learn.noise import STREAM, grid_step
from sfumato.learn.per_example import PerExample
from sfumato.learn.sampling import PoissonSampling
from sfumato.learn.von_mises_fisher import check_kappa, mean_cosine, perturbed
from sfumato.privacy.neighbours import Neighbours

if TYPE_CHECKING:
    from sfumato.learn.loop import Loss
    from sfumato.learn.records import Data
    from sfumato.privacy.budget import Budget
    from sfumato.privacy.guarantee import Metric
    from sfumato.privacy.noise import NoiseSource

METRIC = "Euclidean, between the unit gradients of two records at the same weights; over all steps"
OPPOSITE, ORTHOGONAL = 2.0, math.sqrt(2)


@dataclass(frozen=True)
class Directional:
    """Training by noisy directions; knows its cost before it runs.

    Args:
        sampling: Which records a step sees; the number of records is public.
        kappa: Concentration of the noise, the metric epsilon of one use of one gradient.
        steps: The most that can be taken.
        length: What every gradient is brought to before noise.

    Raises:
        InputError: If a value is out of its range.

    >>> directional = Directional(PoissonSampling(1000, 0.1), kappa=2.0, steps=50)
    >>> directional.guarantee().epsilon_per_distance, directional.pure_epsilon
    (100.0, 200.0)
    """

    sampling: PoissonSampling
    kappa: float
    steps: int
    length: float = 1.0

    def __post_init__(self) -> None:
        check_kappa(self.kappa)
        if self.kappa == 0:
            raise InputError("kappa is 0", "Give more: nothing could be learnt from pure noise.")
        if not (isinstance(self.steps, int) and self.steps >= 1):
            raise InputError(f"the number of steps is {self.steps!r}", "Give at least 1.")
        if not 0 < self.length < math.inf:
            raise InputError(f"length is {self.length!r}", "Give a finite number above 0.")
        self.sampling.check(Neighbours.REPLACE_ONE)

    @classmethod
    def calibrate(
        cls,
        budget: Budget,
        *,
        records: int,
        expected_batch_size: float,
        steps: int,
        length: float = 1.0,
    ) -> Directional:
        """The least noise whose metric epsilon, over all steps together, is the budget's.

        ``kappa = epsilon / steps``. A delta is not used: the guarantee is pure.

        Raises:
            InputError: If an argument is out of its range.
        """
        if not (isinstance(steps, int) and steps >= 1):
            raise InputError(f"the number of steps is {steps!r}", "Give at least 1.")
        sampling = PoissonSampling.of_batches(records, expected_batch_size)
        return cls(sampling, budget.epsilon / steps, steps, length)

    @property
    def pure_epsilon(self) -> float:
        """``2 kappa T``: the differential privacy of all steps, between any two values of a record.

        It can be composed with other releases as ``PureDpEvent(pure_epsilon, "replace-one")``.
        """
        return OPPOSITE * self.kappa * self.steps

    def central_epsilon(self, delta: float) -> float:
        """The epsilon at ``delta`` between any two values of a record: ``2 kappa k``.

        ``k`` is the least number that a record is used more often than with probability at most
        ``delta``. The coins of a record do not depend on its value: given that it is used ``j``
        times, the training is ``2 kappa j``-DP, and mixing over ``j`` gives ``(2 kappa k, delta)``.

        Args:
            delta: In ``[0, 1)``.

        Raises:
            InputError: If it is not.
        """
        from scipy.stats import binom

        if not 0 <= delta < 1:
            raise InputError(f"delta is {delta!r}", "Give a number in [0, 1).")
        uses = self.steps
        if delta > 0 and self.sampling.rate < 1:
            uses = int(binom.isf(delta, self.steps, self.sampling.rate))
            if binom.sf(uses, self.steps, self.sampling.rate) > delta:
                uses += 1
        return OPPOSITE * self.kappa * min(uses, self.steps)

    def guarantee(self) -> Metric:
        """What all steps prove, by the distance between gradients."""
        from sfumato.privacy.guarantee import Metric

        return Metric(
            self.kappa * self.steps,
            METRIC,
            {
                "unrelated gradients (at right angles)": ORTHOGONAL,
                "opposite gradients, or a record without a gradient (the largest)": OPPOSITE,
            },
        )

    def caveats(self, delta: float = 0.0) -> tuple[str, ...]:
        """What the metric figure does not say, one line each."""
        lines = [
            f"as differential privacy of a record whose values change, all {self.steps} steps "
            f"together come to ε = 2 κ T = {self.pure_epsilon:g} (κ = {self.kappa:g} a gradient)",
            "sampling is random, but no amplification is claimed: without the record a step has "
            "one unit vector less, which can show",
            "nothing is proven about whether a record was there (add-remove)",
            "the epsilon of a metric and the epsilon of Gaussian noise on a sum are different "
            "quantities; equal figures do not mean equal protection",
        ]
        if delta > 0:
            lines.insert(
                1,
                f"counting how often a record can be sampled, it is "
                f"(ε, δ) = ({self.central_epsilon(delta):g}, {delta:g})",
            )
        return tuple(lines)

    def scale(self, size: int) -> float:
        """What a sum of noisy unit vectors of ``size`` coordinates is multiplied with."""
        expected = self.sampling.expected_batch_size
        return self.length / (expected * mean_cosine(self.kappa, size))

    def noisy_mean(
        self, blocks: Iterable[Tensor], size: int, source: NoiseSource = STREAM
    ) -> Tensor:
        """The estimated mean direction of a sample, times ``length``.

        Args:
            blocks: The sampled records' gradients, (n, size) each; there may be none.
            size: Coordinates of a gradient.
            source: Where the bits come from.

        Returns:
            (size,) float32. Before scaling, every coordinate of the sum is rounded to a public grid
            of about a millionth of a coordinate of one draw, so that the last digits of floats tell
            nothing.
        """
        total = torch.zeros(size, dtype=torch.float64)
        for block in blocks:
            total = total.to(block.device)
            total += perturbed(block, self.kappa, source).sum(dim=0)
        step = grid_step(1 / math.sqrt(size))
        return (total / step).round_().mul_(step * self.scale(size)).float()

    def to_dict(self) -> dict[str, Any]:
        """Everything that the guarantee rests on, as plain JSON values."""
        return {
            "sampling": self.sampling.to_dict(),
            "kappa": self.kappa,
            "steps": self.steps,
            "length": self.length,
            "neighbours": Neighbours.REPLACE_ONE.value,
            "pure_epsilon": self.pure_epsilon,
        }


class DirectionalLoop:
    """Sets ``p.grad`` of a module's trainable parameters to noisy mean directions, step by step.

    One process, one device. Whoever calls has paid; :class:`Directional` says for what.

    Args:
        module: Trained in place.
        optimizer: Of the module's parameters; the caller steps it.
        loss: ``loss(outputs, targets)``, one for each example.
        data: ``(inputs, targets)`` tensors or a map-style data set of such pairs.
        mechanism: What is accounted.
        block: Gradients in memory at a time; chosen from their size if None.
        source: Sampling and noise; anything but the default is for tests.

    Raises:
        InputError: If the number of rows is not the public one, a layer mixes examples, or the
            optimiser holds parameters of something else, or several processes would train.
    """

    def __init__(
        self,
        module: nn.Module,
        optimizer: Optimizer,
        loss: Loss,
        data: Data,
        mechanism: Directional,
        *,
        block: int | None = None,
        source: NoiseSource | None = None,
    ) -> None:
        from sfumato.learn.ranks import only_one
        from sfumato.learn.records import records_of

        only_one("training by directions")
        self._records, _ = records_of(data)
        mechanism.sampling.check(Neighbours.REPLACE_ONE, len(self._records))
        ours = {id(p) for p in module.parameters()}
        if any(id(p) not in ours for group in optimizer.param_groups for p in group["params"]):
            raise InputError(
                "the optimiser holds parameters that are not the module's",
                "Give it this module's parameters: gradients of others would not be private.",
            )
        self._gradients = PerExample(module, loss, block=block)
        if self._gradients.size < 2:
            raise InputError("the module has a single parameter", "A direction needs two.")
        self.module, self.optimizer, self.mechanism = module, optimizer, mechanism
        self._source = STREAM if source is None else source
        self.taken = 0

    def backward(self) -> None:
        """One step: draws a sample, and sets ``p.grad``; of frozen parameters to None.

        Raises:
            BudgetError: If all steps have been taken. Nothing was drawn.
        """
        mechanism = self.mechanism
        if self.taken >= mechanism.steps:
            raise BudgetError(
                f"all {mechanism.steps} steps of this training have been taken",
                "Calibrate for more steps; each then gets a smaller kappa.",
            )
        self.taken += 1
        rows = mechanism.sampling.draw(len(self._records), self._source)
        device = next(self.module.parameters()).device
        inputs, targets = self._records.fetch(rows, device)
        blocks = self._gradients.blocks(inputs, targets)
        mean = mechanism.noisy_mean(blocks, self._gradients.size, self._source)
        found = self._gradients.named(mean)
        for name, parameter in self.module.named_parameters():
            gradient = found.get(name)
            parameter.grad = (
                None if gradient is None else gradient.to(parameter.device, parameter.dtype)
            )

    def __iter__(self) -> Iterator[int]:
        """Takes the steps that are left; between two of them the caller steps the optimiser."""
        while self.taken < self.mechanism.steps:
            self.backward()
            yield self.taken
