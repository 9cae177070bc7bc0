"""Principal directions of private inputs, from one noisy second-moment matrix.

Every input is scaled to unit length, so one record adds a matrix of Frobenius norm at most 1 to
``A^T A``. The matrix is symmetric: its upper triangle is all there is to release, and one record's
contribution to that is no longer. One Gaussian draw on each entry of the triangle, from which the
directions follow as post-processing.

Source: Dwork, Talwar, Thakurta, Zhang, "Analyze Gauss", STOC 2014; Abadi et al. 2016, section 4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from sfumato.errors import InputError
from sfumato.learn.clipping import MARGIN

if TYPE_CHECKING:
    from dp_accounting import DpEvent

    from sfumato.privacy.noise import NoiseSource

_CHUNK = 4096


@dataclass(frozen=True)
class PrincipalDirections:
    """The leading eigenvectors of the inputs' second moments, under noise.

    Args:
        components: How many.
        noise_multiplier: Noise on each entry over the bound, 1, of one record's contribution.

    Raises:
        InputError: If a value is out of its range.
    """

    components: int
    noise_multiplier: float

    def __post_init__(self) -> None:
        if isinstance(self.components, bool) or not (
            isinstance(self.components, int) and self.components >= 1
        ):
            raise InputError(f"components is {self.components!r}", "Give at least 1.")
        if not 0 < self.noise_multiplier < math.inf:
            raise InputError(
                f"noise_multiplier is {self.noise_multiplier!r}", "Give a finite number above 0."
            )

    @property
    def event(self) -> DpEvent:
        """What :meth:`release` draws."""
        from sfumato.privacy import events

        return events.GaussianDpEvent(self.noise_multiplier)

    @torch.no_grad()
    def release(self, inputs: Tensor, source: NoiseSource) -> Tensor:
        """The directions of private inputs.

        Args:
            inputs: (n, ...) floats; an input that is not finite counts as zero.
            source: The noise.

        Returns:
            (d, components) float32, orthonormal columns, the strongest first.

        Raises:
            InputError: If there are more components than numbers in an input.

        Guaranteed: a function of the noisy triangle alone, whose cost is ``event``.
        """
        from sfumato.learn.noise import add_gaussian_double

        width = inputs[0].numel() if len(inputs) else math.prod(inputs.shape[1:])
        if self.components > width:
            raise InputError(
                f"{self.components} components of {width} numbers", "Ask for fewer components."
            )
        rows, columns = torch.triu_indices(width, width)
        # Not in float32: rounding the sums of many records would move more than one record does.
        noisy = add_gaussian_double(
            self.moments(inputs)[rows, columns], self.noise_multiplier, source
        )
        symmetric = torch.zeros(width, width, dtype=torch.float64)
        symmetric[rows, columns] = noisy
        symmetric[columns, rows] = noisy
        _, vectors = torch.linalg.eigh(symmetric)
        strongest: Tensor = vectors[:, -self.components :].flip(1).float()
        return strongest

    @staticmethod
    def moments(inputs: Tensor) -> Tensor:
        """(d, d) float64 sum of ``x x^T`` over inputs scaled to length at most 1."""
        width = math.prod(inputs.shape[1:])
        flat = inputs.reshape(len(inputs), width)
        total = torch.zeros(width, width, dtype=torch.float64)
        for part in torch.split(flat, _CHUNK):
            unit = functional.normalize(part.double(), dim=1) * math.sqrt(1 - MARGIN)
            unit = torch.where(unit.isfinite().all(dim=1, keepdim=True), unit, 0.0)
            total += unit.T @ unit
        return total
