"""What a few noisy labels say of all public records: spread over a graph of neighbours.

Everything here works on public records and on released answers: post-processing, at no cost.

Source: Zhou et al., "Learning with Local and Global Consistency", NeurIPS 2003, with the local
scaling of Zelnik-Manor and Perona 2004.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sfumato.errors import InputError

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_BLOCK = 1024


@dataclass(frozen=True)
class Spreading:
    """Labels flow along the edges of a graph of nearest neighbours.

    ``F <- reach S F + (1 - reach) Y``, with ``S`` the normalised weights of the edges and ``Y`` the
    answers.

    Args:
        neighbours: Edges of each record to those nearest to it.
        sharpness: How fast the weight of an edge falls with its squared length, over the lengths
            of both ends' last edges: ``exp(-sharpness d^2 / (r_i r_j))``.
        reach: How far labels flow, in ``(0, 1)``.
        rounds: Of the flow.
    """

    neighbours: int = 8
    sharpness: float = 8.0
    reach: float = 0.99
    rounds: int = 100

    def __post_init__(self) -> None:
        for name in ("neighbours", "rounds"):
            if not (isinstance(getattr(self, name), int) and getattr(self, name) >= 1):
                raise InputError(f"{name} is {getattr(self, name)!r}", "Give at least 1.")
        if not 0 < self.sharpness < math.inf:
            raise InputError(f"sharpness is {self.sharpness!r}", "Give a number above 0.")
        if not 0 < self.reach < 1:
            raise InputError(f"reach is {self.reach!r}", "Give a number between 0 and 1.")

    def lightly(self, reach: float) -> Spreading:
        """The same over a shorter reach."""
        return replace(self, reach=min(reach, self.reach), rounds=min(30, self.rounds))

    def spread(
        self, coordinates: Tensor, answered: NDArray[np.int64], targets: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Label probabilities of every public record.

        Args:
            coordinates: (n, d) of all of them.
            answered: (m,) those with an answer.
            targets: (m, classes) what the answers say, rows summing to 1.

        Returns:
            (n, classes), rows summing to 1.
        """
        edges = self._edges(coordinates)
        start = np.zeros((len(coordinates), targets.shape[1]))
        start[answered] = targets
        flow = start.copy()
        for _ in range(self.rounds):
            flow = self.reach * (edges @ flow) + (1 - self.reach) * start
        flow += 1e-12 * targets.mean(axis=0)  # what no label reaches gets what all together say
        return np.asarray(flow / flow.sum(axis=1, keepdims=True))

    def _edges(self, coordinates: Tensor) -> csr_matrix:
        """Symmetric weights, normalised by the square roots of both ends' degrees."""
        import scipy.sparse as sparse

        n = len(coordinates)
        count = min(self.neighbours, n - 1)
        squares, nearest = _nearest(coordinates, count)
        squares = squares.double()
        far = squares[:, -1].clamp(min=1e-12)  # 0 where records are the same
        scaled = squares / (far[:, None] * far[nearest]).sqrt()
        weights = torch.exp(-self.sharpness * scaled)
        rows = np.repeat(np.arange(n), count)
        edges = sparse.csr_matrix(
            (weights.flatten().numpy(), (rows, nearest.flatten().numpy())), shape=(n, n)
        )
        edges = edges.maximum(edges.T)
        # A record far from all others, beside their copies of each other, has no weight left.
        degrees = np.maximum(np.asarray(edges.sum(axis=1)).ravel(), 1e-300)
        scale = sparse.diags(1 / np.sqrt(degrees))
        normalised: csr_matrix = (scale @ edges @ scale).tocsr()
        return normalised


def _nearest(points: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Squared distances and places of the ``count`` nearest others, (n, count), nearest first."""
    lengths = points.square().sum(dim=1)
    found, places = [], []
    for start in range(0, len(points), _BLOCK):
        part = slice(start, start + _BLOCK)
        squares = lengths[part, None] + lengths - 2 * (points[part] @ points.T)
        own = torch.arange(start, start + len(squares))
        squares[torch.arange(len(squares)), own] = torch.inf
        value, place = squares.topk(count, largest=False)
        found.append(value.clamp(min=0))
        places.append(place)
    return torch.cat(found), torch.cat(places)
