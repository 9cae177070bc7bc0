"""Records that are there twice: on both sides, where no attack can tell them apart, or on one.

Or on a side and among what the attacker holds, who then knows which side it is.

Records of few columns are alike without being the same. Two parts of one source are as alike as
records within a part, so that each of the two says how many are to be expected of the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sfumato.attack import targets
from sfumato.measure import features
from sfumato.measure.intervals import clopper_pearson

if TYPE_CHECKING:
    from sfumato.data.imageset import ImageSet
    from sfumato.data.table import Table

MOST = 10_000
_CONFIDENCE = 0.9999
_Count = tuple[int, int]
"""How many, and of how many."""


def shared(members: Table | ImageSet, non_members: Table | ImageSet) -> tuple[int, int] | None:
    """How many non-members equal a member, and of how many; None where a fair split explains it.

    They are told of where more non-members than members equal a member, and the two shares'
    intervals at 99.99 % do not touch.

    Args:
        members: Records on one side.
        non_members: Records on the other; at most 10,000 of either side are compared.
    """
    alike, equal = _alike(members, non_members)
    return equal if _surely_more(equal, alike) else None


def repeated(one: Table | ImageSet, other: Table | ImageSet) -> tuple[int, int] | None:
    """How many records of a side equal another of it, and of how many; None where that is usual.

    They are told of where fewer of the other side equal one of this, as in :func:`shared`.

    Args:
        one: Records on a side.
        other: Records on the other; at most 10,000 of either side are compared.
    """
    alike, equal = _alike(one, other)
    return alike if _surely_more(alike, equal) else None


def known(
    held: Table | ImageSet, members: Table | ImageSet, non_members: Table | ImageSet
) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """How many members and non-members equal a record that the attacker holds, and of how many.

    None where both sides do alike, as they do where his records are of other people.

    Args:
        held: The attacker's records.
        members: Records on one side.
        non_members: Records on the other; at most 10,000 of each are compared.
    """
    rng = np.random.default_rng(0)
    own = _rows(held, rng)
    found = []
    for side in (members, non_members):
        rows = _rows(side, rng)
        found.append((int(np.isin(rows, own).sum()), len(rows)))
    inside, outside = found
    unlike = _surely_more(inside, outside) or _surely_more(outside, inside)
    return (inside, outside) if unlike else None


def _alike(one: Table | ImageSet, other: Table | ImageSet) -> tuple[_Count, _Count]:
    """How many of a side equal another of it, and how many of the other side equal one of it."""
    rng = np.random.default_rng(0)
    inside, outside = (_rows(data, rng) for data in (one, other))
    _, at, counts = np.unique(
        np.concatenate([inside, outside]), return_inverse=True, return_counts=True
    )
    own = np.bincount(at[: len(inside)], minlength=len(counts))
    alike = int(np.sum(own[at[: len(inside)]] > 1))
    equal = int(np.sum(own[at[len(inside) :]] > 0))
    return (alike, len(inside)), (equal, len(outside))


def _surely_more(one: _Count, other: _Count) -> bool:
    least = clopper_pearson(*one, _CONFIDENCE)[0]
    return bool(least > clopper_pearson(*other, _CONFIDENCE)[1])


def _rows(data: Table | ImageSet, rng: np.random.Generator) -> NDArray[np.void]:
    """(n,) each record's values as one item that can be compared."""
    return items(data, features.choose(features.size(data), MOST, rng))


def items(data: Table | ImageSet, rows: NDArray[np.int64] | None = None) -> NDArray[np.void]:
    """(n,) values of records that can be compared: all of them, or those at row numbers.

    Args:
        data: The records.
        rows: Row numbers, in rising order.
    """
    values = targets.read(data, rows).values
    flat = np.ascontiguousarray(values.reshape(len(values), -1))
    return flat.view(np.dtype((np.void, flat.dtype.itemsize * flat.shape[1]))).ravel()
