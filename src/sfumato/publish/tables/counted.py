"""What methods that count by public cells share: the cells, exact counts, rows from cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sfumato.data.columns import Numeric
from sfumato.errors import InputError
from sfumato.publish.tables.bins import Cells
from sfumato.publish.tables.rows import Collector

if TYPE_CHECKING:
    from sfumato.data import Schema, Table
    from sfumato.release.release import Release

TARGET_BINS = 8
"""Equal-width bins of a numeric target, by default."""
LARGEST_TABLE = 1 << 26
"""Cells of one noisy table."""
_ROWS = 1 << 16  # synthetic rows that are decoded at a time


class Sampler(Protocol):
    """An estimate of cells' distribution that synthetic rows are drawn from."""

    def sample(
        self, rows: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
        """(rows,) cells of the target, and (rows,) cells of each feature."""
        ...


def target_of(facts: Schema, bins: int) -> Cells | None:
    """Public cells of the target; None without one.

    Raises:
        InputError: If bins were given that the target has no use for.
    """
    goal = None if facts.target is None else facts[facts.target]
    if bins != TARGET_BINS and not isinstance(goal, Numeric):
        raise InputError(
            "target_bins was given, and the target is no number",
            "It has a meaning for a numeric target only.",
        )
    return None if goal is None else Cells.of(goal, bins, "equal")


def features_of(facts: Schema, target: Cells | None, bins: int, binning: str) -> tuple[Cells, ...]:
    """Public cells of the features.

    Raises:
        InputError: If there is none, or one by the target would be too large a table.
    """
    classes = 1 if target is None else len(target)
    features = tuple(Cells.of(column, bins, binning, classes) for column in facts.features)
    if not features:
        raise InputError(
            "the table has no column beside its target", "Declare at least one feature."
        )
    for cells in features:
        if len(cells) * classes > LARGEST_TABLE:
            raise InputError(
                f"column {cells.column.name!r} by target has {len(cells) * classes} cells",
                "Declare fewer levels, or predict another target.",
            )
    return features


@dataclass(frozen=True)
class CountedRun:
    """A run that counts each feature by the target.

    Args:
        method: The public choices.
        facts: The table's schema.
        features: Public cells of the features.
        target: Public cells of the target, if there is one.
    """

    method: Any
    facts: Schema
    features: tuple[Cells, ...]
    target: Cells | None

    @property
    def classes(self) -> int:
        """How many cells the target has; 1 without one."""
        return 1 if self.target is None else len(self.target)

    def draw(self, estimate: Sampler, rows: int, rng: np.random.Generator) -> Table:
        """Synthetic rows, from noisy counts alone: as many and as often as one likes."""
        collector = Collector(self.facts)
        for start in range(0, rows, _ROWS):
            labels, columns = estimate.sample(min(_ROWS, rows - start), rng)
            codes = {
                cells.column.name: cells.draw(drawn, rng)
                for cells, drawn in zip(self.features, columns, strict=True)
            }
            if self.target is not None:
                codes[self.target.column.name] = self.target.draw(labels, rng)
            collector.add(codes)
        return collector.table()

    @classmethod
    def of_release(cls, method: Any, release: Release) -> CountedRun:
        """What draws rows from a release's estimate: all of it is public."""
        facts: Any = release.facts
        target = target_of(facts, method.target_bins)
        features = features_of(facts, target, method.bins, method.binning)
        return CountedRun(method, facts, features, target)

    def _counts(self, table: Table) -> list[NDArray[np.int64]]:
        """The exact (cells, classes) table of each feature: private, for the noise alone."""
        by = () if self.target is None else (self.target.axis,)
        counted = table.many_counts([(cells.axis, *by) for cells in self.features])
        return [
            cells.sum(counts.reshape(len(counts), -1))
            for cells, counts in zip(self.features, counted, strict=True)
        ]
