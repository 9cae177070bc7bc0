"""Methods as a comparison names them: ``tables.adaptive[allocation=uniform,wide=oue]``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from sfumato.api.configuring import configure
from sfumato.registry import outside_brackets, parse


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
        name, settings = parse(text, "method")
        return cls(re.sub(r"\s", "", text), configure(name, settings, device))


def listed(text: str) -> list[str]:
    """The variants in a list with commas between, also within brackets.

    >>> listed("a, b[x=1,y=2],c")
    ['a', 'b[x=1,y=2]', 'c']
    """
    return [part.strip() for part in outside_brackets(text) if part.strip()]
