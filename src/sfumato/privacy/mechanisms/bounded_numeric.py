"""One number of a public grid reported by a mechanism whose output is bounded by design."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InputError
from sfumato.privacy.mechanisms.checks import codes, whole
from sfumato.privacy.mechanisms.randomized_response import (
    ONE,
    exp_fixed,
    local_epsilon,
)
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import SECURE, NoiseSource
from sfumato.privacy.noise.table import WHOLE, Table

if TYPE_CHECKING:
    from dp_accounting import DpEvent

Shape = Literal["duchi", "piecewise"]
SHAPES: tuple[str, ...] = get_args(Shape)

_MOST_CELLS = 1 << 62


@dataclass(frozen=True)
class BoundedNumeric:
    """A code in ``0..cardinality-1`` reported by Duchi's or the piecewise mechanism.

    Both are epsilon-DP for replacing the code by any other, and neither adds noise to it:

    - ``"duchi"`` rounds the code at random to one end of the grid, so that its mean is kept, and
      reports that bit by randomised response. A report is one of the two ends.
    - ``"piecewise"`` reports a cell of a longer grid: with ``window_probability`` uniform over a
      window that slides with the code, otherwise in the rest, so that two codes make
      any cell at most ``exp(epsilon)`` times as likely. The cell is scaled so that its mean is the
      code (to within a cell), then clamped to the grid, which is post-processing.

    Every probability is a table's exact integer weight; window and grid are integers.

    Args:
        cardinality: Number of grid points, at least 2.
        epsilon: Above 0, at most 80.
        shape: Which of the two.

    >>> BoundedNumeric(101, 1.0, "duchi").window_probability
    Traceback (most recent call last):
    ...
    AttributeError: Duchi's mechanism has no window
    >>> piecewise = BoundedNumeric(101, 1.0, "piecewise")
    >>> piecewise.cells, piecewise.window, round(piecewise.window_probability, 3)
    (408, 154, 0.622)

    Source: Duchi, Jordan and Wainwright, "Minimax optimal procedures for locally private
    estimation", 2018; Wang et al., "Collecting and analyzing multidimensional data with local
    differential privacy", ICDE 2019 (the piecewise mechanism, here on an integer grid).
    """

    cardinality: int
    epsilon: float
    shape: Shape = "piecewise"

    def __post_init__(self) -> None:
        whole("a cardinality", self.cardinality, 2)
        if self.shape not in SHAPES:
            raise InputError(f"shape is {self.shape!r}", f"Use {' or '.join(SHAPES)}.")
        local_epsilon(self.epsilon)
        if self.shape == "piecewise" and self.cells > _MOST_CELLS:
            raise InputError(
                f"a grid of {self.cardinality} points needs {self.cells} cells",
                "Declare a coarser granularity or give a larger epsilon.",
            )

    @property
    def noise(self) -> str:
        """What a card calls it."""
        return "Duchi" if self.shape == "duchi" else "piecewise"

    @property
    def diameter(self) -> int:
        """Steps between the two ends of the grid."""
        return int(self.cardinality) - 1

    @property
    def end_probability(self) -> float:
        """Of Duchi's report being the end that the code was rounded to."""
        return self._table.weights[0] / WHOLE + self._noise_probability / 2

    @property
    def window(self) -> int:
        """Cells of the window: ``(C - 1) / 2`` grid lengths, where ``C`` bounds the report."""
        self._sliding()
        return max(1, round((self._bound - 1) / 2 * self.diameter))

    @property
    def cells(self) -> int:
        """Cells in all: the window may start at any of ``(C + 1) / 2`` grid lengths."""
        return self.window + max(1, round((self._bound + 1) / 2 * self.diameter))

    @property
    def window_probability(self) -> float:
        """Of a report inside the window."""
        self._sliding()
        within = self._noise_probability * self.window / self.cells
        return self._table.weights[0] / WHOLE + within

    @property
    def event(self) -> DpEvent:
        """A randomised response event of Duchi's bit, a pure one of the piecewise mechanism.

        Duchi's bit is randomised response of a bit that was rounded at random: any two codes are
        mixtures of the same two reports, which no test tells apart better than the reports.
        """
        from sfumato.privacy.events import PureDpEvent, RandomizedResponseDpEvent

        if self.shape == "duchi":
            return RandomizedResponseDpEvent(self._noise_probability, 2)
        return PureDpEvent(float(self.epsilon), Neighbours.REPLACE_ONE.value)

    def randomise(self, values: Any, source: NoiseSource = SECURE) -> NDArray[np.int64]:
        """A grid point for each code, (n,), each by its own draw.

        Raises:
            InputError: If a code is outside ``0..cardinality-1``.
        """
        truth = codes(values, self.cardinality)
        if self.shape == "duchi":
            high = source.integers(self.diameter, len(truth)) < truth
            ends = self._table.sample(len(truth), source)
            ends = np.where(ends == 0, high, source.integers(2, len(truth)))
            return np.asarray(ends * self.diameter, np.int64)
        return self._grid_points(self._cells(truth, source))

    @property
    def _noise_probability(self) -> float:
        """Of a report that is uniform, whatever the code."""
        return self._table.weights[1] / WHOLE

    @property
    def _bound(self) -> float:
        """Bound ``C`` of a report about a number in ``[-1, 1]``."""
        return 1 / math.tanh(self.epsilon / 4)

    @cached_property
    def _table(self) -> Table:
        # What is likelier is so exp(epsilon) times; the part beyond uniform comes first, so that
        # it is rounded down.
        likely, whole = (1, 2) if self.shape == "duchi" else (self.window, self.cells)
        return Table([(exp_fixed(self.epsilon) - ONE) * likely, ONE * whole])

    def _cells(self, truth: NDArray[np.int64], source: NoiseSource) -> NDArray[np.int64]:
        """A cell for each code: uniform over all, or uniform over the code's window."""
        # Where a window starts is a function of the code: no rounding of it costs anything.
        shifts = self.cells - self.window
        starts = np.floor(truth * (shifts / self.diameter) + 0.5).astype(np.int64)
        starts = np.minimum(starts, shifts)
        everywhere = self._table.sample(len(truth), source).astype(np.bool_)
        reports = starts + source.integers(self.window, len(truth))
        replaced = np.flatnonzero(everywhere)
        reports[replaced] = source.integers(self.cells, len(replaced))
        return np.asarray(reports)

    def _grid_points(self, cells: NDArray[np.int64]) -> NDArray[np.int64]:
        """Cells as codes whose mean is the truth, clamped."""
        slope = self._table.weights[0] / WHOLE * (self.cells - self.window) / self.diameter
        centred = (cells - (self.cells - 1) / 2) / slope + self.diameter / 2
        return np.asarray(np.floor(np.clip(centred, 0, self.diameter) + 0.5), np.int64)

    def _sliding(self) -> None:
        if self.shape != "piecewise":
            raise AttributeError("Duchi's mechanism has no window")
