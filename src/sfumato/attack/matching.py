"""How alike a released picture and an original are: by a Siamese network, and by distance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import nn

Pictures = NDArray[np.float32]
Scores = NDArray[np.float64]
_KIN = 5
"""Known pictures of a class from which a score is compared with theirs, not with everybody's."""


def nearness(first: NDArray[Any], second: NDArray[Any]) -> Scores:
    """(q, g) minus the squared distances of (q, ...) and (g, ...) pictures of one shape.

    >>> nearness(np.zeros((1, 2)), np.array([[1.0, 2.0], [2.0, 0.0]])).tolist()
    [[-5.0, -4.0]]
    """
    one, two = (np.asarray(side, np.float64).reshape(len(side), -1) for side in (first, second))
    squares = np.square(one).sum(axis=1)[:, None] + np.square(two).sum(axis=1)
    return np.asarray(-np.maximum(squares - 2 * one @ two.T, 0))


def standing(
    scores: Scores, known: Scores, labels: NDArray[np.int64], of_known: NDArray[np.int64]
) -> Scores:
    """Scores by how they stand among those of people who are surely others.

    A blurred or noisy picture is far from everybody, a pale one near; what tells whose it is, is
    that it is nearer to one than to others of the class.

    Args:
        scores: (q, g) of q pictures with g.
        known: (q, k) of the same with k pictures of people whom the attacker knows.
        labels: (q,) classes of the q pictures.
        of_known: (k,) of the known ones.

    Returns:
        (q, g) standard deviations of the class's known ones above their mean; of all known ones
        where the class has few.

    >>> standing(np.array([[3.0]]), np.array([[1.0, 2.0, 3.0]]), np.zeros(1), np.zeros(3)).round(2)
    array([[1.22]])
    """
    found = np.empty_like(scores)
    for label in np.unique(labels):
        rows, kin = labels == label, of_known == label
        some = known[rows][:, kin] if kin.sum() >= _KIN else known[rows]
        spread = np.maximum(some.std(axis=1), 1e-12)
        found[rows] = (scores[rows] - some.mean(axis=1)[:, None]) / spread[:, None]
    return found


@dataclass(frozen=True)
class Verifier:
    """A trained network that scores pairs of pictures.

    Args:
        network: As :func:`build` makes it.
    """

    network: Any

    def table(self, first: Pictures, second: Pictures) -> NDArray[np.float64]:
        """(q, g) scores of each of (q, c, h, w) with each of (g, c, h, w)."""
        import torch

        with torch.no_grad():
            one, two = (
                torch.cat(
                    [
                        self.network.encoder(part)
                        for part in torch.split(torch.from_numpy(side), 1024)
                    ]
                )
                for side in (first, second)
            )
            rows = [self.network.compared(row[None].expand_as(two), two) for row in one]
        return np.asarray(torch.stack(rows).numpy(), np.float64)


def build(shape: tuple[int, ...]) -> nn.Module:
    """Two copies of one encoder, and a linear score of how far apart their features are."""
    import torch
    from torch import nn

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            channels, height, width = shape
            size = 32 * -(-height // 4) * -(-width // 4)
            self.encoder = nn.Sequential(
                nn.Conv2d(channels, 16, 3, stride=2, padding=1),
                nn.ReLU(),
                nn.Conv2d(16, 32, 3, stride=2, padding=1),
                nn.ReLU(),
                nn.Flatten(),
                nn.Linear(size, 64),
            )
            self.head = nn.Linear(128, 1)

        def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
            """first, second: (n, c, h, w) to (n,) logits."""
            return self.compared(self.encoder(first), self.encoder(second))

        def compared(self, one: torch.Tensor, two: torch.Tensor) -> torch.Tensor:
            """one, two: (n, 64) features to (n,) logits."""
            apart = torch.cat([(one - two).abs(), one * two], dim=1)
            found: torch.Tensor = self.head(apart).squeeze(1)
            return found

    return Network()
