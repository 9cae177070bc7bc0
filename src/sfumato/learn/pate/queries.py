"""Which public records are put to the vote: few, and unlike each other.

The choice looks at public records only, so it is free. A vote costs the same whatever it is about:
asking about the middle of each of ``count`` groups tells more of the pool than asking about
``count`` records at random, and the middle of a group is where teachers agree.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sfumato.errors import InputError


def reduced(pool: Tensor, width: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """The principal components of public features.

    Args:
        pool: (n, d).
        width: How many components; at most what ``pool`` has.
        seed: Of the random projection that finds them.

    Returns:
        (n, width) coordinates, the (d,) centre and the (d, width) components.
    """
    centre = pool.mean(dim=0)
    width = min(width, *pool.shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        components = torch.svd_lowrank(pool - centre, q=width, niter=2)[2]
    return (pool - centre) @ components, centre, components


def representatives(coordinates: Tensor, count: int, seed: int) -> NDArray[np.int64]:
    """The record nearest to each of ``count`` centres of k-means, in ascending order.

    Args:
        coordinates: (n, d) of public records.
        count: How many, at most n.
        seed: Of the centres' start.

    Returns:
        (at most count,) int64: two centres may share a record.

    Raises:
        InputError: If there are fewer public records than queries.
    """
    if count > len(coordinates):
        raise InputError(
            f"{count} queries are to be chosen from {len(coordinates)} public records",
            "Give more public records, or ask fewer queries.",
        )
    from sklearn.cluster import KMeans

    points = coordinates.numpy()
    groups = KMeans(count, n_init=1, max_iter=20, random_state=seed).fit(points)
    centres = torch.from_numpy(groups.cluster_centers_).to(coordinates.dtype)
    return np.unique(torch.cdist(centres, coordinates).argmin(dim=1).numpy())
