"""Whose records are whose: a person counts once, and is on one side of every split.

Several records of one person say much the same. Counted as so many people they make intervals too
narrow; parted, they let an attacker recognise faces and call it a leak.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sfumato.measure import features

if TYPE_CHECKING:
    from sfumato.data.imageset import ImageSet
    from sfumato.data.table import Table


def of(data: Table | ImageSet) -> NDArray[np.int64]:
    """(n,) a number for the person of each record, each its own where persons are not known.

    All numbers from 0 to one below :func:`count` occur. A table's own numbers may have gaps, where
    it is a part of a larger one.
    """
    known = data.whose()
    if known is None:
        return np.arange(features.size(data), dtype=np.int64)
    return np.unique(known, return_inverse=True)[1].astype(np.int64)


def count(data: Table | ImageSet) -> int:
    """How many persons the records are of."""
    known = data.whose()
    return features.size(data) if known is None else len(np.unique(known))


def one_each(data: Table | ImageSet, rng: np.random.Generator) -> NDArray[np.int64]:
    """Row numbers, in rising order, of one record of each person, drawn at random.

    All rows where persons are not known; nothing is drawn then.
    """
    known = data.whose()
    if known is None:
        return np.arange(features.size(data), dtype=np.int64)
    return one_of_each(known, rng)


def one_of_each(persons: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Positions, in rising order, of one of each of (n,) numbers, drawn at random.

    >>> one_of_each(np.array([4, 4, 4, 7, 9, 9]), np.random.default_rng(0)).shape
    (3,)
    """
    order = rng.permutation(len(persons))
    first = np.unique(persons[order], return_index=True)[1]
    return np.sort(order[first]).astype(np.int64)


def choose(data: Table | ImageSet, limit: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """At most ``limit`` row numbers in rising order, each of another person."""
    rows = one_each(data, rng)
    return rows[features.choose(len(rows), limit, rng)]
