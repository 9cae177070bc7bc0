"""One number of a public grid reported under noise that covers the whole grid."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InputError
from sfumato.privacy.budget import Budget
from sfumato.privacy.mechanisms.checks import codes, delta_given, positive, whole
from sfumato.privacy.mechanisms.discrete_gaussian import stddev_for
from sfumato.privacy.mechanisms.discrete_laplace import scale_for
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import SECURE, NoiseSource, discrete_gaussian, discrete_laplace
from sfumato.privacy.noise.gaussian import MAX_STDDEV, MIN_STDDEV
from sfumato.privacy.noise.laplace import MAX_SCALE, MIN_SCALE

if TYPE_CHECKING:
    from dp_accounting import DpEvent


@dataclass(frozen=True)
class LocalNumeric:
    """Integer noise on a code in ``0..cardinality-1``, clamped to the grid afterwards.

    Any value may be replaced by any other, so the noise answers for the grid's *diameter*,
    ``cardinality - 1`` steps; a record's contribution, measured from the grid's middle, is half of
    it. Clamping is post-processing. Scales up to ``2**46`` steps are drawn exactly, so the grid
    never has to be coarsened to suit a sampler.

    Args:
        cardinality: Number of grid points, at least 2.
        epsilon: Of the report, for Laplace noise.
        stddev: In grid steps, for Gaussian noise.
        noise: ``"laplace"`` (pure DP) or ``"gaussian"``.
    """

    cardinality: int
    epsilon: float | None = None
    stddev: float | None = None
    noise: Literal["laplace", "gaussian"] = "laplace"

    def __post_init__(self) -> None:
        whole("a cardinality", self.cardinality, 2)
        if self.noise not in ("laplace", "gaussian"):
            raise InputError(f"noise is {self.noise!r}", "Use laplace or gaussian.")
        given, other = ("epsilon", "stddev")[:: 1 if self.noise == "laplace" else -1]
        if getattr(self, other) is not None:
            raise InputError(f"{self.noise} noise has a {other}", f"Give {given} alone.")
        positive(given, getattr(self, given))
        if self.noise == "laplace" and self.scale > MAX_SCALE:
            raise InputError(
                f"a grid of {self.cardinality} points needs noise of scale {self.scale:g}",
                "Declare a coarser granularity or give a larger epsilon.",
            )
        if self.noise == "gaussian" and not MIN_STDDEV <= self.scale <= MAX_STDDEV:
            raise InputError(
                f"stddev is {self.stddev!r} grid steps",
                f"Give {MIN_STDDEV:g} to {MAX_STDDEV:g}, or declare another granularity.",
            )

    @classmethod
    def calibrate(
        cls, cardinality: int, budget: Budget, noise: Literal["laplace", "gaussian"] = "laplace"
    ) -> LocalNumeric:
        """The least noise that meets the budget of one report.

        Raises:
            InputError: If Gaussian noise is asked for without a delta.
        """
        if noise == "laplace":
            return cls(cardinality, epsilon=budget.epsilon)
        whole("a cardinality", cardinality, 2)
        delta_given(budget.delta, "Gaussian noise")
        radius = (cardinality - 1) / 2
        stddev = stddev_for(budget, radius, Neighbours.REPLACE_ONE, "scalar")
        return cls(cardinality, stddev=stddev, noise=noise)

    @property
    def diameter(self) -> int:
        """How far apart two records can be, in grid steps: the sensitivity of a report."""
        return int(self.cardinality) - 1

    @property
    def scale(self) -> float:
        """The noise in grid steps: the Laplace scale or the Gaussian stddev."""
        if self.stddev is not None:
            return float(self.stddev)
        assert self.epsilon is not None
        if self._claims_continuous_laplace:
            # Discrete Laplace noise of scale b moved by an odd d loses as much as, or less than,
            # continuous noise with epsilon = d / b + 1 / (4 b**2), at every epsilon. Solved for b.
            d = float(self.diameter)
            bumped = (d + math.sqrt(d * d + self.epsilon)) / (2 * self.epsilon)
            return max(bumped * (1 + 2.0**-50), MIN_SCALE)
        return scale_for(self.diameter, self.epsilon)

    @property
    def event(self) -> DpEvent:
        """What a report costs, for accounting under replace-one.

        An even diameter is a discrete Laplace event of a whole contribution. An odd one has none,
        its half not being whole: the smallest is claimed as pure DP, which for two points is
        exact; others as the continuous Laplace mechanism, for a little more noise (see ``scale``).
        """
        from sfumato.privacy import events

        if self.noise == "gaussian":
            return events.DiscreteGaussianDpEvent(self.scale, self.diameter / 2, "scalar")
        if self.diameter % 2 == 0:
            return events.DiscreteLaplaceDpEvent(1.0 / self.scale, self.diameter // 2)
        assert self.epsilon is not None
        if self._claims_continuous_laplace:
            # The claimed scale over the radius: (d / epsilon) / (d / 2).
            return events.LaplaceDpEvent(2.0 / self.epsilon)
        return events.PureDpEvent(1.0 / self.scale, Neighbours.REPLACE_ONE.value)

    def randomise(self, values: Any, source: NoiseSource = SECURE) -> NDArray[np.int64]:
        """A grid point for each code, (n,), each by its own draw.

        Raises:
            InputError: If a code is outside ``0..cardinality-1``.
        """
        truth = codes(values, self.cardinality)
        if self.noise == "gaussian":
            noise = discrete_gaussian(self.scale, len(truth), source)
        else:
            noise = discrete_laplace(self.scale, len(truth), source)
        return np.asarray(np.clip(truth + noise, 0, self.diameter))

    @property
    def _claims_continuous_laplace(self) -> bool:
        return self.noise == "laplace" and self.diameter % 2 == 1 and self.diameter > 1
