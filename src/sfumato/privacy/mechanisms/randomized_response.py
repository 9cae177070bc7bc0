"""One of ``levels`` values reported truly or, at random, replaced."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Context, Decimal, localcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InputError
from sfumato.privacy.mechanisms.checks import codes, positive, whole
from sfumato.privacy.noise import SECURE, NoiseSource
from sfumato.privacy.noise.table import WHOLE, Table

if TYPE_CHECKING:
    from dp_accounting import DpEvent

MAX_EPSILON = 80.0
"""Beyond, probabilities come near the resolution of the tables, and the report is the truth."""


@dataclass(frozen=True)
class RandomizedResponse:
    """k-ary randomised response: the report is epsilon-DP for replacing the value by any other.

    With probability ``noise_probability`` the report is uniform over all levels, else the truth.

    Args:
        levels: At least 2.
        epsilon: Above 0, at most 80.

    >>> round(RandomizedResponse(10, 2.0).truth_probability, 2)
    0.45

    Source: Kairouz, Oh and Viswanath, "Extremal Mechanisms for Local Differential Privacy", 2016.
    """

    levels: int
    epsilon: float

    def __post_init__(self) -> None:
        whole("a number of levels", self.levels, 2)
        local_epsilon(self.epsilon)

    @cached_property
    def _table(self) -> Table:
        # The first outcome is rounded down: the truth is told no more often than allowed.
        odds = exp_fixed(self.epsilon)
        return Table([odds - ONE, ONE * self.levels])

    @property
    def noise_probability(self) -> float:
        """Of a report drawn uniformly from all levels."""
        return self._table.weights[1] / WHOLE

    @property
    def truth_probability(self) -> float:
        """Of a report that equals the value."""
        return self._table.weights[0] / WHOLE + self.noise_probability / self.levels

    @property
    def event(self) -> DpEvent:
        """A randomised response event."""
        from sfumato.privacy.events import RandomizedResponseDpEvent

        return RandomizedResponseDpEvent(self.noise_probability, int(self.levels))

    def randomise(self, values: Any, source: NoiseSource = SECURE) -> NDArray[np.int64]:
        """A report for each code, (n,), each by its own draw.

        Raises:
            InputError: If a code is outside ``0..levels-1``.
        """
        reports = codes(values, self.levels)
        replaced = np.flatnonzero(self._table.sample(len(reports), source))
        reports[replaced] = source.integers(self.levels, len(replaced))
        return reports

    def debias(self, counts: Any) -> NDArray[np.float64]:
        """An unbiased estimate of the true counts from the counts of reports, (levels,)."""
        observed = np.asarray(counts, np.float64)
        if observed.shape != (self.levels,):
            raise InputError(
                f"counts have shape {observed.shape}", f"Give {self.levels} counts of reports."
            )
        uniform = observed.sum() * self.noise_probability / self.levels
        return np.asarray((observed - uniform) / (self._table.weights[0] / WHOLE))


ONE = 1 << 256


def exp_fixed(epsilon: float) -> int:
    """``exp(epsilon)`` as a fixed-point number, from an epsilon smaller by a factor ``1 - 2**-48``.

    So that what is proven from tables stays at or below epsilon when recomputed in floats.
    """
    with localcontext(Context(prec=160)):
        return int((Decimal(epsilon) * (1 - Decimal(2) ** -48)).exp() * ONE)


def local_epsilon(epsilon: float) -> None:
    """Refuses an epsilon that a local report cannot have."""
    positive("epsilon", epsilon)
    if epsilon > MAX_EPSILON:
        raise InputError(f"epsilon of one report is {epsilon!r}", f"Give at most {MAX_EPSILON:g}.")
