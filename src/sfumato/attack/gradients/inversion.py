"""Pictures from gradients by search: for the picture whose gradient is the one that was seen.

The attacker knows the model, its weights and its loss, and has the gradient of one example at a
time, exact or with noise on it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from sfumato.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

Loss = Callable[[Any, Any], Any]
"""``loss(outputs, targets) -> (n,)``, one loss for each example."""


class Found(NamedTuple):
    """What an attack made of n gradients.

    Attributes:
        pictures: (n, c, h, w) float32.
        labels: (n,) int64: given, or found.
        objective: (n,) how far the gradients of ``pictures`` are from those that were seen.
        iterations: How many steps were taken.
    """

    pictures: Tensor
    labels: Tensor
    objective: Tensor
    iterations: int


@dataclass(frozen=True)
class InvertingGradients:
    """``1 - cos(gradient, seen) + tv * total variation``, by Adam on the sign, within [0, 1].

    The length of a gradient is not used, so noise that hides it costs the attack nothing.

    Args:
        iterations: Steps; the rate falls tenfold after 3/8, 5/8 and 7/8 of them.
        rate: Adam's step, in units of the pixel range.
        tv: Weight of the mean absolute difference of neighbouring pixels. The paper's 0.2 is for
            photographs and deep networks; exact gradients of small ones need little.

    Source: Geiping, Bauermeister, Dröge, Moeller, NeurIPS 2020, arXiv 2003.14053.
    """

    iterations: int = 1200
    rate: float = 0.1
    tv: float = 0.01

    def __call__(
        self,
        module: nn.Module,
        loss: Loss,
        seen: Tensor,
        labels: Tensor,
        shape: tuple[int, int, int],
        *,
        seed: int = 0,
    ) -> Found:
        """Attacks n gradients at once, each by itself.

        Args:
            module: Not changed.
            loss: See :data:`Loss`.
            seen: (n, d), the trainable parameters' gradients one after the other.
            labels: (n,) int64, known or found from the gradient.
            shape: (c, h, w) of a picture.
            seed: Of the first guesses.
        """
        import torch

        start = torch.rand(len(seen), *shape, generator=torch.Generator().manual_seed(seed))
        pictures = start.to(seen.device).requires_grad_()
        optimizer = torch.optim.Adam([pictures], lr=self.rate)
        marks = [self.iterations * eighths // 8 for eighths in (3, 5, 7)]
        decay = torch.optim.lr_scheduler.MultiStepLR(optimizer, marks, 0.1)
        gradients = _gradients(module, loss, seen)
        for _ in range(self.iterations):
            away = self._distance(gradients(pictures, labels), seen)
            total = (away + self.tv * total_variation(pictures)).sum()
            (slope,) = torch.autograd.grad(total, [pictures])
            pictures.grad = slope.sign()
            optimizer.step()
            decay.step()
            with torch.no_grad():
                pictures.clamp_(0, 1)
        away = self._distance(gradients(pictures, labels), seen)
        return Found(pictures.detach(), labels, away.detach(), self.iterations)

    @staticmethod
    def _distance(found: Tensor, seen: Tensor) -> Tensor:
        import torch

        return 1 - torch.cosine_similarity(found, seen, dim=1, eps=1e-20)


@dataclass(frozen=True)
class DeepLeakage:
    """``|gradient - seen|^2`` by L-BFGS, over the picture and, where it is not known, the label.

    Each gradient is attacked on its own, from a few first guesses of which the best is kept.

    Args:
        iterations: L-BFGS steps of one guess.
        guesses: How many, for each gradient.

    Source: Zhu, Liu, Han, NeurIPS 2019, arXiv 1906.08935; with the label given it is the iDLG of
    Zhao, Mopuri, Bilen, arXiv 2001.02610.
    """

    iterations: int = 120
    guesses: int = 3

    def __call__(
        self,
        module: nn.Module,
        loss: Loss,
        seen: Tensor,
        labels: Tensor | None,
        shape: tuple[int, int, int],
        *,
        classes: int = 0,
        seed: int = 0,
    ) -> Found:
        """Attacks n gradients, one after the other.

        Args:
            module: Smooth activations, such as a sigmoid; not changed.
            loss: See :data:`Loss`; takes (n, classes) probabilities where labels are unknown.
            seen: (n, d), the trainable parameters' gradients one after the other.
            labels: (n,) int64, or None to search for them as well.
            shape: (c, h, w) of a picture.
            classes: How many labels there are, where they are unknown.
            seed: Of the first guesses.

        Raises:
            InputError: If labels are unknown and so is their number.
        """
        import torch

        if labels is None and classes < 2:
            raise InputError(f"labels are unknown and classes is {classes}", "Give their number.")
        random = torch.Generator().manual_seed(seed)
        gradients = _gradients(module, loss, seen)
        found: list[tuple[Tensor, Tensor, Tensor]] = []
        for at in range(len(seen)):
            tried = [
                self._guess(gradients, seen[at : at + 1], labels, at, shape, classes, random)
                for _ in range(self.guesses)
            ]
            found.append(min(tried, key=lambda one: float(one[2])))
        pictures, named, away = (torch.cat(part) for part in zip(*found, strict=True))
        return Found(pictures, named, away, self.iterations * self.guesses)

    def _guess(
        self,
        gradients: Callable[[Tensor, Tensor], Tensor],
        seen: Tensor,
        labels: Tensor | None,
        at: int,
        shape: tuple[int, int, int],
        classes: int,
        random: Any,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One search: the picture, its label and the distance that is left."""
        import torch

        picture = torch.rand(1, *shape, generator=random).to(seen.device).requires_grad_()
        logits = torch.randn(1, max(classes, 1), generator=random).to(seen.device)
        searched = [picture]
        if labels is None:
            searched.append(logits.requires_grad_())
        optimizer = torch.optim.LBFGS(
            searched, max_iter=self.iterations, history_size=50, line_search_fn="strong_wolfe",
            tolerance_grad=1e-14, tolerance_change=1e-16,
        )  # fmt: skip
        # Gradients of a trained model are short; the search should not stop for that.
        scale = 1 / seen.square().sum().clamp(min=1e-30)

        def target() -> Tensor:
            return logits.softmax(dim=1) if labels is None else labels[at : at + 1]

        def distance() -> Tensor:
            return (gradients(picture, target()) - seen).square().sum(dim=1) * scale

        def closure() -> Tensor:
            left = distance().sum()
            slopes = torch.autograd.grad(left, searched)
            for value, slope in zip(searched, slopes, strict=True):
                value.grad = slope
            return left.detach()

        optimizer.step(closure)  # type: ignore[no-untyped-call]
        named = logits.argmax(dim=1) if labels is None else labels[at : at + 1]
        left = torch.nan_to_num(distance().detach(), nan=torch.inf)
        return picture.detach().nan_to_num().clamp(0, 1), named.detach(), left


