"""What a training keeps of itself: weights, the optimiser's state, and tensors of the caller's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sfumato.errors import InputError
from sfumato.learn import checkpoint, sharded

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer


def packed(
    module: nn.Module, optimizer: Optimizer, more: Mapping[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The optimiser's settings as JSON values, and all tensors as ``KIND/NAME``, whole."""
    settings, moments = checkpoint.pack_optimizer(optimizer)
    parts = {"module": module.state_dict(), "optimizer": moments, "more": more}
    flat = {
        f"{kind}/{name}": sharded.whole(tensor)
        for kind, part in parts.items()
        for name, tensor in part.items()
    }
    return settings, flat


def unpacked(
    module: nn.Module, optimizer: Optimizer, settings: Mapping[str, Any], flat: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Gives module and optimiser what :func:`packed` took; returns the caller's tensors.

    Raises:
        InputError: If they are those of another module or another optimiser.
    """
    parts: dict[str, dict[str, Tensor]] = {"module": {}, "optimizer": {}, "more": {}}
    for path, tensor in flat.items():
        kind, _, name = path.partition("/")
        parts.setdefault(kind, {})[name] = tensor
    _load(module, parts["module"])
    checkpoint.unpack_optimizer(optimizer, settings, _moments(optimizer, parts["optimizer"]))
    return parts["more"]


def _load(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    own = module.state_dict()
    ours = {n: sharded.part(t, own[n]) if n in own else t for n, t in weights.items()}
    try:
        module.load_state_dict(ours)
    except RuntimeError as error:
        problem = " ".join(str(error).split())
        raise InputError(
            f"the checkpoint is of another module ({problem})", "Build the same module."
        ) from None


def _moments(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """An optimiser's tensors, ``INDEX.NAME``, in parts where its parameters are."""
    held = [p for group in optimizer.param_groups for p in group["params"]]
    found = {}
    for name, tensor in tensors.items():
        index = int(name.partition(".")[0])
        found[name] = sharded.part(tensor, held[index]) if index < len(held) else tensor
    return found
