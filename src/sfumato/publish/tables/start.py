"""Where networks of rows begin: at the columns' own distributions in each class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sfumato.publish.tables.marginals import Independent

_MORE = 0.5  # added to a cell's count: no cell is impossible


@dataclass(frozen=True)
class Start:
    """Where networks begin: the columns' distributions by class, from noisy counts alone.

    Args:
        prior: (K,) shares of the classes, with sum 1.
        shares: (K, width) of each column's cells in each class, above 0.
    """

    prior: Tensor
    shares: Tensor

    @classmethod
    def of(cls, noisy: list[NDArray[np.integer]]) -> Start:
        """From (cells, classes) noisy counts of each column."""
        estimate = Independent.fit(noisy)
        columns = []
        for counts in estimate.conditionals:
            more = counts + _MORE
            columns.append((more / more.sum(axis=0)).T)
        prior = estimate.classes / estimate.classes.sum()
        return cls(
            torch.from_numpy(prior), torch.from_numpy(np.concatenate(columns, axis=1)).float()
        )

    @classmethod
    def uniform(cls, classes: int, sizes: tuple[int, ...]) -> Start:
        """What is known before anything was counted."""
        shares = torch.cat([torch.full((classes, size), 1 / size) for size in sizes], dim=1)
        return cls(torch.full((classes,), 1 / classes, dtype=torch.float64), shares)
