"""The list of methods and attacks: adding one is one file and one decorator.

Classes register themselves on import; :func:`load` imports the files of the rooms that hold
them, so that nothing is imported before somebody asks for the list.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from typing import Any, Literal, TypeVar

from sfumato.errors import InputError

Kind = Literal["method", "attack"]
_T = TypeVar("_T", bound=type)

_ROOMS: dict[Kind, tuple[str, ...]] = {
    "method": (
        "sfumato.publish.tables",
        "sfumato.publish.generators",
        "sfumato.publish.images",
        "sfumato.publish.models",
    ),
    "attack": ("sfumato.attack", "sfumato.attack.membership"),
}
_NAMED = re.compile(r"\s*([^\[\]\s]+)\s*(?:\[(.*)\])?\s*")
_entries: dict[Kind, dict[str, type]] = {"method": {}, "attack": {}}
_loaded: set[Kind] = set()


def method(name: str) -> Callable[[_T], _T]:
    """Registers a frozen dataclass of public choices as the method ``family.name``."""
    return _register("method", name)


def attack(name: str) -> Callable[[_T], _T]:
    """Registers a frozen dataclass of public choices as the attack ``family.name``."""
    return _register("attack", name)


def _register(kind: Kind, name: str) -> Callable[[_T], _T]:
    def add(cls: _T) -> _T:
        known = _entries[kind].get(name)
        if known is not None and known.__qualname__ != cls.__qualname__:
            raise ValueError(f"{kind} {name!r} is registered twice")
        _entries[kind][name] = cls
        cls.name = name  # type: ignore[attr-defined]
        return cls

    return add


def load(kind: Kind) -> dict[str, type]:
    """All registered classes of a kind by name, in alphabetical order."""
    if kind not in _loaded:
        for room in _ROOMS[kind]:
            package = importlib.import_module(room)
            for module in pkgutil.iter_modules(package.__path__):
                if _registers(module):
                    importlib.import_module(f"{room}.{module.name}")
        _loaded.add(kind)
    return dict(sorted(_entries[kind].items()))


def _registers(module: pkgutil.ModuleInfo) -> bool:
    """Whether a file names the registry at all: helpers beside it, with torch, are not imported."""
    spec: Any = module.module_finder.find_spec(module.name, None)
    source = spec.loader.get_source(spec.name) if hasattr(spec.loader, "get_source") else None
    return source is None or __name__ in source


def find(kind: Kind, name: str) -> type:
    """The class registered as ``name``.

    Raises:
        InputError: If there is none; the message offers the nearest names.
    """
    known = load(kind)
    if name not in known:
        near = get_close_matches(name, known, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(known)}."
        raise InputError(f"unknown {kind} {name!r}", hint)
    return known[name]


def build(kind: Kind, name: str, settings: dict[str, Any] | None = None) -> Any:
    """Makes a method or attack from its name and settings.

    Raises:
        InputError: If the name or a setting is unknown (an unused key is never ignored).
    """
    cls = find(kind, name)
    if not is_dataclass(cls):
        raise TypeError(f"{cls!r} is registered but is not a dataclass")
    known = [f.name for f in fields(cls) if f.init]
    for key in settings or {}:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(known)}."
            raise InputError(f"{name} has no setting {key!r}", hint)
    return cls(**(settings or {}))


def parse(text: str, what: str) -> tuple[str, dict[str, Any]]:
    """A name with settings, as users write it: ``name[key=value,...]``.

    Args:
        text: A name; in brackets, settings whose values are YAML.
        what: ``"method"`` or ``"attack"``, for the message.

    Returns:
        The name and the settings, neither checked against what is registered.

    Raises:
        InputError: If it cannot be read.

    >>> parse("membership.lira[shadows=16,mode=offline]", "attack")
    ('membership.lira', {'shadows': 16, 'mode': 'offline'})
    >>> parse("learn.dpsgd[hidden=[64,32],epochs=5]", "method")
    ('learn.dpsgd', {'hidden': [64, 32], 'epochs': 5})
    """
    import yaml

    found = _NAMED.fullmatch(text)
    if found is None:
        raise InputError(f"the {what} {text!r} cannot be read", "Write name[key=value,...].")
    name, inside = found.groups()
    settings: dict[str, Any] = {}
    for pair in outside_brackets(inside) if inside else ():
        key, equals, value = pair.partition("=")
        key = key.strip()
        if not equals or not key:
            raise InputError(f"{pair!r} in {text!r} has no '='", "Write name[key=value,...].")
        if key in settings:
            raise InputError(f"{text!r} gives {key!r} twice", "Give each setting once.")
        try:
            settings[key] = value_of(value)
        except (yaml.YAMLError, ValueError):  # a ValueError for a date that there is not
            raise InputError(
                f"{pair!r} in {text!r} cannot be read", "Write name[key=value,...]."
            ) from None
    return name, settings


def value_of(text: str) -> Any:
    """A value as YAML, with ``1e-3`` as the number that people mean by it.

    Raises:
        yaml.YAMLError: If it is no YAML.
        ValueError: If it looks like a date or a number and is none.

    >>> value_of("1e-3"), value_of("'1e-3'"), value_of("[2E5, .5e+1]")
    (0.001, '1e-3', [200000.0, 5.0])
    """
    import yaml

    class Loader(yaml.SafeLoader):
        """YAML 1.1 takes a number without a point, or with an unsigned exponent, for a word."""

    Loader.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$"),
        list("-+.0123456789"),
    )
    return yaml.load(text, Loader)


def outside_brackets(text: str) -> list[str]:
    """The parts of a text between the commas that are in no brackets.

    >>> outside_brackets("a,b[x=1,y=[2,3]],c")
    ['a', 'b[x=1,y=[2,3]]', 'c']
    """
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "[") - (letter == "]")
        if letter == "," and depth <= 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts
