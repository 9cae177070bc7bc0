"""One teacher a shard: kernel ridge regression, solved exactly, without a seed or a schedule.

A shard is small (some hundred records) and its features are many (3,969 for a scattered image), so
a teacher lives in the dual: one Gram matrix of its shard, one linear system, and one matrix of
kernels between its records and the queries. Two hundred and fifty teachers cost as much as one pass
over the features; each looks at its own shard alone, so nothing but its shard can move its vote.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sfumato.errors import InputError

Features = Callable[[NDArray[np.int64]], Tensor]
"""The features (n, d) float32 of these private rows, each a function of its own record."""


@dataclass(frozen=True)
class KernelRidge:
    """How a teacher learns: public numbers, the same for all.

    The kernel is ``exp(-width |x - y|^2 / d)`` on ``d`` features.

    Args:
        classes: How many labels there are.
        width: Of the kernel, for features whose variance is about 1.
        ridge: What is added to the diagonal of a Gram matrix.

    Raises:
        InputError: If a value is out of its range.
    """

    classes: int
    width: float = 0.5
    ridge: float = 1e-3

    def __post_init__(self) -> None:
        if not (isinstance(self.classes, int) and self.classes >= 2):
            raise InputError(f"the number of classes is {self.classes!r}", "Give at least 2.")
        for name in ("width", "ridge"):
            value = getattr(self, name)
            if not (isinstance(value, int | float) and 0 < value < math.inf):
                raise InputError(f"a teacher's {name} is {value!r}", "Give a number above 0.")

    @torch.no_grad()
    def vote(self, features: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
        """What a teacher of these records says.

        Args:
            features: (m, d); m may be 0, and such a teacher always says 0.
            labels: (m,) int64.
            queries: (r, d).

        Returns:
            (r,) int64 classes.
        """
        if len(features) == 0:
            return torch.zeros(len(queries), dtype=torch.int64)
        # Nothing that a record holds may stop the vote: stopping would be an answer, too.
        features = torch.nan_to_num(features, 0.0, 0.0, 0.0)
        solved, shares = self._solve(features, labels)
        scores = self._kernel(queries, features) @ solved + shares
        return scores.argmax(dim=1)

    def _solve(self, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Dual weights (m, classes), 0 if there are none, and the shard's shares of the classes."""
        gram = self._kernel(features, features).double()
        gram.diagonal().add_(self.ridge)
        targets = torch.nn.functional.one_hot(labels, self.classes).double()
        shares = targets.mean(dim=0)
        root, failed = torch.linalg.cholesky_ex(gram)
        solved = torch.cholesky_solve(targets - shares, root)
        if int(failed):
            solved = torch.zeros_like(solved)
        return solved.float(), shares.float()

    def _kernel(self, left: Tensor, right: Tensor) -> Tensor:
        """(n, m) kernels."""
        squares = (
            left.square().sum(dim=1)[:, None] + right.square().sum(dim=1) - 2 * (left @ right.T)
        )
        return torch.exp(squares.clamp_(min=0).mul_(-self.width / left.shape[1]))


def votes_of(
    teacher: KernelRidge,
    shards: Sequence[NDArray[np.int64]],
    features: Features,
    labels: Tensor,
    queries: Tensor,
    progress: Callable[[int, int, str], None] | None = None,
) -> NDArray[np.int64]:
    """How many teachers choose each class. **Private**: give it to a voting, never out.

    Args:
        teacher: How each learns.
        shards: The rows of each.
        features: See :data:`Features`; asked for one shard at a time.
        labels: (n,) int64 of all private rows.
        queries: (r, d) public.
        progress: Told after each teacher.

    Returns:
        (r, classes); every row sums to the number of teachers.
    """
    votes = np.zeros((len(queries), teacher.classes), np.int64)
    for done, rows in enumerate(shards, 1):
        said = teacher.vote(features(rows), labels[torch.from_numpy(rows)], queries)
        votes[np.arange(len(queries)), said.numpy()] += 1
        if progress is not None:
            progress(done, len(shards), "teachers")
    return votes
