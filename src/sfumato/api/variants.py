"""Methods as a comparison names them: ``tables.adaptive[allocation=uniform,wide=oue]``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml

from sfumato.api.publishing import configure
from sfumato.errors import InputError

_NAMED = re.compile(r"\s*([^\[\]\s]+)\s*(?:\[(.*)\])?\s*")


@dataclass(frozen=True)
class Variant:
    """A method with settings, and the name it goes by.

    Args:
        label: As it was asked for.
        method: The configured method.
    """

    label: str
    method: Any

    @classmethod
    def parse(cls, text: str, device: str) -> Variant:
        """The variant that a text names.

        Args:
            text: A registered name, with ``[key=value,...]`` if settings are given; values are
                YAML scalars, and ``preset=NAME`` names a preset.
            device: ``"auto"``, ``"cpu"`` or ``"cuda"``.

        Raises:
            InputError: If it cannot be read, or the name or a setting is unknown.

        >>> Variant.parse("tables.adaptive[allocation=uniform]", "cpu").method.allocation
        'uniform'
        >>> Variant.parse("learn.dpsgd[hidden=[64,32],epochs=5]", "cpu").method.hidden
        (64, 32)
        """
        found = _NAMED.fullmatch(text)
        if found is None:
            raise InputError(f"the method {text!r} cannot be read", "Write name[key=value,...].")
        name, inside = found.groups()
        settings = {}
        for pair in _split(inside) if inside else ():
            key, equals, value = pair.partition("=")
            if not equals or not key.strip():
                raise InputError(f"{pair!r} in {text!r} has no '='", "Write name[key=value,...].")
            try:
                settings[key.strip()] = yaml.safe_load(value)
            except yaml.YAMLError:
                raise InputError(
                    f"{pair!r} in {text!r} cannot be read", "Write name[key=value,...]."
                ) from None
        return cls(re.sub(r"\s", "", text), configure(name, settings, device))


def listed(text: str) -> list[str]:
    """The variants in a list with commas between, also within brackets.

    >>> listed("a, b[x=1,y=2],c")
    ['a', 'b[x=1,y=2]', 'c']
    """
    return [part.strip() for part in _split(text) if part.strip()]


def _split(text: str) -> list[str]:
    """At the commas that are in no brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "[") - (letter == "]")
        if letter == "," and depth <= 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts
