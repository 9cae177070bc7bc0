"""Which records a step sees: random samples that the accountant knows.

A sample is drawn afresh each step, so a sampler has no position to store. Sampling is part of the
proof: whoever can predict it has no amplification to overcome. It draws from the same
cryptographic stream as the noise.

There is no sampler here that walks through shuffled batches of one size: no accountant covers it
at these figures (Chua et al., ICML 2024).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InputError
from sfumato.privacy.neighbours import Neighbours

if TYPE_CHECKING:
    from dp_accounting import DpEvent

    from sfumato.privacy.noise import NoiseSource

_BLOCK = 1 << 20  # coins at a time: 8 MB of random words


class Sampling(Protocol):
    """A random sample of the records, with the event of Gaussian noise on its sum.

    Attributes:
        records: The public number of records.
        rate: Probability that a step sees a record.
    """

    @property
    def records(self) -> int:
        """The public number of records."""
        ...

    @property
    def rate(self) -> float:
        """Probability that a step sees a record (before it is cut, if it is)."""
        ...

    @property
    def expected_batch_size(self) -> float:
        """What noisy sums are divided by: public, and never the size of a sample."""
        ...

    def event(self, noise_multiplier: float) -> DpEvent:
        """One step: a sample, then Gaussian noise on a sum over it."""
        ...

    def check(self, neighbours: Neighbours, rows: int | None = None) -> None:
        """Refuses a relation, or a number of rows, that the event does not hold for.

        Raises:
            InputError: If it does not.
        """
        ...

    def draw(self, rows: int, source: NoiseSource) -> NDArray[np.int64]:
        """The rows of one step, ascending; there may be none."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        ...


@dataclass(frozen=True)
class PoissonSampling:
    """Every record takes part in a step with probability ``rate``, independently of all others.

    Args:
        records: The public number of records. Only the divisor of noisy sums rests on it; under
            add-remove it need not be the number of rows, which that relation hides.
        rate: In ``(0, 1]``; 1 is every record at every step.
    """

    kind: ClassVar[str] = "poisson"
    records: int
    rate: float

    def __post_init__(self) -> None:
        _check(self.records, self.rate)

    @classmethod
    def of_batches(cls, records: int, expected_batch_size: float) -> PoissonSampling:
        """The rate that gives batches of this size on average."""
        return cls(records, _rate(records, expected_batch_size))

    @property
    def expected_batch_size(self) -> float:
        """``rate * records``."""
        return self.rate * self.records

    def event(self, noise_multiplier: float) -> DpEvent:
        """A Poisson-sampled Gaussian."""
        from sfumato.privacy import events

        noise = events.GaussianDpEvent(noise_multiplier)
        return noise if self.rate == 1 else events.PoissonSampledDpEvent(self.rate, noise)

    def check(self, neighbours: Neighbours, rows: int | None = None) -> None:
        """Where a record is replaced or blanked out, the number of rows is the public one."""
        if neighbours is not Neighbours.ADD_REMOVE:
            _check_rows(self.records, rows, neighbours)

    def draw(self, rows: int, source: NoiseSource) -> NDArray[np.int64]:
        """One sample: as many coins as rows."""
        if self.rate == 1:
            return np.arange(rows, dtype=np.int64)
        found = [np.zeros(0, np.int64)]
        for start in range(0, rows, _BLOCK):
            coins = source.bernoulli(self.rate, min(_BLOCK, rows - start))
            found.append(np.flatnonzero(coins) + start)
        return np.concatenate(found)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"kind": self.kind, "records": self.records, "rate": self.rate}


@dataclass(frozen=True)
class TruncatedPoissonSampling:
    """A Poisson sample, of which at most ``max_batch_size`` records are kept, chosen at random.

    For hardware that wants one shape. Cutting makes one record's presence matter to another's, so
    it costs a little, which the event contains; and the number of records has to be public, so
    there is no guarantee under add-remove.

    Args:
        records: The public number of records, which is the number of rows.
        rate: Before the cut, in ``(0, 1]``.
        max_batch_size: At least 1.

    Source: Chua et al., "Scalable DP-SGD: Shuffling vs. Poisson Subsampling", NeurIPS 2024; the
    event's bound is arXiv 2508.15089's.
    """

    kind: ClassVar[str] = "truncated poisson"
    records: int
    rate: float
    max_batch_size: int

    def __post_init__(self) -> None:
        _check(self.records, self.rate)
        if not (isinstance(self.max_batch_size, int) and self.max_batch_size >= 1):
            raise InputError(
                f"max_batch_size is {self.max_batch_size!r}", "Give a whole number of at least 1."
            )

    @classmethod
    def of_batches(
        cls, records: int, expected_batch_size: float, max_batch_size: int
    ) -> TruncatedPoissonSampling:
        """The rate that gives batches of this size on average, before the cut."""
        return cls(records, _rate(records, expected_batch_size), max_batch_size)

    @property
    def expected_batch_size(self) -> float:
        """``rate * records``: that of the sample before it is cut."""
        return self.rate * self.records

    def event(self, noise_multiplier: float) -> DpEvent:
        """A truncated Poisson-sampled Gaussian."""
        from sfumato.privacy import events

        return events.TruncatedSubsampledGaussianDpEvent(
            self.records, self.rate, self.max_batch_size, noise_multiplier
        )

    def check(self, neighbours: Neighbours, rows: int | None = None) -> None:
        """The number of rows is public: no add-remove."""
        if neighbours is Neighbours.ADD_REMOVE:
            raise InputError(
                "truncated Poisson sampling has no guarantee under add-remove",
                "Account under zero-out or replace-one, or use PoissonSampling.",
            )
        _check_rows(self.records, rows, neighbours)

    def draw(self, rows: int, source: NoiseSource) -> NDArray[np.int64]:
        """A Poisson sample; a uniformly random part of it if it is too large."""
        drawn = PoissonSampling(self.records, self.rate).draw(rows, source)
        if len(drawn) <= self.max_batch_size:
            return drawn
        return np.sort(drawn[_subset(len(drawn), self.max_batch_size, source)])

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "kind": self.kind,
            "records": self.records,
            "rate": self.rate,
            "max_batch_size": self.max_batch_size,
        }


def _subset(n: int, size: int, source: NoiseSource) -> NDArray[np.int64]:
    """``size`` different numbers below ``n``: those with the smallest of ``n`` random words.

    Every set is equally likely but for two equal words, once in ``2**64 / n**2`` samples.
    """
    return np.argpartition(source.uint64(n), size)[:size].astype(np.int64)


def _rate(records: int, expected_batch_size: float) -> float:
    if not 0 < expected_batch_size <= records:
        raise InputError(
            f"the expected batch size is {expected_batch_size!r}",
            f"Give a number above 0 and up to the {records} records.",
        )
    return expected_batch_size / records


def _check(records: int, rate: float) -> None:
    if not (isinstance(records, int) and records >= 1):
        raise InputError(f"the number of records is {records!r}", "Give at least 1.")
    if not (isinstance(rate, int | float) and 0 < rate <= 1):
        raise InputError(f"the sampling rate is {rate!r}", "Give a number in (0, 1].")


def _check_rows(records: int, rows: int | None, neighbours: Neighbours) -> None:
    if rows is not None and rows != records:
        raise InputError(
            f"the data has {rows} rows, but {records} records were declared",
            f"Under {neighbours.value} that number is public and has to be right.",
        )
