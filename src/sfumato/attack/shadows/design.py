"""Which records each shadow model is trained on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


def halves(records: int, models: int, seed: int) -> Rows:
    """Random halves, in pairs that leave no record in both of a pair.

    A record is in each model by a fair coin, and in half of all models: in one of each pair. With
    an odd number of records each pair leaves one out. The first halves do not depend on how many
    are asked for, so that more models can be added to those that are trained.

    Args:
        records: n, at least 2.
        models: How many halves.
        seed: Of the coins.

    Returns:
        (models, n // 2) row numbers, rising.

    >>> rows = halves(6, 4, seed=0)
    >>> [sorted({*rows[i].tolist(), *rows[i + 1].tolist()}) for i in (0, 2)]
    [[0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5]]
    """
    half = records // 2
    parts: list[Rows] = []
    for pair in range(-(-models // 2)):
        order = np.random.default_rng([seed, pair]).permutation(records)
        parts += [np.sort(order[:half]), np.sort(order[half : 2 * half])]
    return np.stack(parts[:models]).astype(np.int64)


def contains(rows: Rows, records: int) -> NDArray[np.bool_]:
    """Which records are in which model.

    Args:
        rows: (models, k) row numbers.
        records: n.

    Returns:
        (models, n), true where a record is among the model's.
    """
    inside = np.zeros((len(rows), records), dtype=bool)
    inside[np.arange(len(rows))[:, None], rows] = True
    return inside
