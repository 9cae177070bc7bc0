"""Several passes over batches that are read once where they fit in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

_T = TypeVar("_T")


def remembered(
    start: Callable[[], Iterable[_T]], size: Callable[[_T], int], limit: int
) -> Callable[[], Iterator[_T]]:
    """Passes that give the same batches as ``start`` does, from memory once they are known.

    Args:
        start: Begins a pass.
        size: Of one batch, in any unit.
        limit: Batches are kept if their sizes sum to at most this; otherwise every pass begins
            anew.
    """
    kept: list[_T] = []
    complete = False

    def passes() -> Iterator[_T]:
        nonlocal complete
        if complete:
            yield from kept
            return
        kept.clear()
        total = 0
        for batch in start():
            total += size(batch)
            if total <= limit:
                kept.append(batch)
            else:
                kept.clear()
            yield batch
        complete = total <= limit

    return passes
