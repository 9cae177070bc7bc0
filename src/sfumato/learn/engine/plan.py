"""Which modules stand as one layer each while a step is recorded."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from sfumato.learn.engine.fallback import fallback
from sfumato.learn.engine.registry import Handler, handler_of
from sfumato.learn.engine.tape import Tape

Plan = dict[str, tuple[nn.Module, Handler | None]]
"""The modules to be recorded, by place, and the function that stands for each."""


def layers(module: nn.Module, as_one: frozenset[str]) -> Plan:
    """The modules to be recorded, by place; None stands for the fallback.

    A registered kind is one layer with all that is below it. So is a module that owns a bare
    trainable parameter or stands in ``as_one``. Where nothing is trainable nothing is recorded.
    """
    found: Plan = {}
    seen: set[int] = set()

    def visit(part: nn.Module, place: str) -> None:
        if id(part) in seen or not any(p.requires_grad for p in part.parameters()):
            return
        seen.add(id(part))
        if place in as_one:
            found[place] = part, None
            return
        handler = handler_of(part)
        if handler is not None or _owns_trainable(part):
            found[place] = part, handler
            return
        for name, child in part.named_children():
            visit(child, f"{place}.{name}" if place else name)

    visit(module, "")
    return found


def above(module: nn.Module, parameter: int, as_one: frozenset[str]) -> str:
    """The place of the smallest module, not yet taken as one, that holds all of a parameter.

    Args:
        module: The model.
        parameter: The identity of a parameter that was used outside its layer.
        as_one: The places that are taken as one layer already.
    """
    owners = [
        place.split(".") if place else []
        for place, part in module.named_modules(remove_duplicate=False)
        if any(id(value) == parameter for value in part._parameters.values())
    ]
    common = owners[0] if len(owners) > 1 else owners[0][:-1]
    for owner in owners[1:]:
        length = 0
        while length < min(len(common), len(owner)) and common[length] == owner[length]:
            length += 1
        common = common[:length]
    while common and ".".join(common) in as_one:
        common = common[:-1]
    return ".".join(common)


@contextmanager
def recorded(plan: Plan, tape: Callable[[], Tape]) -> Iterator[None]:
    """Lets each layer's function stand for its forward; takes everything back at the end."""
    before: list[tuple[nn.Module, Any]] = []
    # Until it was imported, nothing can have been compiled.
    call = _uncompiled() if "torch._dynamo" in sys.modules else _call
    try:
        for part, handler in plan.values():
            own = part.__dict__.get("forward")
            before.append((part, own))
            original = part.forward
            stand_in = partial(call, handler, part, original, tape)
            part.__dict__["forward"] = stand_in
        yield
    finally:
        for part, own in reversed(before):
            if own is None:
                part.__dict__.pop("forward", None)
            else:
                part.__dict__["forward"] = own


def _call(
    handler: Handler | None,
    part: nn.Module,
    original: Callable[..., Any],
    tape: Callable[[], Tape],
    *args: Any,
    **kwargs: Any,
) -> Any:
    present = tape()
    if present.note is not None:
        present.note(part, pytree.tree_leaves((args, kwargs)))
        return original(*args, **kwargs)
    if handler is None:
        return fallback(part, original, present, *args, **kwargs)
    return handler(part, present, *args, **kwargs)


@lru_cache(maxsize=1)
def _uncompiled() -> Callable[..., Any]:
    """:func:`_call`, which ``torch.compile`` leaves alone, in a module that is compiled, too.

    What a compiled layer would record is lost.
    """
    disable: Callable[..., Callable[..., Any]] = torch.compiler.disable
    return disable(_call)


def _owns_trainable(part: nn.Module) -> bool:
    """Whether the module reads a parameter itself; lists of parameters are read by the owner."""
    held = (nn.ParameterList, nn.ParameterDict)
    parts = [part, *(child for child in part.children() if isinstance(child, held))]
    return any(
        value is not None and value.requires_grad for p in parts for value in p._parameters.values()
    )
