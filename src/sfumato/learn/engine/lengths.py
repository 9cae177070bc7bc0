"""Which arguments of a module that is taken as one are the examples', told by two sizes of a batch.

A table of 16 positions is as long as a batch of 16 examples, and must not be dealt out to them. In
a batch of another size it has 16 rows still.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from sfumato.learn.engine import replay
from sfumato.learn.engine.probe import buffers_kept

_SIZES = (2, 3)

Note = Callable[[nn.Module, Sequence[Any]], None]
"""Told of a call: the module, and the leaves of its arguments."""


class Lengths:
    """What is known of the arguments of each call of each module.

    Args:
        calls: By the module's identity, for each call in a pass, for each leaf of the arguments
            whether its length is that of the batch.
    """

    def __init__(self, calls: Mapping[int, Sequence[Sequence[bool]]] | None = None) -> None:
        self._calls = calls or {}

    def examples(self, part: nn.Module, call: int, leaves: Sequence[Any], n: int) -> list[int]:
        """The leaves that hold one row an example.

        Args:
            part: What is called.
            call: How many calls of it this pass has seen before.
            leaves: Of its arguments.
            n: How many examples there are.
        """
        long = [i for i, leaf in enumerate(leaves) if length(leaf) == n]
        known = self._calls.get(id(part))
        if not known:
            return long
        own = known[call % len(known)]
        return [i for i in long if len(own) != len(leaves) or own[i]]


def length(leaf: Any) -> int:
    """Of a tensor's dimension 0; -1 of whatever has none."""
    return len(leaf) if isinstance(leaf, Tensor) and leaf.ndim else -1


def lengths_of(
    module: nn.Module, args: tuple[Any, ...], kind: str, noting: Callable[[int, Note], None]
) -> Lengths:
    """Runs a module on two and on three copies of one example, and compares.

    Args:
        module: While it is recorded. Buffers and random state are left as they were.
        args: Its arguments, at least one example in dimension 0.
        kind: The type of device that random numbers are drawn on.
        noting: Has the next pass, over so many examples, tell of its calls and do nothing else.
    """
    passes: list[dict[int, list[list[int]]]] = []
    before = replay.states(kind)
    try:
        for size in _SIZES:
            found: dict[int, list[list[int]]] = {}

            def note(part: nn.Module, leaves: Sequence[Any], found: Any = found) -> None:
                found.setdefault(id(part), []).append([length(leaf) for leaf in leaves])

            def copy(values: Tensor, size: int = size) -> Tensor:
                return values[:1].expand(size, *values.shape[1:]).clone()

            noting(size, note)
            with torch.no_grad(), buffers_kept(module):
                module(*pytree.tree_map_only(Tensor, copy, args))
            passes.append(found)
    except Exception:  # whatever it is, the pass that comes next says it better
        return Lengths()
    finally:
        replay.restore(kind, before)
    few, more = passes
    return Lengths(
        {
            part: [
                [(x, y) == _SIZES for x, y in zip(one, other, strict=False)]
                for one, other in zip(calls, more[part], strict=True)
            ]
            for part, calls in few.items()
            if len(more.get(part, ())) == len(calls)
        }
    )
