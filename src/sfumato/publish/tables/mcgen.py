"""``tables.mcgen``: rows drawn from a Gaussian for each cluster of each set of features.

MC-GEN's two levels: features are put into sets that are modelled apart, and for each set the
records of a class are put into clusters, of each of which the count, the mean and the covariance
are measured. Here both levels are public: sets are neighbouring columns of the schema (or
declared), clusters are the pieces that random hyperplanes through the middle of the domain cut it
into. A record is in one cluster of each set, so the clusters of a set are one Gaussian release, and
the sets are composed.

The published code is another mechanism: its clusters and sets are computed from the rows and
charged nothing, the scale of its noise is divided by the number of records on top of the cluster's
size, exact counts show in the number of rows, and noise is drawn again until a covariance is
positive. None of that is differentially private, and its figures say nothing about this one.

Source: Li, Zhuang, Chang, Knowledge-Based Systems 2023 (arXiv 2205.14298), repaired as
generative.md 3.16 says.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sfumato.data.facts import Fact
from sfumato.errors import InputError
from sfumato.privacy.guarantee import Central
from sfumato.privacy.neighbours import Neighbours
from sfumato.publish import checks
from sfumato.publish.method import Calibrated, Progress
from sfumato.publish.tables import moments
from sfumato.publish.tables.bins import Cells, check_binning
from sfumato.publish.tables.clusters import Clusters
from sfumato.publish.tables.counted import TARGET_BINS, target_of
from sfumato.publish.tables.embedding import Embedding, directions, groups, sides
from sfumato.publish.tables.marginals import total_stddev
from sfumato.publish.tables.rows import number_of
from sfumato.registry import method
from sfumato.release.release import Artefact

if TYPE_CHECKING:
    from sfumato.data import Schema, Table
    from sfumato.privacy.budget import Budget
    from sfumato.privacy.mechanisms import Gaussian
    from sfumato.privacy.noise import NoiseSource
    from sfumato.release.release import Release

_ROWS = 1 << 15  # records at a time
_LARGEST = 1 << 25  # numbers that are measured of one set
_MOST_BITS = 10
_SET_SIZE = 3


@method("tables.mcgen")
@dataclass(frozen=True)
class McGen:
    """Gaussian clusters of sets of features, by class.

    Args:
        set_size: Columns of a set, taken in the schema's order.
        sets: The sets by name, in place of ``set_size``; every attribute is in exactly one.
        bits: Hyperplanes that cut each class into ``2 ** bits`` clusters; 0 for one cluster.
        target_bins: Equal-width bins of a numeric target.
        rows: How many rows to draw; None: the noisy estimate of how many there are, and at most
            10,000 where noise hides that.
        seed: Of hyperplanes and sampling, which are not privacy noise; None draws one. It is
            recorded.

    Raises:
        InputError: If a value is unknown or out of its range.

    Guaranteed: ``Central``, record, add/remove. A record adds a vector of length at most
    ``sqrt(3)`` to the moments of the one cluster of each set that it is in.
    """

    set_size: int = _SET_SIZE
    sets: tuple[tuple[str, ...], ...] | None = None
    bits: int = 1
    target_bins: int = TARGET_BINS
    rows: int | None = None
    seed: int | None = None

    name: ClassVar[str]
    kinds: ClassVar[tuple[str, ...]] = ("table",)
    gives: ClassVar[str] = "table"
    source: ClassVar[str] = "Li, Zhuang, Chang, Knowledge-Based Systems 2023 (arXiv 2205.14298)"
    relation: ClassVar[str] = "central"
    needs_records: ClassVar[bool] = False
    default_delta: ClassVar[float] = 1e-6

    def __post_init__(self) -> None:
        check_binning(self.target_bins, "equal")
        checks.whole("set_size", self.set_size, 1)
        checks.whole("bits", self.bits, 0)
        checks.optional(self, rows=1, seed=0)
        if self.bits > _MOST_BITS:
            raise InputError(f"bits is {self.bits}", f"Give at most {_MOST_BITS}.")
        if self.sets is not None:
            object.__setattr__(self, "sets", _named(self.sets))

    def calibrate(self, budget: Budget, facts: Schema) -> Calibrated:
        """The run that spends ``budget`` on a table with these public facts.

        Raises:
            InputError: If the facts leave nothing to measure, a set would be too large, or delta
                is 0.
        """
        # Neighbours differ in their number of rows: stating or checking it would tell them apart.
        facts = facts.with_records(None)
        target = target_of(facts, self.target_bins)
        sets = self._sets(facts)
        clusters = (1 if target is None else len(target)) << self.bits
        for one in sets:
            numbers = moments.size(one.width) * clusters
            if numbers > _LARGEST:
                names = ", ".join(repr(column.name) for column in one.columns)
                raise InputError(
                    f"the set of {names} has {numbers} moments in {clusters} clusters",
                    "Give smaller sets, fewer bits, or fewer levels.",
                )
        run = _Run(self, facts, sets, target, _noise(budget, len(sets)))
        return Calibrated(
            method=self,
            budget=budget,
            facts=facts,
            guarantee=Central(run.event, budget.delta, "record", Neighbours.ADD_REMOVE),
            plan=run.plan,
            run=run,
            public=(Fact("sets of features", [[c.name for c in s.columns] for s in sets]),),
            caveats=(
                "Sets and clusters are public choices, not MC-GEN's clustering of the rows, which "
                "its paper does not charge for.",
                "Given the class, features of different sets are independent.",
            ),
        )

    def resample(self, release: Release, n: int, seed: int) -> Table:
        """``n`` more rows from a release's noisy moments, which cost nothing."""
        facts: Any = release.facts
        target = target_of(facts, self.target_bins)
        clusters = Clusters.of_tensors(
            release.artefact.tensors, facts, self._sets(facts), target, self.bits
        )
        return clusters.draw(n, np.random.default_rng(seed))

    def _sets(self, facts: Schema) -> tuple[Embedding, ...]:
        if not facts.features:
            raise InputError(
                "the table has no column beside its target", "Declare at least one feature."
            )
        if self.sets is None:
            return tuple(Embedding(g) for g in groups(facts.features, self.set_size))
        if self.set_size != _SET_SIZE:
            raise InputError("set_size and sets were both given", "Give one of the two.")
        names = [name for one in self.sets for name in one]
        known = [column.name for column in facts.features]
        if sorted(names) != sorted(known):
            odd = sorted(set(names) ^ set(known)) or sorted(
                {n for n in names if names.count(n) > 1}
            )
            raise InputError(
                f"the sets do not hold every attribute once: {', '.join(odd[:5])}",
                "Name each attribute in one set, and the target in none.",
            )
        return tuple(Embedding(tuple(facts[name] for name in one)) for one in self.sets)


