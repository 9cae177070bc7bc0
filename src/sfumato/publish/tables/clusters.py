"""Rows from noisy moments of clusters: everything here is post-processing of what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.publish.tables import moments
from sfumato.publish.tables.bins import Cells
from sfumato.publish.tables.embedding import Embedding
from sfumato.publish.tables.marginals import Independent as Counts
from sfumato.publish.tables.rows import Collector

if TYPE_CHECKING:
    from sfumato.data import Schema, Table

_ROWS = 1 << 15  # synthetic rows at a time
_STDDEV = "stddev"


@dataclass(frozen=True)
class Clusters:
    """Noisy moments of each cluster of each set of features.

    Args:
        facts: The table's schema.
        sets: Of the features.
        target: Public cells of the target, if there is one.
        bits: Each class is cut into ``2 ** bits`` clusters.
        stddev: Of the noise in each moment.
        measured: For each set (clusters, size) noisy moments.
    """

    facts: Schema
    sets: tuple[Embedding, ...]
    target: Cells | None
    bits: int
    stddev: float
    measured: Sequence[NDArray[np.float64]]

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return 1 if self.target is None else len(self.target)

    @cached_property
    def counts(self) -> Counts:
        """Consistent counts of clusters by class."""
        shape = (self.classes, 1 << self.bits)
        return Counts.fit([m[:, 0].reshape(shape).T for m in self.measured])

    @property
    def records(self) -> int:
        """The estimated number of records, at least 1."""
        return self.counts.records

    @property
    def tensors(self) -> dict[str, NDArray[np.float64]]:
        """All that was measured, by name, as a release keeps it."""
        named = {f"moments/{j:05d}": m for j, m in enumerate(self.measured)}
        return {_STDDEV: np.array([self.stddev]), **named}

    @classmethod
    def of_tensors(
        cls,
        tensors: Mapping[str, NDArray[Any]],
        facts: Schema,
        sets: tuple[Embedding, ...],
        target: Cells | None,
        bits: int,
    ) -> Clusters:
        """What :attr:`tensors` gave, with the public facts that it was measured by.

        Raises:
            KeyError: If a part is missing.
        """
        measured = [tensors[f"moments/{j:05d}"] for j in range(len(sets))]
        return cls(facts, sets, target, bits, float(tensors[_STDDEV][0]), measured)

    def draw(self, rows: int, rng: np.random.Generator) -> Table:
        """Synthetic rows: as many and as often as one likes."""
        models = [
            self._models(moment, one.width)
            for moment, one in zip(self.measured, self.sets, strict=True)
        ]
        collector = Collector(self.facts)
        for start in range(0, rows, _ROWS):
            labels, pieces = self.counts.sample(min(_ROWS, rows - start), rng)
            codes: dict[str, NDArray[np.int64]] = {}
            for one, model, piece in zip(self.sets, models, pieces, strict=True):
                cluster = labels << self.bits | piece
                vectors = np.empty((len(labels), one.width))
                for k in np.unique(cluster):
                    at = np.flatnonzero(cluster == k)
                    vectors[at] = model[k].draw(len(at), rng)
                codes |= one.codes(vectors)
            if self.target is not None:
                codes[self.target.column.name] = self.target.draw(labels, rng)
            collector.add(codes)
        return collector.table()

    def _models(self, measured: NDArray[np.float64], width: int) -> list[moments.Normal]:
        """A Gaussian for each cluster; of a class, or of all, where a cluster is lost in noise."""
        pieces = 1 << self.bits
        by_class = measured.reshape(self.classes, pieces, -1).sum(axis=1)
        everything = measured.sum(axis=0)
        found = []
        for k, own in enumerate(measured):
            one_class = by_class[k // pieces]
            if moments.trusted(own[0], self.stddev, width):
                found.append(moments.Normal.of(own, width))
            elif moments.trusted(one_class[0], self.stddev * np.sqrt(pieces), width):
                found.append(moments.Normal.of(one_class, width))
            else:
                found.append(moments.Normal.of(everything, width))
        return found
