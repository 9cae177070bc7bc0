"""Which layer is recorded by which function: one registered function a kind."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from sfumato.learn.engine.tape import Tape

# (module, tape, *the arguments of its forward) -> what its forward returns
Handler = Callable[..., Any]

_handlers: dict[type[nn.Module], Handler] = {}
_loaded = False


def layer(*kinds: type[nn.Module]) -> Callable[[Handler], Handler]:
    """Registers the function that stands for ``forward`` of these kinds while recording.

    It takes the module, the :class:`Tape` and the arguments of ``forward``; it returns what
    ``forward`` returns and sees to it that every trainable parameter it used is recorded.
    """

    def add(handler: Handler) -> Handler:
        for kind in kinds:
            if kind in _handlers:
                raise ValueError(f"{kind.__name__} is registered twice")
            _handlers[kind] = handler
        return handler

    return add


def kinds() -> dict[type[nn.Module], Handler]:
    """All registered kinds."""
    global _loaded
    if not _loaded:
        package = importlib.import_module("sfumato.learn.engine.layers")
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{package.__name__}.{module.name}")
        _loaded = True
    return dict(_handlers)


def handler_of(module: nn.Module) -> Handler | None:
    """The function for a module, or None where its kind has none.

    A subclass counts only if it computes as its parent does, and a parametrised or normalised
    weight (no longer a parameter of the module) is not the parent's weight.
    """
    known = kinds()
    for kind in type(module).__mro__:
        if kind not in known:
            continue
        for method in ("forward", "_conv_forward", "forward_impl"):
            if getattr(type(module), method, None) is not getattr(kind, method, None):
                return None
        if not all(map(_owns_weights, module.modules())):  # of attention's output, too
            return None
        return known[kind]
    return None


def _owns_weights(module: nn.Module) -> bool:
    if hasattr(module, "parametrizations"):
        return False
    for name in ("weight", "bias", "in_proj_weight", "weight_ih_l0", "weight_ih"):
        value = getattr(module, name, None)
        if isinstance(value, Tensor) and name not in module._parameters:
            return False
    return True


__all__ = ["Handler", "Tape", "handler_of", "kinds", "layer"]
