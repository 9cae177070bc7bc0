"""Several views of each example, averaged before clipping: augmentation multiplicity.

An example's gradient is the mean of those of ``k`` random moves (and mirror images) of it, clipped
as one: it is still one example's contribution, bounded by the same norm, so the guarantee is
unchanged however many views there are.

Source: De et al. 2022, "Unlocking High-Accuracy Differentially Private Image Classification through
Scale", section 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import grad, vmap
from torch.nn import functional

from sfumato.errors import InputError
from sfumato.functional import call_with, slots
from sfumato.learn.clipping import Clipping
from sfumato.learn.contracts import EngineMaker, Loss
from sfumato.learn.engine.contributions import rows
from sfumato.learn.engine.engine import ClippedSum
from sfumato.learn.engine.refusals import refuse_mixing

_CHUNK_NUMBERS = 1 << 23  # per-example gradients kept at a time, all parameters together


@dataclass(frozen=True)
class Views:
    """Views of images at random moves.

    Args:
        count: Views of an image, the image itself among them; 1 or more.
        shift: The most pixels a view is moved in each direction; what leaves is lost, what enters
            is black.
        mirror: Whether half of the views are mirrored left to right.

    Raises:
        InputError: If a value is out of its range.
    """

    count: int = 8
    shift: int = 2
    mirror: bool = False

    def __post_init__(self) -> None:
        for name, least in (("count", 1), ("shift", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise InputError(f"{name} is {value!r}", f"Give a whole number from {least} up.")
        if not isinstance(self.mirror, bool):
            raise InputError(f"mirror is {self.mirror!r}", "Give true or false.")

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Views of (n, c, h, w) images: (n, count, c, h, w), the first as they are.

        Args:
            images: On any device.
            generator: Draws the moves, the same for all images: they are public, and no image's
                view depends on which others are there.
        """
        height, width = images.shape[2:]
        padded = functional.pad(images, (self.shift,) * 4)
        moves = torch.randint(0, 2 * self.shift + 1, (self.count - 1, 2), generator=generator)
        flips = torch.rand(self.count - 1, generator=generator) < 0.5
        seen = [images]
        for (down, right), flip in zip(moves.tolist(), flips.tolist(), strict=True):
            moved = padded[:, :, down : down + height, right : right + width]
            seen.append(moved.flip(3) if self.mirror and flip else moved)
        return torch.stack(seen, dim=1)


def engine_of(views: Views, seed: int) -> EngineMaker:
    """Makes engines that clip the mean gradient of an example's views.

    Args:
        views: Of each example.
        seed: Of the moves, which are public.
    """

    def make(module: nn.Module, loss: Loss, clipping: Clipping, /) -> ViewEngine:
        return ViewEngine(module, loss, clipping, views, seed)

    return make


class ViewEngine:
    """Clipped sums of mean gradients over views, by ``torch.func``, a few examples at a time.

    Args:
        module: Unwrapped; must not mix examples.
        loss: ``loss(outputs, targets)``, the (n,) losses of n examples.
        clipping: Groups of parameters, and the factors of their norms.
        views: Of each example.
        seed: Of the moves.

    Raises:
        InputError: If a layer mixes examples.
    """

    def __init__(
        self, module: nn.Module, loss: Loss, clipping: Clipping, views: Views, seed: int
    ) -> None:
        refuse_mixing(module)
        self._generator = torch.Generator().manual_seed(seed)
        self._module, self._loss, self._clipping, self._views = module, loss, clipping, views

    def clipped_sum(self, inputs: Any, targets: Tensor) -> ClippedSum:
        """The clipped sum over a batch of (n, c, h, w) images.

        Raises:
            InputError: If the input is not images.
        """
        if not isinstance(inputs, Tensor) or inputs.ndim != 4:
            raise InputError("views were asked of what is not images", "Use one view.")
        trainable = {k: p for k, p in self._module.named_parameters() if p.requires_grad}
        values = {k: p.detach() for k, p in trainable.items()}
        places = slots(self._module)
        groups = self._clipping.groups(list(values))
        totals = {k: torch.zeros_like(v, dtype=torch.float32) for k, v in values.items()}
        count, device = max(groups) + 1, inputs.device
        norms, losses = [torch.zeros(count, 0, device=device)], [torch.zeros(0, device=device)]
        chunk = max(1, _CHUNK_NUMBERS // sum(v.numel() for v in values.values()))

        def mean_loss(own: dict[str, Tensor], seen: Tensor, target: Tensor) -> Any:
            scores = call_with(self._module, places, own, (seen,))
            mean = self._loss(scores, target.expand(len(seen))).mean()
            return mean, mean

        gradients = vmap(grad(mean_loss, has_aux=True), (None, 0, 0), randomness="different")
        for start in range(0, len(inputs), chunk):
            part = slice(start, start + chunk)
            found, lost = gradients(
                values, self._views(inputs[part], self._generator), targets[part]
            )
            squares = torch.zeros(count, len(lost), device=device)
            for name, group in zip(values, groups, strict=True):
                squares[group] += rows(found[name]).float().square().sum(dim=1)
            norm = squares.sqrt()
            usable = norm.isfinite().all(dim=0) & lost.isfinite()
            factors = torch.where(usable, self._clipping.factors(norm), 0.0)
            for name, group in zip(values, groups, strict=True):
                flat = rows(found[name]).float()
                kept = torch.where(usable[:, None], flat, 0.0)
                totals[name] += (factors[group] @ kept).view_as(totals[name])
            norms.append(norm.detach())
            losses.append(lost.detach())
        return ClippedSum(totals, torch.cat(norms, dim=1), torch.cat(losses))
