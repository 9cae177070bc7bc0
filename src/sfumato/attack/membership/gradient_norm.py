"""Membership by the gradient: what was trained on no longer moves the weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sfumato.attack.membership.game import Side, finding, play
from sfumato.attack.membership.scores import SMALLEST
from sfumato.attack.settings import Settings
from sfumato.errors import InputError
from sfumato.measure.cnn import one_torch_thread
from sfumato.measure.progress import Progress, part, silent
from sfumato.registry import attack

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sfumato.attack.evidence import Evidence
    from sfumato.attack.finding import Finding
    from sfumato.release.release import Release

_NUMBERS = 1 << 26  # weights times records that are differentiated at once


@attack("membership.gradient_norm")
@dataclass(frozen=True)
class GradientNorm(Settings):
    """Tells members from others by the norm of the loss's gradient in the weights.

    The score is minus the logarithm of the norm. The attacker has the model itself, its weights
    and architecture.

    Source: Nasr, Shokri, Houmansadr, S&P 2019; the norm alone: Rezaei, Liu, CVPR 2021.
    """

    kinds: ClassVar[tuple[str, ...]] = ("model",)
    source: ClassVar[str] = "Nasr, Shokri, Houmansadr. S&P 2019. arXiv:1812.00910"
    costly: ClassVar[bool] = True  # a gradient of all weights for each record

    def __call__(
        self,
        release: Release,
        evidence: Evidence,
        *,
        seed: int = 0,
        progress: Progress = silent,
    ) -> Finding:
        """The area under the ROC curve of the gradient's norm.

        Raises:
            InputError: If the model's weights are not there to be differentiated.
        """
        module = white_box(release.model, "membership.gradient_norm")
        game = play(self, release, evidence, seed)
        sides = [
            -np.log(np.maximum(_norms(module, side, part(progress, i, 2)), SMALLEST))
            for i, side in enumerate((game.members, game.others))
        ]
        return finding(
            self,
            game,
            sides[0],
            sides[1],
            attack="membership.gradient_norm",
            how="the gradient of the model's loss",
            baseline=game.baseline(),
        )


def white_box(model: Any, attack: str) -> nn.Module:
    """The network inside a model.

    Raises:
        InputError: If there is none: a prediction function, or a model of another kind.
    """
    from torch import nn

    module = getattr(model, "module", None)
    if not isinstance(module, nn.Module) or not any(True for _ in module.parameters()):
        raise InputError(
            f"{attack} needs the model's weights, and this model is known by its predictions only",
            "Leave the attack out, or give the model as a torch module.",
        )
    return module


def _norms(module: nn.Module, side: Side, progress: Progress) -> NDArray[np.float64]:
    """(n,) norms of the gradients, each record's by itself."""
    import torch
    from torch.func import grad, vmap
    from torch.nn import functional

    from sfumato.functional import call_with, slots

    weights = {name: w.detach() for name, w in module.named_parameters() if w.is_floating_point()}
    buffers, places = dict(module.named_buffers()), slots(module)

    def loss(weights: dict[str, Tensor], record: Tensor, label: Tensor) -> Tensor:
        scores = call_with(module, places, weights | buffers, (record[None],))
        return functional.cross_entropy(scores, label[None])

    each = vmap(grad(loss), in_dims=(None, 0, 0))
    at_once = max(1, min(64, _NUMBERS // sum(w.numel() for w in weights.values())))
    found = []
    with one_torch_thread():
        for start in range(0, len(side), at_once):
            progress(start, len(side), f"gradients of {len(side)} records")
            some = slice(start, start + at_once)
            gradients = each(
                weights, torch.from_numpy(side.inputs[some]), torch.from_numpy(side.labels[some])
            )
            squares = sum(g.flatten(1).square().sum(dim=1) for g in gradients.values())
            found.append(torch.as_tensor(squares).double().sqrt().numpy())
    return np.concatenate(found)
