"""Clip bounds that move, and whether the noise of several bounds is together what is accounted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sfumato.errors import InputError
from sfumato.learn.clipping import Clipping, Flat
from sfumato.privacy.neighbours import Neighbours

if TYPE_CHECKING:
    from torch import Tensor


class MovingBound:
    """Flat clipping whose bound is another at every step.

    Args:
        max_grad_norm: The present bound.
    """

    def __init__(self, max_grad_norm: float) -> None:
        self._flat = Flat(max_grad_norm)

    @property
    def max_grad_norm(self) -> float:
        """The present bound."""
        return self._flat.max_grad_norm

    @max_grad_norm.setter
    def max_grad_norm(self, bound: float) -> None:
        self._flat = Flat(bound)

    def groups(self, names: Sequence[str]) -> list[int]:
        """All parameters are one group."""
        return self._flat.groups(names)

    def factors(self, norms: Tensor) -> Tensor:
        """(1, n) factors for (1, n) norms."""
        return self._flat.factors(norms)

    def sensitivity(self, neighbours: Neighbours) -> float:
        """Of the present bound."""
        return self._flat.sensitivity(neighbours)

    def noise_stddevs(self, noise_multiplier: float) -> list[float]:
        """Of the present bound."""
        return self._flat.noise_stddevs(noise_multiplier)


def check_joint(clipping: Clipping, noise_multiplier: float) -> None:
    """Refuses a clipping whose noise, over all groups together, is less than it claims.

    How far each group lets a gradient reach is tried out, not asked for.

    Raises:
        InputError: If ``sum (C_k / s_k)^2`` is above ``1 / noise_multiplier^2``.
    """
    import torch

    stddevs = torch.tensor(clipping.noise_stddevs(noise_multiplier), dtype=torch.float64)
    norms = torch.logspace(-9, 30, 391, dtype=torch.float64).repeat(len(stddevs), 1)
    reached = (norms * clipping.factors(norms)).amax(dim=1)
    real = 1 / float((reached / stddevs).norm())
    if not real >= noise_multiplier * (1 - 1e-6):
        raise InputError(
            f"{type(clipping).__name__} gives all groups together a noise multiplier of {real:.4g} "
            f"where {noise_multiplier:.4g} is accounted",
            "Group k needs noise C_k * multiplier / sqrt(w_k), with sum w_k = 1.",
        )
