"""Trained shadow models, and what they say about records."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sfumato.attack.membership.scores import log_odds_of_scores
from sfumato.attack.shadows.design import contains
from sfumato.attack.shadows.networks import Network
from sfumato.attack.shadows.training import Trained, scaled
from sfumato.measure.cnn import one_torch_thread

if TYPE_CHECKING:
    from torch import nn

    from sfumato.attack.shadows.design import Rows

_BATCH = 512  # records that a group looks at at once


@dataclass(frozen=True)
class Bank:
    """Shadow models and the rows that each was trained on.

    Args:
        network: Their architecture.
        rows: (models, k) row numbers of the pool.
        records: n, how many records the pool holds.
        groups: The models, in order.
    """

    network: Network
    rows: Rows
    records: int
    groups: tuple[Trained, ...]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def inside(self) -> NDArray[np.bool_]:
        """(models, n): whether a model was trained on a record of the pool."""
        return contains(self.rows, self.records)

    def scores(self, inputs: NDArray[np.float32]) -> Iterator[NDArray[np.float64]]:
        """What each model makes of records, a model at a time.

        Args:
            inputs: (n, *shape).

        Yields:
            (n, K) log-probabilities up to a constant.
        """
        import torch

        with one_torch_thread(), torch.no_grad():
            for group in self.groups:
                parts = []
                for start in range(0, len(inputs), _BATCH):
                    some = torch.from_numpy(inputs[start : start + _BATCH])
                    shared = some.expand(len(group.centre), *some.shape)
                    records = scaled(shared, group.centre, group.spread)
                    parts.append(self.network.scores(group.weights, records).double().numpy())
                yield from np.concatenate(parts, axis=1)

    def log_odds(
        self, inputs: NDArray[np.float32], labels: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """(models, n) log-odds of the records' true classes."""
        return np.stack([log_odds_of_scores(scores, labels) for scores in self.scores(inputs)])

    def module(self, model: int) -> nn.Module:
        """One of the models by itself, on records as they come."""
        import torch
        from torch import nn

        place = model
        for group in self.groups:
            if place < len(group.centre):
                break
            place -= len(group.centre)
        else:
            raise IndexError(f"there are {len(self)} models, not {model + 1}")
        inner = self.network.module()
        inner.load_state_dict({name: w[place] for name, w in group.weights.items()})

        class Scaled(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.inner = inner
                self.centre, self.spread = float(group.centre[place]), float(group.spread[place])

            def forward(self, records: torch.Tensor) -> torch.Tensor:
                found: torch.Tensor = self.inner((records - self.centre) / self.spread)
                return found

        return Scaled().eval()
