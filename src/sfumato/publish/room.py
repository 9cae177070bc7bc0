"""Settings that ask for more memory than there is: refused before anything is spent.

What is added up here is certain: weights of networks, and arrays whose sizes follow from settings
alone. A run that would end in an allocator's error, with its budget spent, ends here instead. What
a step takes beside them is an estimate, and is told, not refused (:mod:`sfumato.publish.memory`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sfumato.errors import InputError
from sfumato.publish import memory

if TYPE_CHECKING:
    from torch import nn

    from sfumato.data import ImageSchema

TRAINED = 4
"""Copies of a weight that a step by Adam has in memory: itself, its mean, two moments."""
_COUNTLESS = 1 << 63


@dataclass(frozen=True)
class Part:
    """Something that a run has in memory all at once, whatever the records are.

    Args:
        what: In words, in the plural.
        settings: The names of those that make it large.
        bytes: At least so many.
    """

    what: str
    settings: tuple[str, ...]
    bytes: int


def network(
    what: str, settings: Sequence[str], build: Callable[[], nn.Module], copies: int = 1
) -> Part:
    """A network's weights, counted without any being made.

    Args:
        what: In words.
        settings: Its sizes.
        build: Makes it.
        copies: How often they are in memory at once.
    """
    import torch

    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            module = build()
        tensors = (*module.parameters(), *module.buffers())
        held = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    except (RuntimeError, OverflowError, TypeError):  # more numbers than torch counts
        held = _COUNTLESS
    return Part(what, tuple(settings), copies * held)


def images(what: str, settings: Sequence[str], count: int, facts: ImageSchema) -> Part:
    """So many images as numbers.

    Args:
        what: In words.
        settings: Those that say how many.
        count: How many.
        facts: Of them.
    """
    return Part(what, tuple(settings), count * math.prod(facts.shape) * memory.FLOAT)


def released(samples: int | None, facts: ImageSchema) -> Iterator[Part]:
    """Released images as they are stored, with their labels; nothing where none were asked for."""
    if samples is not None:
        each = math.prod(facts.shape) + 8
        yield Part("the released images", ("samples",), samples * each)


def check(method: Any, parts: Iterable[Part]) -> None:
    """Refuses settings of which one part alone takes more memory than the machine has altogether.

    Args:
        method: Of the settings.
        parts: What its run has in memory, at one time or another.

    Raises:
        InputError: Naming the largest part, and the settings that make it so large.
    """
    largest, most = max(parts, key=lambda part: part.bytes, default=None), memory.whole()
    if largest is None or largest.bytes <= most:
        return
    given = ", ".join(f"{name} is {getattr(method, name)!r}" for name in largest.settings)
    raise InputError(
        f"{given}: {largest.what} take {memory.size(largest.bytes)} of memory, "
        f"of {memory.size(most)} that there are",
        f"Lower {' or '.join(largest.settings)}, or publish where there is more memory.",
    )
