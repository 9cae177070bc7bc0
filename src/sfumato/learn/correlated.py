"""DP-SGD whose noise is correlated between steps, so that it cancels in the weights.

Gradients are released as ``G + C^-1 Z`` with a banded Toeplitz ``C`` (:mod:`.toeplitz`). What is
accounted is what the participation of a record allows, and the sampling is that participation.

**Poisson samples from groups** (``rate < 1``; needs no more bands than groups). Fix a record ``x``
of group ``j``, and everything about the others: their rows, and their coins. ``x`` can be seen at
steps ``j, j + b, ...`` only. If it is seen at step ``t``, its clipped gradient ``g`` enters rows
``t .. t + bands - 1`` of ``C G + Z``, times ``c_0 .. c_{bands-1}``; with ``bands <= b`` no row
holds two participations. Given all earlier rows, ``g`` is fixed, and so is, row by row, what the
others add: subtract it, and the rows are ``coin * c (x) g + Z``, the coin heads with probability
``rate``. Project on ``c (x) g``: a Poisson-sampled Gaussian whose noise is measured by ``|c| |g|``.
There are ``ceil(steps / b)`` of them, composed adaptively; the coins of the others are the same in
both neighbours, and averaging over them helps no attacker (joint convexity). Nothing is used of
``x`` but that it stands in row ``x``: the proof is for neighbours who keep the other rows in their
places, which add-remove does not. With ``b = 1`` this is DP-SGD, event and all.

**Groups whole, in a fixed order** (``rate = 1``; any number of bands). ``x`` is seen every ``b``-th
step for certain, and all its rows together are one Gaussian whose sensitivity is that of
:func:`~sfumato.learn.toeplitz.participation_norm`; Gaussian noise bears gradients that are chosen
adaptively (Denisov et al. 2022, Theorem 2.1). One participation's norm would be too little by a
factor of up to ``sqrt(participations)``.

**State.** Drawing row ``t`` of ``C^-1 Z`` needs the noise of the ``bands - 1`` steps before.
Whoever holds it can take the noise off those steps' gradients, and off the next ones in part, so it
is never written down: not in a checkpoint, not in a copy. After a resumption, or whenever a step
failed, the correlation begins anew with fresh noise, and *the event stays the same*: columns of
``C`` are cut where the noise begins anew, each row still meets at most the coefficients that it
would have met, none of which is negative, so no norm above grows; and the steps keep their numbers,
so the groups keep their turns. What is lost is the cancellation across that one moment.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sfumato.errors import InputError
from sfumato.learn import toeplitz
from sfumato.learn.accounted import Mechanism, check_multiplier
from sfumato.learn.adaptive import AdaptiveQuantile
from sfumato.learn.clipping import Clipping
from sfumato.learn.grouped import GroupedSampling
from sfumato.learn.noise import block, check_stddevs, grid_step, standard_gaussian
from sfumato.learn.toeplitz import Workload
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.transcript import seen

if TYPE_CHECKING:
    from dp_accounting import DpEvent

    from sfumato.privacy.budget import Budget
    from sfumato.privacy.noise import NoiseSource


@dataclass(frozen=True)
class CorrelatedDpSgd(Mechanism):
    """Noisy sums whose noise cancels, in part, in the sums that the weights are.

    Make one with :meth:`calibrate`, or, of several numbers of bands, with :func:`best`.

    Args:
        sampling: Which records a step sees; how far apart participations are is part of it.
        clipping: The bound on an example's gradient; it must not move.
        noise_multiplier: Noise over the bound of one participation's contribution: ``Z`` has
            standard deviation ``noise_multiplier * |c| * clip norm``.
        steps: The most that can be taken.
        delta: Where epsilon is read off.
        coefficients: ``c``: the first positive, none negative.
        neighbours: The relation that is accounted.

    Raises:
        InputError: If a value is out of its range, the sampling has no guarantee under the
            relation, or the bands are more than Poisson samples from its groups allow.

    >>> from sfumato.learn.clipping import Flat
    >>> sampling = GroupedSampling(60_000, groups=4, rate=0.04)
    >>> training = CorrelatedDpSgd(sampling, Flat(1.0), 2.0, 2_000, 1e-5, (1.0, 0.8, 0.7, 0.6))
    >>> training.event.count, round(training.epsilon(), 2)
    (500, 1.98)
    """

    sampling: GroupedSampling
    clipping: Clipping
    noise_multiplier: float
    steps: int
    delta: float
    coefficients: tuple[float, ...]
    neighbours: Neighbours = Neighbours.ZERO_OUT

    def __post_init__(self) -> None:
        check_multiplier("noise_multiplier", self.noise_multiplier)
        c = self.coefficients
        if not c or not all(0 <= one < math.inf for one in c) or c[0] == 0:
            raise InputError(
                f"the coefficients are {c!r}", "Give a positive number, then none below 0."
            )
        if isinstance(self.clipping, AdaptiveQuantile):
            raise InputError(
                "a clip norm that moves has no analysis with correlated noise",
                "Clip with a fixed bound, or draw independent noise.",
            )
        if self.sampling.rate < 1 and len(c) > self.sampling.groups:
            raise InputError(
                f"{len(c)} bands reach over the {self.sampling.groups} steps between two "
                "participations of a record",
                "Give at most as many bands as groups, or take the groups in order (rate 1).",
            )
        self._check()

    @classmethod
    def calibrate(
        cls,
        budget: Budget,
        sampling: GroupedSampling,
        *,
        steps: int,
        clipping: Clipping,
        bands: int | None = None,
        workload: Workload | None = None,
        neighbours: Neighbours = Neighbours.ZERO_OUT,
    ) -> CorrelatedDpSgd:
        """The least noise with which all steps meet the budget, with bands for the workload.

        Args:
            budget: Its delta must be above 0 and below ``1 / records``.
            sampling: See the class.
            steps: How many there will be.
            clipping: See the class.
            bands: As many as groups by default.
            workload: What the optimiser does with the gradients; plain SGD by default.
            neighbours: The relation of the budget.

        Raises:
            InputError: If an argument is out of its range, or no noise meets the budget.
        """
        from sfumato.privacy import calibration

        budget.check_records(sampling.records)
        sampling.check(neighbours)
        bands = sampling.groups if bands is None else bands
        if not (isinstance(bands, int) and bands >= 1):
            raise InputError(f"the number of bands is {bands!r}", "Give at least 1.")
        found = toeplitz.optimise(bands, steps, workload or Workload(), sampling.groups)
        coefficients = tuple(float(c) for c in found)
        participations = _relative_norm(coefficients, steps, sampling.groups)
        if participations is None:
            count = sampling.participations(steps)
            multiplier = calibration.calibrate_gaussian(budget, neighbours, sampling.rate, count)
        else:
            multiplier = calibration.calibrate_gaussian(budget, neighbours) * participations
        return cls(sampling, clipping, multiplier, steps, budget.delta, coefficients, neighbours)

    def event_after(self, steps: int) -> DpEvent:
        """What the first ``steps`` steps draw."""
        from sfumato.privacy import events

        groups = self.sampling.groups
        relative = _relative_norm(self.coefficients, steps, groups)
        if relative is None:
            one = self.sampling.event(self.noise_multiplier)
            return events.repeat(one, self.sampling.participations(steps))
        return events.GaussianDpEvent(self.noise_multiplier / relative)

    def multiplier_at(self, step: int) -> float:
        """``noise_multiplier``, whatever the step."""
        return self.noise_multiplier

    def sample(self, rows: int, source: NoiseSource, step: int) -> NDArray[np.int64]:
        """A sample of the group of this step."""
        return self.sampling.draw(rows, source, step)

    def noise(self) -> CorrelatedNoise:
        """Rows of ``C^-1 Z``, with ``C`` scaled to columns of norm 1."""
        return CorrelatedNoise(self.coefficients)

    def error(self, workload: Workload | None = None) -> float:
        """The root mean squared error of the workload's sums, a coordinate, over the clip norm.

        Of mean gradients. It compares mechanisms; how far a training suffers is another matter.
        """
        square = toeplitz.squared_error(self.coefficients, self.steps, workload or Workload())
        norm = float(np.linalg.norm(self.coefficients))
        scale = self.noise_multiplier * norm / self.sampling.expected_batch_size
        return scale * math.sqrt(square)

    def _settings(self) -> dict[str, Any]:
        return {
            "noise_multiplier": self.noise_multiplier,
            "coefficients": list(self.coefficients),
        }


def _relative_norm(coefficients: Sequence[float], steps: int, groups: int) -> float | None:
    """The sensitivity of all participations over that of one; None if no two share a row."""
    if len(coefficients) <= groups:
        return None
    whole = toeplitz.participation_norm(coefficients, steps, groups)
    return whole / float(np.linalg.norm(coefficients))


def best(
    budget: Budget,
    *,
    records: int,
    expected_batch_size: float,
    steps: int,
    clipping: Clipping,
    workload: Workload | None = None,
    neighbours: Neighbours = Neighbours.ZERO_OUT,
    most_bands: int = 64,
) -> CorrelatedDpSgd:
    """The number of bands with the least error at a budget: of 1, 2, 4, ... up to ``most_bands``.

    More bands cancel more noise, and leave less of the amplification: at small epsilon 1, which is
    DP-SGD, is often best. The choice rests on public numbers alone.

    Args:
        budget: Its delta must be above 0 and below ``1 / records``.
        records: The public number of records.
        expected_batch_size: Records a step, on average.
        steps: How many there will be.
        clipping: See :class:`CorrelatedDpSgd`.
        workload: What the optimiser does with the gradients; plain SGD by default.
        neighbours: The relation of the budget.
        most_bands: Each costs the memory of the trainable parameters, twice.

    Raises:
        InputError: If an argument is out of its range, or no noise meets the budget.
    """
    groups, made = 1, []
    while groups <= min(most_bands, steps) and groups * expected_batch_size <= records:
        sampling = GroupedSampling.of_batches(records, expected_batch_size, groups)
        if groups == 1 or neighbours is not Neighbours.ADD_REMOVE:
            made.append(
                CorrelatedDpSgd.calibrate(
                    budget,
                    sampling,
                    steps=steps,
                    clipping=clipping,
                    workload=workload,
                    neighbours=neighbours,
                )
            )
        groups *= 2
    return min(made, key=lambda one: one.error(workload))


class CorrelatedNoise:
    """Rows of ``C^-1 Z``, one after the other: ``w_t = (z_t - sum_j c_j w_{t-j}) / c_0``.

    The rows before are kept in float64: noise stored more coarsely would not be the noise that was
    added. They are secret; neither a pickle nor a copy of this object holds them.

    Args:
        coefficients: ``c``, scaled here to norm 1; so ``z`` has the standard deviation asked for.
    """

    def __init__(self, coefficients: Sequence[float]) -> None:
        norm = float(np.linalg.norm(coefficients))
        self._coefficients = tuple(c / norm for c in coefficients)
        self._before: deque[list[Tensor]] = deque(maxlen=len(coefficients) - 1)
        self._expected: tuple[int, tuple[tuple[int, float], ...]] | None = None

    def __reduce__(self) -> tuple[type[CorrelatedNoise], tuple[tuple[float, ...]]]:
        return CorrelatedNoise, (self._coefficients,)

    def add(
        self,
        step: int,
        tensors: Sequence[Tensor],
        stddevs: Sequence[float],
        source: NoiseSource,
        *,
        divisor: float,
    ) -> list[Tensor]:
        """See :class:`sfumato.learn.noise.Noise`; begins anew if a step is missing in between."""
        check_stddevs(stddevs)
        layout = tuple((t.numel(), stddev) for t, stddev in zip(tensors, stddevs, strict=True))
        if self._expected != (step, layout):
            self._before.clear()
        self._expected = None  # if anything fails from here on, the next step begins anew
        row, noisy = [], []
        for at, (tensor, stddev) in enumerate(zip(tensors, stddevs, strict=True)):
            device = tensor.device if tensor.device.type == "cuda" else torch.device("cpu")
            before = [one[at] for one in self._before]
            drawn = torch.empty(tensor.numel(), dtype=torch.float64, device=device)
            total = tensor.detach().reshape(-1).to(device, torch.float32, copy=True)
            for start in range(0, len(drawn), block(device)):
                part = slice(start, start + block(device))
                self._draw(drawn[part], [one[part] for one in before], stddev, source)
                _release(total[part], drawn[part], stddev / self._coefficients[0], divisor)
            row.append(drawn)
            noisy.append(total.view(tensor.shape).to(tensor.device))
        self._before.appendleft(row)
        self._expected = (step + 1, layout)
        return seen(noisy)

    def _draw(
        self, drawn: Tensor, before: Sequence[Tensor], stddev: float, source: NoiseSource
    ) -> None:
        """Fills (n,) float64 with a part of the next row, of which ``before`` are the last ones."""
        first, *rest = self._coefficients
        drawn.copy_(standard_gaussian(len(drawn), source, drawn.device).mul_(stddev))
        for c, one in zip(rest, before, strict=False):
            drawn.sub_(one, alpha=c)
        drawn.div_(first)


def _release(total: Tensor, drawn: Tensor, fresh: float, divisor: float) -> None:
    """Replaces (n,) float32 sums by their noisy means.

    As with independent noise, rounded to a grid far finer than ``fresh``, the standard deviation
    that is left of the noise for whoever knows all rows before.
    """
    grid = grid_step(fresh)
    total.copy_(drawn.add(total).div_(grid).round_().mul_(grid / divisor))
