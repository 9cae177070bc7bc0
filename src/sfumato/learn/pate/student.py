"""The student: one linear layer on public features, solved exactly, on the labels of the pool.

Labels spread over a graph are wrong in patches, where one group of records touches another. A
linear layer cannot follow patches: it is right more often than the labels it was taught. So its own
opinion is spread once more, lightly, and a second layer learns that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sfumato.errors import InputError
from sfumato.learn.pate.spreading import Spreading

_SCALE = 8.0
"""Scores of ridge regression lie between 0 and 1; times this they are fair log odds."""
_LIGHTLY = 0.8


@dataclass(frozen=True, eq=False)
class Layer:
    """A linear layer.

    Attributes:
        weight: (classes, d) float32.
        bias: (classes,) float32.
    """

    weight: Tensor
    bias: Tensor

    def scores(self, features: Tensor) -> Tensor:
        """(n, classes) log odds of (n, d) features."""
        return features @ self.weight.T + self.bias


@dataclass(frozen=True)
class Student:
    """How the layer is fitted: no seed, no schedule.

    Args:
        ridge: What is added to the diagonal of the features' second moments, over its mean.
        lessons: How often; at 1 the spread labels are final.
    """

    ridge: float = 0.1
    lessons: int = 2

    def __post_init__(self) -> None:
        if not 0 < self.ridge < math.inf:
            raise InputError(f"the student's ridge is {self.ridge!r}", "Give a number above 0.")
        if not (isinstance(self.lessons, int) and self.lessons >= 1):
            raise InputError(f"lessons is {self.lessons!r}", "Give at least 1.")

    @torch.no_grad()
    def learn(
        self,
        pool: Tensor,
        coordinates: Tensor,
        targets: NDArray[np.float64],
        spreading: Spreading,
    ) -> Layer:
        """The layer that public records and what is said of them make.

        Args:
            pool: (m, d) public features.
            coordinates: (m, c) in which they are near or far.
            targets: (m, classes) probabilities, of which the largest counts.
            spreading: Its graph is used for further lessons.
        """
        centre = pool.mean(dim=0)
        centred = pool - centre
        moments = (centred.T @ centred).double()
        mean = max(float(moments.diagonal().mean()), 1e-30)
        moments.diagonal().add_(self.ridge * mean)
        root = torch.linalg.cholesky(moments)
        classes = targets.shape[1]
        everybody = np.arange(len(pool))
        for lesson in range(self.lessons):
            said = torch.from_numpy(targets.argmax(axis=1))
            wanted = torch.nn.functional.one_hot(said, classes).float()
            shares = wanted.mean(dim=0)
            solved = torch.cholesky_solve((centred.T @ (wanted - shares)).double(), root).float()
            weight = _SCALE * solved.T
            layer = Layer(weight, _SCALE * shares - weight @ centre)
            if lesson + 1 < self.lessons:
                opinion = torch.softmax(layer.scores(pool).double(), dim=1).numpy()
                targets = spreading.lightly(_LIGHTLY).spread(coordinates, everybody, opinion)
        return layer