def _named(given: Any) -> tuple[tuple[str, ...], ...]:
    sets = given if isinstance(given, list | tuple) else None
    if sets is None or not all(
        isinstance(one, list | tuple) and one and all(isinstance(name, str) for name in one)
        for one in sets
    ):
        raise InputError(f"sets is {given!r}", "Give lists of column names.")
    return tuple(tuple(one) for one in sets)


def _noise(budget: Budget, sets: int) -> Gaussian:
    """The noise on every moment: so many Gaussian releases meet the budget together."""
    from sfumato.privacy.calibration import calibrate_gaussian
    from sfumato.privacy.mechanisms import Gaussian
    from sfumato.privacy.mechanisms.checks import delta_given
    from sfumato.privacy.mechanisms.grid import power_below

    delta_given(budget.delta, "Gaussian noise")
    multiplier = calibrate_gaussian(budget, Neighbours.ADD_REMOVE, steps=sets)
    stddev = multiplier * moments.CONTRIBUTION
    # The exact sums lie on the grid already, whichever of the two is finer.
    return Gaussian(stddev, moments.CONTRIBUTION, min(moments.STEP, power_below(stddev * 2.0**-26)))


@dataclass(frozen=True)
class _Run:
    """Moments, noise, clusters, rows.

    Args:
        method: The public choices.
        facts: The table's schema.
        sets: Of the features.
        target: Public cells of the target, if there is one.
        noise: Of every moment.
    """

    method: McGen
    facts: Schema
    sets: tuple[Embedding, ...]
    target: Cells | None
    noise: Gaussian

    @property
    def event(self) -> Any:
        """One Gaussian release a set."""
        from sfumato.privacy import events

        return events.repeat(self.noise.event, len(self.sets))

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return 1 if self.target is None else len(self.target)

    @property
    def records_stddev(self) -> float:
        """Of the noise in the estimated number of records."""
        pieces = [1 << self.method.bits] * len(self.sets)
        return total_stddev(pieces, self.classes, self.noise.stddev**2)

    @property
    def plan(self) -> dict[str, Any]:
        """Sets, clusters and noise, as JSON values."""
        return {
            "sets": len(self.sets),
            "classes": self.classes,
            "clusters_of_a_class": 1 << self.method.bits,
            "moments": sum(moments.size(s.width) for s in self.sets) * self.classes
            << self.method.bits,
            "contribution": self.noise.padded_contribution,
            "stddev": self.noise.stddev,
        }

    def __call__(self, table: Table, source: NoiseSource, progress: Progress) -> Artefact:
        """Measures with noise, then draws rows from what was measured."""
        seed = secrets.randbits(63) if self.method.seed is None else self.method.seed
        progress(0, 2, "moments")
        measured = self.measure(table, source, seed)
        progress(1, 2, "rows")
        clusters = Clusters(
            self.facts, self.sets, self.target, self.method.bits, self.noise.stddev, measured
        )
        rows, notes = number_of(self.method.rows, clusters.records, self.records_stddev)
        released = clusters.draw(rows, np.random.default_rng(seed))
        progress(2, 2, "rows")
        seeds = {"clusters_and_sampling": seed}
        return Artefact(released, clusters.tensors, seeds=seeds, notes=notes)

    def measure(self, table: Table, source: NoiseSource, seed: int) -> list[NDArray[np.float64]]:
        """All that is drawn from the private rows: (clusters, size) noisy moments of each set."""
        return [self.noise.release(exact, source) for exact in self.exact(table, seed)]

    def exact(self, table: Table, seed: int) -> list[NDArray[np.float64]]:
        """The exact moments of every cluster: private, for the noise alone."""
        clusters = self.classes << self.method.bits
        totals = [np.zeros((clusters, moments.size(s.width))) for s in self.sets]
        for codes in table.codes_batches(_ROWS):
            label = self._labels(codes)
            for j, (one, total) in enumerate(zip(self.sets, totals, strict=True)):
                vectors = one.vectors(codes)
                piece = sides(one, vectors, self.planes(j, seed))
                total += moments.summed(vectors, label << self.method.bits | piece, clusters)
        return totals

    def planes(self, j: int, seed: int) -> NDArray[np.float64]:
        """Public hyperplanes of a set."""
        return directions(self.sets[j].width, self.method.bits, (seed + j) % (1 << 63))

    def _labels(self, codes: dict[str, NDArray[np.int64]]) -> NDArray[np.int64]:
        if self.target is None:
            return np.zeros(len(next(iter(codes.values()))), np.int64)
        given = codes[self.target.column.name]
        # A missing target is the cell after the last cut, as its code is.
        found = np.searchsorted(self.target.edges[1:], given, side="right")
        return np.asarray(found, dtype=np.int64)
