"""Records that are on both sides: an attack that must tell the sides apart cannot see them."""

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


def shared(members: Table | ImageSet, non_members: Table | ImageSet) -> tuple[int, int] | None:
    """How many non-members equal a member, and of how many; None where a fair split explains it.

    Records of few columns are alike without being the same. Two parts of one source are as alike as
    records within a part, so that the members themselves say how many are to be expected. They are
    told of where the two shares' intervals at 99.99 % do not touch.

    Args:
        members: Records on one side.
        non_members: Records on the other; at most 10,000 of either side are compared.
    """
    rng = np.random.default_rng(0)
    inside, outside = (_rows(data, rng) for data in (members, non_members))
    _, at, counts = np.unique(
        np.concatenate([inside, outside]), return_inverse=True, return_counts=True
    )
    own = np.bincount(at[: len(inside)], minlength=len(counts))
    equal = int(np.sum(own[at[len(inside) :]] > 0))
    alike = int(np.sum(own[at[: len(inside)]] > 1))
    least = clopper_pearson(equal, len(outside), _CONFIDENCE)[0]
    if least <= clopper_pearson(alike, len(inside), _CONFIDENCE)[1]:
        return None
    return equal, len(outside)


def _rows(data: Table | ImageSet, rng: np.random.Generator) -> NDArray[np.void]:
    """(n,) each record's values as one item that can be compared."""
    values = targets.read(data, features.choose(features.size(data), MOST, rng)).values
    flat = np.ascontiguousarray(values.reshape(len(values), -1))
    return flat.view(np.dtype((np.void, flat.dtype.itemsize * flat.shape[1]))).ravel()