def total_variation(pictures: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring pixels of each picture of (n, c, h, w), (n,)."""
    down = (pictures[:, :, 1:] - pictures[:, :, :-1]).abs().mean(dim=(1, 2, 3))
    across = (pictures[..., 1:] - pictures[..., :-1]).abs().mean(dim=(1, 2, 3))
    return down + across


def gradients_of(module: nn.Module, loss: Loss, pictures: Tensor, targets: Tensor) -> Tensor:
    """What each example would send: (n, d), the trainable parameters' gradients in order.

    Differentiable in ``pictures`` and in floating ``targets``.

    Args:
        module: No layer may mix examples.
        loss: See :data:`Loss`.
        pictures: (n, ...).
        targets: (n, ...).
    """
    import torch
    from torch.func import grad, vmap

    from sfumato.functional import call_with, slots

    everything = {name: p.detach() for name, p in module.named_parameters()}
    trainable = {name: everything[name] for name, p in module.named_parameters() if p.requires_grad}
    constant = everything | dict(module.named_buffers())
    places = slots(module)

    def one(parameters: dict[str, Tensor], picture: Tensor, target: Tensor) -> Tensor:
        outputs = call_with(module, places, constant | parameters, (picture.unsqueeze(0),))
        total: Tensor = loss(outputs, target.unsqueeze(0)).sum()
        return total

    found = vmap(grad(one), (None, 0, 0))(trainable, pictures, targets)
    return torch.cat([found[name].flatten(1) for name in trainable], dim=1)


def _gradients(module: nn.Module, loss: Loss, seen: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """:func:`gradients_of` this module, once the gradients that were seen are known to fit it."""
    size = sum(p.numel() for p in module.parameters() if p.requires_grad)
    if seen.ndim != 2 or seen.shape[1] != size:
        raise InputError(
            f"gradients have shape {tuple(seen.shape)}", f"The model's are (n, {size})."
        )
    return lambda pictures, targets: gradients_of(module, loss, pictures, targets)
