"""One record's vector, clipped and put under Gaussian noise, for whoever receives it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InputError
from sfumato.privacy.budget import Budget
from sfumato.privacy.mechanisms.checks import delta_given, finite, positive
from sfumato.privacy.mechanisms.grid import to_grid
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import SECURE, NoiseSource, discrete_gaussian
from sfumato.privacy.noise.gaussian import grid_step

if TYPE_CHECKING:
    from dp_accounting import DpEvent

_HAIR = 1 - 2.0**-40  # more than the rounding of a norm, less than anybody notices
_LARGEST = 2.0**12


@dataclass(frozen=True)
class LocalVector:
    """Clips each row to an L2 norm and adds Gaussian noise to each coordinate.

    Any row may be replaced by any other, so the noise answers for the ball's *diameter*: each
    report is mu-GDP with ``mu = 2 clip_norm / stddev``. What is left of the signal, at most
    ``mu**2 / 4`` of the noise's energy in one coordinate, does not depend on the dimension.

    Args:
        clip_norm: Public bound on a row's L2 norm; longer rows are shortened to it, row by row.
        stddev: Of the noise in each coordinate.

    Guaranteed: rows are rounded toward zero to a grid that ``stddev`` alone decides, and noise is
    drawn on the same grid, so no report shows in its last bits what it came from; see
    ``mechanisms.Gaussian`` for how near this is to continuous noise.
    """

    clip_norm: float
    stddev: float

    def __post_init__(self) -> None:
        positive("a clip norm", self.clip_norm)
        positive("a Gaussian stddev", self.stddev)
        grid_step(self.stddev)
        if self.clip_norm / self.stddev > _LARGEST:
            raise InputError(
                f"stddev {self.stddev:g} is next to nothing beside a clip norm of "
                f"{self.clip_norm:g}",
                "Give a smaller clip norm or a larger stddev.",
            )

    @classmethod
    def calibrate(cls, clip_norm: float, budget: Budget) -> LocalVector:
        """The least noise that meets the budget of one report.

        Raises:
            InputError: If the budget has no delta.
        """
        from sfumato.privacy.calibration import calibrate_gaussian

        positive("a clip norm", clip_norm)
        delta_given(budget.delta, "Gaussian noise")
        return cls(clip_norm, clip_norm * calibrate_gaussian(budget, Neighbours.REPLACE_ONE))

    @property
    def mu(self) -> float:
        """The mu of Gaussian differential privacy: diameter over stddev."""
        return 2 * self.clip_norm / self.stddev

    @property
    def signal_to_noise(self) -> float:
        """The energy of the longest row relative to the noise of one coordinate."""
        return self.mu**2 / 4

    @property
    def event(self) -> DpEvent:
        """A Gaussian event; under replace-one its sensitivity is the diameter."""
        from sfumato.privacy.events import GaussianDpEvent

        return GaussianDpEvent(self.stddev / self.clip_norm)

    def clip(self, vectors: Any) -> NDArray[np.int64]:
        """Rows of norm at most ``clip_norm``, in steps of the grid, (n, k).

        Each depends on its own row alone.

        Raises:
            InputError: If the shape is not (n, k) or a number is not finite.
        """
        rows = finite(vectors, "vectors")
        if rows.ndim != 2:
            raise InputError(f"vectors have shape {rows.shape}", "Give one row a record.")
        peak = np.abs(rows).max(axis=1, initial=0.0)
        # Divided by its largest entry, no row overflows or vanishes when squared.
        units = rows / np.where(peak > 0, peak, 1.0)[:, np.newaxis]
        with np.errstate(over="ignore"):
            norms = peak * np.sqrt(np.square(units).sum(axis=1))
        limit = self.clip_norm * _HAIR
        shorten = np.minimum(peak, limit * (peak / np.where(norms > 0, norms, 1.0)))
        return to_grid(units * shorten[:, np.newaxis], grid_step(self.stddev))

    def release(self, vectors: Any, source: NoiseSource = SECURE) -> NDArray[np.float64]:
        """The reports, (n, k), with noise of its own for each coordinate of each row.

        Raises:
            InputError: If the shape is not (n, k) or a number is not finite.
        """
        steps, step = self.clip(vectors), grid_step(self.stddev)
        noise = discrete_gaussian(self.stddev / step, steps.size, source)
        return (steps + noise.reshape(steps.shape)).astype(np.float64) * step
