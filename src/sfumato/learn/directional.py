"""Training by directions: every gradient is brought to one length and its direction is randomised.

A record that is sampled contributes ``length * x``, ``x`` a von Mises-Fisher draw around the
direction of its gradient; the contributions are summed and divided by the *expected* batch size and
by the public mean cosine of the noise, so that a step is an unbiased estimate of the mean
direction. The norm of a gradient never enters anything that is released.

**What is proven.** Two data sets differ in the values of one record (replace-one; the number of
records is public). Let ``D`` bound the Euclidean distance between the two records' unit gradients
at the same weights, whatever the weights. Every use of the record changes the probability of an
outcome by a factor of at most ``exp(kappa D)``; the rest of a step is post-processing of draws that
do not depend on the record; steps are composed adaptively. So all ``T`` steps are
``kappa T D``-indistinguishable. As unit vectors are never further apart than 2, the training is
``2 kappa T``-differentially private between any two values, which is vacuous for every useful
``kappa``; but of ``d`` coordinates a draw seldom shows so much, and the exact loss of opposite
directions, composed over the steps, gives an ``(epsilon, delta)`` that is not: see
:mod:`sfumato.privacy.accounting.terms.direction`. Both stand in the guarantee.

This is noise of a *local* kind: every gradient is protected by itself, before it is summed. Noise
on the sum (:class:`~sfumato.learn.mechanism.DpSgd`) needs less by the root of the batch size.

**No amplification by sampling at delta = 0.** ``log(1 + q (exp(2 kappa) - 1))`` a step would need
the step without the record to resemble the step with it. It does not: a sum of ``n`` unit vectors
can be longer than ``n - 1``, a sum of ``n - 1`` cannot. With one record, "something came" has
probability ``q`` and its value the full likelihood ratio ``exp(2 kappa)``. For the same reason
nothing is proven under add-remove. What sampling does buy, at a delta above 0, is that a record is
seldom used often: accounted as if every step told whether the record was in it.

Source: Faustini et al., "Directional Privacy for Deep Learning", arXiv 2211.04686 (mechanism);
Chatzikokolakis et al., PETS 2013 (metric differential privacy).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sfumato.errors import InputError
from sfumato.learn.noise import STREAM, grid_step
from sfumato.learn.sampling import PoissonSampling
from sfumato.learn.von_mises_fisher import check_kappa, mean_cosine, perturbed
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.transcript import seen

if TYPE_CHECKING:
    from dp_accounting import DpEvent

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
        size: Coordinates of a gradient, at least 3.
        delta: Where the epsilon between any two values is read off; 0 for the pure one.
        length: What every gradient is brought to before noise.

    Raises:
        InputError: If a value is out of its range.

    >>> directional = Directional(PoissonSampling(1000, 0.01), 30.0, 50, 10_000, delta=1e-5)
    >>> guarantee = directional.guarantee()
    >>> guarantee.epsilon_per_distance, guarantee.epsilon(0.0), round(guarantee.epsilon(), 1)
    (1500.0, 3000.0, 3.6)
    """

    sampling: PoissonSampling
    kappa: float
    steps: int
    size: int
    delta: float = 0.0
    length: float = 1.0

    def __post_init__(self) -> None:
        check_kappa(self.kappa)
        if self.kappa == 0:
            raise InputError("kappa is 0", "Give more: nothing could be learnt from pure noise.")
        for name, value, least in (("steps", self.steps, 1), ("size", self.size, 3)):
            if not (isinstance(value, int) and value >= least):
                raise InputError(f"{name} is {value!r}", f"Give at least {least}.")
        if not 0 <= self.delta < 1:
            raise InputError(f"delta is {self.delta!r}", "Give a number in [0, 1).")
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
        size: int,
        length: float = 1.0,
    ) -> Directional:
        """The least noise with which all steps together meet the budget, between any two values.

        Epsilon means what it means everywhere, and what a ledger counts. At delta 0 it is
        ``2 kappa steps``.

        Args:
            budget: Under replace-one.
            records: The public number of records.
            expected_batch_size: Records a step, on average.
            steps: How many there will be.
            size: Coordinates of a gradient: the trainable parameters.
            length: See the class.

        Raises:
            InputError: If an argument is out of its range.
        """
        from sfumato.privacy import calibration

        sampling = PoissonSampling.of_batches(records, expected_batch_size)
        pure = cls(sampling, budget.epsilon / (2 * max(steps, 1)), steps, size, length=length)
        if budget.delta == 0:
            return pure
        # At this kappa one use alone would lose more than the budget.
        most = budget.epsilon + 4 * math.sqrt(size * (budget.epsilon + 25))
        if most > pure.kappa:
            spread = calibration.calibrate(
                lambda value: replace(pure, kappa=1 / value).event,
                budget,
                Neighbours.REPLACE_ONE,
                (1 / most, 1 / pure.kappa),
            )
            pure = replace(pure, kappa=max(1 / spread, pure.kappa))
        return replace(pure, delta=budget.delta)

    @property
    def event(self) -> DpEvent:
        """What all steps draw of one record, whether it was sampled being shown."""
        from sfumato.privacy import events

        step: DpEvent = events.VonMisesFisherDpEvent(self.kappa, self.size)
        if self.sampling.rate < 1:
            step = events.PoissonSampledDpEvent(self.sampling.rate, step)
        return events.repeat(step, self.steps)

    def guarantee(self, *, unit: str = "record") -> Metric:
        """What all steps prove: by the distance between gradients, and between any two values."""
        from sfumato.privacy.guarantee import Central, Metric

        return Metric(
            self.kappa * self.steps,
            METRIC,
            {
                "unrelated gradients (at right angles)": ORTHOGONAL,
                "opposite gradients, or a record without a gradient (the largest)": OPPOSITE,
            },
            Central(self.event, self.delta, unit, Neighbours.REPLACE_ONE),
        )

    def caveats(self) -> tuple[str, ...]:
        """What the figures do not say, one line each."""
        pure = OPPOSITE * self.kappa * self.steps
        return (
            f"Without a δ, all {self.steps} steps together come to ε = 2 κ T = {pure:g} between "
            f"any two values of a record, κ = {self.kappa:g} being the noise's concentration "
            "around one gradient.",
            "Nothing is proven about whether a record was there at all (add-remove), and sampling "
            "amplifies nothing but by how seldom a record is used.",
            "The epsilon of a metric, per unit of distance, and the epsilon of differential "
            "privacy are different quantities; equal figures are not equal protection.",
        )

    @property
    def scale(self) -> float:
        """What a sum of noisy unit vectors is multiplied with: public, unbiased."""
        expected = self.sampling.expected_batch_size
        return self.length / (expected * mean_cosine(self.kappa, self.size))

    def noisy_mean(self, blocks: Iterable[Tensor], source: NoiseSource = STREAM) -> Tensor:
        """The estimated mean direction of a sample, times ``length``.

        Args:
            blocks: The sampled records' gradients, (n, size) each; there may be none.
            source: Where the bits come from.

        Returns:
            (size,) float32. Before scaling, every coordinate of the sum is rounded to a public grid
            of about a millionth of a coordinate of one draw, so that the last digits of floats tell
            nothing.
        """
        total = torch.zeros(self.size, dtype=torch.float64)
        for block in blocks:
            total = total.to(block.device)
            total += perturbed(block, self.kappa, source).sum(dim=0)
        step = grid_step(1 / math.sqrt(self.size))
        return seen((total / step).round_().mul_(step * self.scale).float())

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain JSON values; delta and relation are the guarantee's own."""
        return {
            "sampling": self.sampling.to_dict(),
            "kappa": self.kappa,
            "steps": self.steps,
            "size": self.size,
            "length": self.length,
        }
