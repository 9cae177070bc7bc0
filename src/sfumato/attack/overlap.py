"""Records that are there twice: on both sides, where no attack can tell them apart, or on one.

Or on a side and among what the attacker holds, who then knows which side it is.

Records of few columns are alike without being the same. Two parts of one source are as alike as
records within a part, so that each of the two says how many are to be expected of the other.

All records are compared, by 64 bits of each; of more than a million a share that those bits choose:
equal records are chosen or left together, and are as large a share of the chosen as of all. Of
records that are drawn by chance, few copies have their original beside them.
"""

from __future__ import annotations

import math
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sfumato.attack import targets
from sfumato.measure.intervals import clopper_pearson

if TYPE_CHECKING:
    from sfumato.data.imageset import ImageSet
    from sfumato.data.table import Table

MOST = 1_000_000
_ROWS = 1 << 16
_VALUES = 1 << 24
"""Rows of a table, or pixels, that are looked at at a time."""
_CONFIDENCE = 0.9999
_Count = tuple[int, int]
"""How many, and of how many."""


def shared(members: Table | ImageSet, non_members: Table | ImageSet) -> tuple[int, int] | None:
    """How many non-members equal a member, and of how many; None where a fair split explains it.

    They are told of where more non-members than members equal a member, and the two shares'
    intervals at 99.99 % do not touch.

    Args:
        members: Records on one side.
        non_members: Records on the other.
    """
    alike, equal = _alike(members, non_members)
    return equal if _surely_more(equal, alike) else None


def repeated(one: Table | ImageSet, other: Table | ImageSet) -> tuple[int, int] | None:
    """How many records of a side equal another of it, and of how many; None where that is usual.

    They are told of where fewer of the other side equal one of this, as in :func:`shared`.

    Args:
        one: Records on a side.
        other: Records on the other.
    """
    alike, equal = _alike(one, other)
    return alike if _surely_more(alike, equal) else None


def known(
    held: Table | ImageSet, members: Table | ImageSet, non_members: Table | ImageSet
) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """How many members and non-members equal a record that the attacker holds, and of how many.

    None where both sides do alike, and no more of them than equal one of the other side, as where
    his records are of other people. So many times more of them as there are of his may by chance:
    a share of records that equal one of n others grows slower than n.

    Args:
        held: The attacker's records.
        members: Records on one side.
        non_members: Records on the other.
    """
    own, *sides = _chosen(held, members, non_members)

    def within(some: NDArray[np.uint64], others: NDArray[np.uint64]) -> _Count:
        return int(np.isin(some, others).sum()), len(some)

    inside, outside = (within(side, own) for side in sides)
    unlike = _surely_more(inside, outside) or _surely_more(outside, inside)
    one, other = sides
    for counted, some, others in ((inside, one, other), (outside, other, one)):
        times = max(1.0, len(own) / max(1, len(others)))
        unlike = unlike or _surely_more(counted, within(some, others), times)
    return (inside, outside) if unlike else None


def _alike(one: Table | ImageSet, other: Table | ImageSet) -> tuple[_Count, _Count]:
    """How many of a side equal another of it, and how many of the other side equal one of it."""
    inside, outside = _chosen(one, other)
    _, at, counts = np.unique(
        np.concatenate([inside, outside]), return_inverse=True, return_counts=True
    )
    own = np.bincount(at[: len(inside)], minlength=len(counts))
    alike = int(np.sum(own[at[: len(inside)]] > 1))
    equal = int(np.sum(own[at[len(inside) :]] > 0))
    return (alike, len(inside)), (equal, len(outside))


def _surely_more(one: _Count, other: _Count, times: float = 1.0) -> bool:
    """Whether the first share is surely more than so many times the second."""
    if not one[1] or not other[1]:  # none of a few values that millions of records have was chosen
        return False
    least = clopper_pearson(*one, _CONFIDENCE)[0]
    return bool(least > times * clopper_pearson(*other, _CONFIDENCE)[1])


def _chosen(*parts: Table | ImageSet) -> list[NDArray[np.uint64]]:
    """(n,) marks of each part's records: of all, or of a share that is the same in each part."""
    found = [marks(part) for part in parts]
    every = -(-max(map(len, found)) // MOST)
    return [some if every == 1 else some[some % np.uint64(every) == 0] for some in found]


def marks(data: Table | ImageSet) -> NDArray[np.uint64]:
    """(n,) 64 bits of each record's values: equal of equal records, and else by chance only.

    Two of a million different records share them with a probability of 3e-8. A table is streamed
    past where it is large.
    """
    from sfumato.data.table import Table

    if isinstance(data, Table):
        found = [
            _mixed(np.stack([np.asarray(batch[n], np.int32) for n in data.schema.names], axis=1))
            for batch in data.codes_batches(_ROWS)
        ]
        return np.concatenate([np.zeros(0, np.uint64), *found])
    step = max(1, _VALUES // math.prod(data.schema.shape))
    pictures: list[bytes] = []
    for at in range(0, len(data), step):
        rows = np.arange(at, min(at + step, len(data)), dtype=np.int64)
        values = np.ascontiguousarray(targets.read(data, rows).values, np.float32)
        pictures += [blake2b(row.data, digest_size=8).digest() for row in values]
    return np.frombuffer(b"".join(pictures), np.uint64)


def _mixed(codes: NDArray[np.int32]) -> NDArray[np.uint64]:
    """(n,) a hash of each row of (n, k) codes.

    Source: the finalizer of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014), once a column.
    """
    mixed = np.zeros(len(codes), np.uint64)
    for column in codes.view(np.uint32).T:
        mixed = (mixed ^ column) + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return mixed


def items(data: Table | ImageSet, rows: NDArray[np.int64] | None = None) -> NDArray[np.void]:
    """(n,) values of records that can be compared: all of them, or those at row numbers.

    Args:
        data: The records.
        rows: Row numbers, in rising order.
    """
    values = targets.read(data, rows).values
    flat = np.ascontiguousarray(values.reshape(len(values), -1))
    return flat.view(np.dtype((np.void, flat.dtype.itemsize * flat.shape[1]))).ravel()
