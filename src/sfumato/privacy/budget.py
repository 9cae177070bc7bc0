"""A privacy budget as a value with arithmetic."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sfumato.errors import InputError


@dataclass(frozen=True, slots=True)
class Budget:
    """An ``(epsilon, delta)`` target that a method may spend.

    Args:
        epsilon: Positive and finite.
        delta: In ``[0, 1)``; zero asks for pure differential privacy.

    Raises:
        InputError: If a value is outside its range.

    >>> Budget(0.75, 1e-6) + Budget(0.25)
    Budget(epsilon=1.0, delta=1e-06)
    """

    epsilon: float
    delta: float = 0.0

    def __post_init__(self) -> None:
        if not (isinstance(self.epsilon, int | float) and math.isfinite(self.epsilon)):
            raise InputError(f"epsilon is {self.epsilon!r}", "Give a finite number above 0.")
        if self.epsilon <= 0:
            raise InputError(f"epsilon is {self.epsilon!r}", "Give a number above 0.")
        if not (isinstance(self.delta, int | float) and 0 <= self.delta < 1):
            raise InputError(
                f"delta is {self.delta!r}", "Give a number in [0, 1), well below 1/records."
            )

    def __add__(self, other: Budget) -> Budget:
        """Basic composition: both coordinates add."""
        return Budget(self.epsilon + other.epsilon, min(self.delta + other.delta, 1 - 1e-16))

    def split(self, *weights: float) -> tuple[Budget, ...]:
        """Divides the budget in proportion to ``weights``; the parts sum to the whole.

        Raises:
            InputError: If a weight is not positive.
        """
        if not weights or any(not w > 0 for w in weights):
            raise InputError(f"budget weights are {weights!r}", "Give positive numbers.")
        total = math.fsum(weights)
        return tuple(Budget(self.epsilon * w / total, self.delta * w / total) for w in weights)

    def check_records(self, records: int) -> None:
        """Refuses a delta that would allow publishing somebody outright.

        Raises:
            InputError: If ``delta >= 1 / records``.
        """
        if records > 0 and self.delta >= 1 / records:
            raise InputError(
                f"delta is {self.delta:g}, at least 1/records for {records} records",
                f"Give a delta below {1 / records:.1e}, for example {0.1 / records:.0e}.",
            )

    def __str__(self) -> str:
        if self.delta == 0:
            return f"ε = {self.epsilon:g}"
        return f"ε = {self.epsilon:g}, δ = {self.delta:g}"
