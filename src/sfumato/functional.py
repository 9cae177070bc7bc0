"""A torch module called with other weights, whatever its parts are called.

``torch.func.functional_call`` leaves plain tensors in the place of the parameters of a part that
has two names, and that for good; nothing here does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn


def slots(module: nn.Module) -> dict[str, list[str]]:
    """Every place of each parameter and buffer by its first name, each place once.

    A tied one stands in several parts; a part that has several names is one.
    """
    names: dict[int, str] = {}
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        names.setdefault(id(tensor), name)
    found: dict[str, list[str]] = {}
    for place, part in module.named_modules():
        for own, tensor in (*part._parameters.items(), *part._buffers.items()):
            if tensor is not None:
                slot = f"{place}.{own}" if place else own
                found.setdefault(names[id(tensor)], []).append(slot)
    return found


def call_with(
    module: nn.Module,
    places: Mapping[str, list[str]],
    values: Mapping[str, Tensor],
    args: tuple[Any, ...],
) -> Any:
    """What the module returns with these in place of its parameters and buffers.

    Args:
        module: As it was when ``places`` were looked for; afterwards as before.
        places: By name, from :func:`slots`.
        values: By first name; the others stay.
        args: Of the module.
    """
    from torch.func import functional_call

    placed = {slot: value for name, value in values.items() for slot in places[name]}
    return functional_call(module, placed, args, tie_weights=False)
