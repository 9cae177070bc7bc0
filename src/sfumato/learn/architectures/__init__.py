"""Networks that a release can hold: built from plain values, filled from safetensors.

An architecture is a mapping of JSON values whose ``family`` names a registered function and whose
other entries are its arguments. Nothing is unpickled: whoever opens a release rebuilds the module
from this code and loads tensors into it.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from sfumato.errors import InputError

Builder = Callable[..., nn.Module]
_B = TypeVar("_B", bound=Builder)
_families: dict[str, Builder] = {}
_loaded = False


def family(name: str) -> Callable[[_B], _B]:
    """Registers a function of JSON values that builds a module with random weights."""

    def add(builder: _B) -> _B:
        if _families.get(name, builder).__qualname__ != builder.__qualname__:
            raise ValueError(f"architecture family {name!r} is registered twice")
        _families[name] = builder
        return builder

    return add


def families() -> dict[str, Builder]:
    """All registered builders by name."""
    global _loaded
    if not _loaded:
        for module in pkgutil.iter_modules(__path__):
            importlib.import_module(f"{__name__}.{module.name}")
        _loaded = True
    return dict(sorted(_families.items()))


def build(architecture: Mapping[str, Any], *, seed: int | None = None) -> nn.Module:
    """The module that an architecture describes, in float32 on the CPU.

    Args:
        architecture: ``{"family": name, **arguments}``.
        seed: Of the initial weights, which are public; torch's global generator is left alone.
            None draws them from that generator.

    Raises:
        InputError: If the family is unknown or its arguments are not those of the family.
    """
    arguments = dict(architecture)
    name = arguments.pop("family", None)
    known = families()
    if name not in known:
        raise InputError(f"the architecture's family is {name!r}", f"Known: {', '.join(known)}.")
    with torch.random.fork_rng(devices=[]):
        if seed is not None:
            torch.manual_seed(seed)
        try:
            return known[name](**arguments)
        except InputError:
            raise
        except (TypeError, ValueError, LookupError, ArithmeticError, RuntimeError) as error:
            raise InputError(
                f"architecture {name!r} cannot be built ({error})", "Check its arguments."
            ) from None


def weights(module: nn.Module) -> dict[str, np.ndarray]:
    """The module's whole state as arrays."""
    return {
        name: value.detach().cpu().contiguous().numpy().copy()
        for name, value in module.state_dict().items()
    }


def load(architecture: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> nn.Module:
    """The trained module, in evaluation mode.

    Raises:
        InputError: If the tensors are not those of the architecture.
    """
    module = build(architecture)
    try:
        module.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in tensors.items()})
    except RuntimeError:
        raise InputError(
            "the weights do not fit the architecture", "The release is damaged."
        ) from None
    return module.eval()
