"""Evening out how features vary, as drawings vary in them.

A few hundred directions carry most of what scattering features do, whatever is in the picture: how
bright it is, where its mass lies. Descent runs along them first and reaches the rest, where classes
differ, only after steps that a budget cannot pay for. So they are shrunk. Which directions, and how
far, is learnt from pictures that a procedure draws (:mod:`sfumato.learn.drawings`): public, and
free of any private record.

With ``C`` the covariance over drawings, ``ridge`` as a part of its trace ``t`` and ``r`` leading
eigenvectors, features are multiplied by ``s (C_r / (ridge t) + 1)^(-1/2)``, where ``C_r`` is the
part of ``C`` along them and ``s`` keeps the mean squared length of the drawings' features.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

_RANK = 400
_ROUNDS = 4  # of subspace iteration; eigenvalues fall so fast that the third changes nothing seen
_CHUNK = 2048


@dataclass(frozen=True, eq=False)
class Whitening:
    """A symmetric linear map of features: ``scale * (x + (gains - 1) of its parts)``.

    Args:
        directions: (r, d), orthonormal rows.
        gains: (r,) factors along them, in ``(0, 1]``.
        scale: Of everything.
    """

    directions: Tensor
    gains: Tensor
    scale: float

    @classmethod
    def of(
        cls, count: int, features: Callable[[slice], Tensor], ridge: float, seed: int = 0
    ) -> Whitening:
        """The whitening of public features.

        Args:
            count: How many records there are.
            features: Gives the (m, d) features of a slice of the records.
            ridge: What is left alone: variance below this part of all variance.
            seed: Of the first guess at the directions.
        """
        parts = [features(slice(at, min(at + _CHUNK, count))) for at in range(0, count, _CHUNK)]
        values = torch.cat(parts).cpu()
        values -= values.mean(dim=0)
        width = values.shape[1]
        generator = torch.Generator().manual_seed(seed)
        guess = torch.randn(width, min(_RANK, width, count), generator=generator)
        for _ in range(_ROUNDS):
            guess = torch.linalg.qr(values.T @ (values @ guess)).Q
        _, lengths, rows = torch.linalg.svd(values @ guess, full_matrices=False)
        variances = lengths.double().square() / count
        total = float(values.double().square().sum()) / count
        if total == 0:
            return cls(guess.T, torch.ones(guess.shape[1]), 1.0)
        gains = (1 + variances / (ridge * total)).rsqrt()
        left = total - float((variances * (1 - gains.square())).sum())
        return cls(rows @ guess.T, gains.float(), math.sqrt(total / left))

    def apply_(self, rows: Tensor) -> Tensor:
        """Multiplies (n, d) rows in place, and returns them.

        Being symmetric, it also takes the weights of a layer on whitened features to those of the
        same layer on the features themselves.
        """
        directions = self.directions.to(rows)
        less = (self.gains - 1).to(rows)
        for part in torch.split(rows, _CHUNK):
            part.addmm_((part @ directions.T) * less, directions).mul_(self.scale)
        return rows
