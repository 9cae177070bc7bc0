"""Noisy versions of examples, for a step of a diffusion model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sfumato.learn import own_noise
from sfumato.publish.generators.denoiser import LEVELS

if TYPE_CHECKING:
    from sfumato.learn.records import Inputs
    from sfumato.publish.generators.denoiser import Denoiser


@dataclass(frozen=True)
class Versions:
    """Each example at several noise levels, by the example itself, the step and a public seed.

    Args:
        denoiser: Says what the model is given and asked.
        count: Versions of an example; their levels are spread evenly over the distribution.
        dropout: Share of versions whose class is kept from the model.
        seed: May be published.
    """

    denoiser: Denoiser
    count: int
    dropout: float
    seed: int

    def __call__(self, inputs: Inputs, step: int) -> tuple[Inputs, Tensor]:
        """What the model is given, (n, count, ...) each, and its targets.

        Args:
            inputs: Images (n, c, h, w), one-hot classes (n, K), keys (n,).
            step: At least 0.
        """
        images, classes, keys = inputs
        shape, n = self.denoiser.shape, len(images)
        drawn = own_noise.uniform(keys, 1 + self.count, self.seed, step * (self.count + 1))
        spread = (drawn[:, :1] + torch.arange(self.count, device=drawn.device)) / self.count
        spread = spread.clamp(1e-6, 1 - 1e-6)
        normal = math.sqrt(2) * torch.erfinv(2 * spread - 1)
        levels = torch.exp(LEVELS[0] + LEVELS[1] * normal)
        told = (drawn[:, 1:] >= self.dropout).float()
        noise = torch.stack(
            [
                own_noise.gaussian(
                    keys, math.prod(shape), self.seed, step * (self.count + 1) + 1 + k
                ).view(n, *shape)
                for k in range(self.count)
            ],
            dim=1,
        )
        flat = images[:, None].expand(-1, self.count, *shape).flatten(0, 1)
        given = self.denoiser.noised(flat, levels.flatten(), noise.flatten(0, 1))
        noisy, level, target = (part.view(n, self.count, *part.shape[1:]) for part in given)
        return (noisy, level, classes[:, None] * told[:, :, None]), target
