"""Some rows of a source, chosen by their places alone: a share by hashes, or the first ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sfumato.data.sources import ROWS, Source
from sfumato.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa


Seed = int | bytes
"""A number, which others may know, or a secret key: of coins that nobody can guess."""


@dataclass(frozen=True)
class Subset:
    """The rows of a source whose public row number hashes below a threshold, or the others."""

    source: Source
    seed: Seed
    threshold: int
    below: bool

    @property
    def names(self) -> tuple[str, ...]:
        """Column names."""
        return self.source.names

    @cached_property
    def num_rows(self) -> int:
        """Number of rows kept; row numbers are hashed, no row is read."""
        total = self.source.num_rows
        return sum(
            int(self._kept(start, min(ROWS, total - start)).sum())
            for start in range(0, total, ROWS)
        )

    def batches(self, columns: Sequence[str], rows: int = ROWS) -> Iterator[pa.RecordBatch]:
        """All kept rows of some columns, in order."""
        import pyarrow as pa

        start = 0
        for batch in self.source.batches(columns, rows):
            kept = batch.filter(pa.array(self._kept(start, batch.num_rows)))
            start += batch.num_rows
            if kept.num_rows:
                yield kept

    def _kept(self, start: int, count: int) -> NDArray[np.bool_]:
        low = row_hashes(self.seed, start, count) < np.uint64(self.threshold)
        return low if self.below else ~low


@dataclass(frozen=True)
class Head:
    """The first rows of a source."""

    source: Source
    rows: int

    @property
    def names(self) -> tuple[str, ...]:
        """Column names."""
        return self.source.names

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return min(self.rows, self.source.num_rows)

    def batches(self, columns: Sequence[str], rows: int = ROWS) -> Iterator[pa.RecordBatch]:
        """The first rows of some columns."""
        left = self.rows
        for batch in self.source.batches(columns, rows):
            yield batch.slice(0, left)
            left -= batch.num_rows
            if left <= 0:
                return


_EXACT = 10_000_000
"""Rows of which the hashes are looked at."""
_BLOCK = 1 << 16
"""Rows whose coins are one stream."""


def spelt(seed: Seed) -> str:
    """A seed in letters, for hashes of others."""
    return seed.hex() if isinstance(seed, bytes) else str(seed)


def row_hashes(seed: Seed, start: int, count: int) -> NDArray[np.uint64]:
    """(count,) hashes of row numbers, the same on every machine.

    A function of the seed and the row's place alone, never of its values: SplitMix64's finaliser of
    a number, 64 bits of SHAKE-256 of a secret key.
    """
    if isinstance(seed, bytes):
        return _coins(seed, start, count)
    # Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014.
    with np.errstate(over="ignore"):
        z = np.arange(start, start + count, dtype=np.uint64)
        for key in (seed & (2**64 - 1), 0x9E3779B97F4A7C15):
            z = (z + np.uint64(key)) * np.uint64(0x9E3779B97F4A7C15)
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            z = z ^ (z >> np.uint64(31))
    return z


def _coins(key: bytes, start: int, count: int) -> NDArray[np.uint64]:
    first = start // _BLOCK
    end = start + count
    made = [
        hashlib.shake_256(key + block.to_bytes(8, "big")).digest(
            8 * min(_BLOCK, end - block * _BLOCK)
        )
        for block in range(first, -(-end // _BLOCK))
    ]
    return np.frombuffer(b"".join(made), dtype="<u8")[start - first * _BLOCK :].astype(np.uint64)


def split_threshold(seed: Seed, rows: int, fraction: float) -> int:
    """The hash below which a row is held out.

    Of a number: such that exactly ``round(fraction * rows)`` rows of up to 10 million fall below
    it. Of a secret key (and of more rows) each does by a coin of its own: one row more, wherever it
    stands, then leaves the chances of all others as they were.

    Raises:
        InputError: If one of the two parts would be empty.
    """
    if not 0 < fraction < 1:
        raise InputError(f"the held-out fraction is {fraction!r}", "Give a number between 0 and 1.")
    hashes = row_hashes(seed, 0, min(rows, _EXACT))
    threshold = int(fraction * 2**64)
    held_out, exact = round(fraction * rows), isinstance(seed, int)
    if exact and 0 < held_out < rows <= _EXACT:
        threshold = int(np.partition(hashes, held_out)[held_out])
    low = hashes < np.uint64(threshold)
    if low.all() or not low.any() or (exact and not 0 < held_out < rows):
        raise InputError(
            f"{rows} rows are too few to hold {fraction:g} of them out: one part is empty",
            "Give more rows or another fraction.",
        )
    return threshold
