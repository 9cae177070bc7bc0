"""What an attacker sees of one example's gradient in a step of training.

The worst case of a step: the attacker knows all other records of the batch and takes their part
away. What is left is the example's gradient, clipped, and the noise of the whole step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sfumato.attack.ceilings import Ceiling
from sfumato.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

AS_TRAINED, BARE = "as trained", "bare"
RELEASED, FRESH = "released", "fresh"
_STREAM = 0x6E6F697365  # "noise"
_PROTECTED = ("clip", "noise", "stddev")
"""A plan that names one of these describes a protection, if perhaps none that is known here."""


@dataclass(frozen=True)
class Exposure:
    """How a gradient is protected before it is seen.

    Args:
        max_grad_norm: It is scaled to at most this length; None leaves it.
        noise_multiplier: Standard deviation of the noise over ``max_grad_norm``.
    """

    max_grad_norm: float | None = None
    noise_multiplier: float = 0.0

    @classmethod
    def of_plan(cls, plan: Mapping[str, Any], gradient: str) -> Exposure:
        """That of the training that a card describes, or none.

        Args:
            plan: Of the card.
            gradient: ``AS_TRAINED`` or ``BARE``.

        Raises:
            InputError: If the card tells of protection, but not by flat clipping and independent
                noise of one multiplier.
        """
        if gradient not in (AS_TRAINED, BARE):
            raise InputError(f"gradient is {gradient!r}", f"Use {AS_TRAINED!r} or {BARE!r}.")
        if gradient == BARE or not any(word in name for name in plan for word in _PROTECTED):
            return cls()
        multiplier, clipping = plan.get("noise_multiplier"), plan.get("clipping")
        settings = clipping if isinstance(clipping, Mapping) else {}
        clip = settings.get("max_grad_norm")
        flat = settings.get("type") == "Flat" and _plain(clip) and _plain(multiplier)
        if not flat or "coefficients" in plan:
            what = "noise that is correlated between steps" if flat else settings.get("type")
            raise InputError(
                "the card names no single clip norm and noise multiplier of a step"
                + (f", but {what}" if what not in (None, "Flat") else ""),
                "This attack knows flat clipping with independent noise only; give "
                f"gradient={BARE!r} to attack none.",
            )
        assert clip is not None
        assert multiplier is not None
        return cls(float(clip), float(multiplier))

    def __call__(self, gradients: Tensor, seed: int | tuple[int, ...]) -> Tensor:
        """What is seen of gradients (n, d), each in a step of its own.

        The noise is seeded: this is a game on the custodian's machine, nothing that is released.
        Its stream is its own, so that neither first guesses nor fresh weights of a seed share
        numbers with it.

        Args:
            gradients: (n, d).
            seed: Of the noise; several numbers where one attack asks several times.
        """
        import torch

        if self.max_grad_norm is None:
            return gradients
        norms = gradients.norm(dim=1, keepdim=True).clamp(min=1e-30)
        clipped = gradients * (self.max_grad_norm / norms).clamp(max=1)
        given = seed if isinstance(seed, tuple) else (seed,)
        (own,) = np.random.SeedSequence([_STREAM, *given]).generate_state(1, np.uint64)
        random = torch.Generator().manual_seed(int(own))
        noise = torch.randn(gradients.shape, generator=random, dtype=gradients.dtype)
        seen: Tensor = clipped + self.noise_multiplier * self.max_grad_norm * noise
        return seen

    @property
    def ceiling(self) -> Ceiling | None:
        """What one such step lets any attacker do, on the scale of success without it.

        Whoever succeeds with probability at most ``k`` without the gradient succeeds with at most
        ``T(k)`` with it, where ``T`` is the trade-off of the Gaussian mechanism.

        Source: Hayes, Mahloujifar, Balle, NeurIPS 2023, arXiv 2302.07225, theorem 2.
        """
        from scipy.special import ndtr, ndtri

        if self.max_grad_norm is None or self.noise_multiplier <= 0:
            return None
        mu = 1 / self.noise_multiplier

        def most(fpr: float) -> float:
            return float(ndtr(ndtri(np.clip(fpr, 0.0, 1.0)) + mu)) if 0 < fpr < 1 else float(fpr)

        return Ceiling.of_curve(most)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {"max_grad_norm": self.max_grad_norm, "noise_multiplier": self.noise_multiplier}


def _plain(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def weights_of(module: nn.Module, weights: str, seed: int) -> nn.Module:
    """The module at the weights where its gradient is taken; the given one is not changed.

    Args:
        module: As released.
        weights: ``RELEASED``, or ``FRESH``: drawn again, as at the start of a training.
        seed: Of fresh ones.

    Raises:
        InputError: If ``weights`` is neither.
    """
    import copy

    import torch

    if weights not in (RELEASED, FRESH):
        raise InputError(f"weights is {weights!r}", f"Use {RELEASED!r} or {FRESH!r}.")
    copied = copy.deepcopy(module).eval()
    if weights == FRESH:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for layer in copied.modules():
                reset = getattr(layer, "reset_parameters", None)
                own = list(layer.parameters(recurse=False))
                if callable(reset) and any(p.requires_grad for p in own):
                    reset()
    return copied


def gradients_each(module: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    """The gradient of the cross-entropy of each example, (n, d), nothing to differentiate further.

    One backward pass an example, which any module allows, also one of a table's codes.

    Args:
        module: In evaluation mode.
        inputs: (n, ...).
        labels: (n,) int64.
    """
    import torch
    from torch.nn import functional

    trainable = [p for p in module.parameters() if p.requires_grad]
    size = sum(p.numel() for p in trainable)
    found = torch.empty(len(labels), size, dtype=trainable[0].dtype)
    for row in range(len(labels)):
        loss = functional.cross_entropy(module(inputs[row : row + 1]), labels[row : row + 1])
        slopes = torch.autograd.grad(loss, trainable)
        torch.cat([slope.flatten() for slope in slopes], out=found[row])
    return found
