"""What a generator in training is made of, as JSON values and named tensors, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sfumato.learn.checkpoint import pack_optimizer, unpack_optimizer

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from sfumato.learn.averaging import Averaging


@dataclass(frozen=True)
class Kept:
    """All of it that changes in a step.

    Args:
        generator: Its weights.
        optimizer: Of these.
        average: Of these too.
        draws: Where its random inputs come from.
    """

    generator: nn.Module
    optimizer: torch.optim.Optimizer
    average: Averaging
    draws: torch.Generator

    def packed(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """The optimiser's settings as JSON values, and all tensors as ``KIND/NAME``."""
        settings, moments = pack_optimizer(self.optimizer)
        parts = {
            "generator": self.generator.state_dict(),
            "average": self.average.weights,
            "moments": moments,
            "draws": {"state": self.draws.get_state()},
        }
        flat = {f"{kind}/{name}": t for kind, part in parts.items() for name, t in part.items()}
        return settings, flat

    def unpack(self, settings: Mapping[str, Any], flat: Mapping[str, Tensor]) -> None:
        """Gives all of it the state that :meth:`packed` took."""
        parts: dict[str, dict[str, Tensor]] = {}
        for path, tensor in flat.items():
            kind, _, name = path.partition("/")
            parts.setdefault(kind, {})[name] = tensor
        self.generator.load_state_dict(parts["generator"])
        self.average.load(parts["average"])
        unpack_optimizer(self.optimizer, settings, parts.get("moments", {}))
        self.draws.set_state(parts["draws"]["state"])
