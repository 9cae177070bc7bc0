"""Several noisy versions of each example, averaged before the clip: noise multiplicity.

A diffusion model's loss is a mean over noise levels. Estimating it by one draw for each example
leaves most of an example's clipped gradient to chance. The mean of the gradients of ``k`` versions
is still one example's contribution, clipped as one, so the guarantee is the same however many
versions there are.

Unlike the views of :mod:`sfumato.learn.views`, versions are made by the caller and each has targets
of its own; their gradients come from the engine's book-keeping, not from ``vmap``.

Source: Dockhorn, Cao, Vahdat, Kreis 2023 (arXiv 2210.09929), section 3.2.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sfumato.learn.clipping import Clipping
from sfumato.learn.contracts import Loss
from sfumato.learn.engine import ClippedSum, Engine
from sfumato.learn.engine.contributions import rows
from sfumato.learn.records import Inputs

_NUMBERS = 1 << 23  # of gradients kept at a time, all versions together


class MultiplicityEngine:
    """Clipped sums of the mean gradient of each example's versions.

    Args:
        module: Unwrapped; must not mix examples.
        loss: ``loss(outputs, targets)``, the (n,) losses of n versions.
        clipping: Groups of parameters, and the factors of their norms.

    Raises:
        InputError: If a layer mixes examples.
    """

    def __init__(self, module: nn.Module, loss: Loss, clipping: Clipping) -> None:
        self._clipping = clipping
        self._parameters = {k: p for k, p in module.named_parameters() if p.requires_grad}
        size = sum(p.numel() for p in self._parameters.values())
        self._rows = max(1, _NUMBERS // max(1, size))
        self._engine = Engine(module, loss, clipping, chunk=1 << 30)

    def clipped_sum(self, inputs: Inputs, targets: Tensor) -> ClippedSum:
        """The clipped sum over examples.

        Args:
            inputs: (n, k, ...) each: k versions of n examples.
            targets: (n, k, ...).
        """
        parts = inputs if isinstance(inputs, tuple) else (inputs,)
        n, versions = targets.shape[:2]
        names = list(self._parameters)
        groups = self._clipping.groups(names)
        device = targets.device
        totals = {
            k: torch.zeros_like(p, dtype=torch.float32, requires_grad=False)
            for k, p in self._parameters.items()
        }
        norms = [torch.zeros(max(groups) + 1, 0, device=device)]
        block = max(1, self._rows // versions)
        for start in range(0, n, block):
            some = slice(start, min(n, start + block))
            flat = tuple(part[some].flatten(0, 1) for part in parts)
            found = next(self._engine.per_example(flat, targets[some].flatten(0, 1)))
            norms.append(self._add(found, groups, versions, totals))
        return ClippedSum(totals, torch.cat(norms, dim=1), torch.zeros(n, device=device))

    @torch.no_grad()
    def _add(
        self, found: Any, groups: list[int], versions: int, totals: dict[str, Tensor]
    ) -> Tensor:
        """Adds the clipped means of a block; returns their norms, (groups, n)."""
        means = {
            k: torch.unflatten(rows(g), 0, (-1, versions)).mean(dim=1) for k, g in found.items()
        }
        count = len(next(iter(means.values())))
        squares = torch.zeros(max(groups) + 1, count, device=next(iter(means.values())).device)
        for mean, group in zip(means.values(), groups, strict=True):
            squares[group] += mean.float().square().sum(dim=1)
        norms = squares.sqrt()
        usable = norms.isfinite().all(dim=0)
        factors = torch.where(usable, self._clipping.factors(norms), 0.0)
        for (name, mean), group in zip(means.items(), groups, strict=True):
            kept = torch.where(usable[:, None], mean.float(), 0.0)
            totals[name] += (factors[group] @ kept).view_as(totals[name])
        return norms
