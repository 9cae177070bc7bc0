"""The next batch while this one is worked on: reading in one thread, work in another."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

_T = TypeVar("_T")

DEPTH = 2
"""Items that wait at most; memory is that of this many batches."""


def ahead(items: Iterable[_T], depth: int = DEPTH) -> Iterator[_T]:
    """The same items in the same order, made by a thread of its own.

    What making an item raises is raised where it would have been taken. A caller that stops early
    stops the thread.

    Args:
        items: Made one by one.
        depth: How many may wait.

    >>> list(ahead(range(3)))
    [0, 1, 2]
    """
    ready: queue.Queue[tuple[str, Any]] = queue.Queue(depth)
    stop = threading.Event()

    def put(kind: str, value: Any) -> bool:
        while not stop.is_set():
            try:
                ready.put((kind, value), timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not put("item", item):
                    return
            put("end", None)
        except BaseException as error:
            put("error", error)

    thread = threading.Thread(target=work, name="sfumato-reader", daemon=True)
    thread.start()
    try:
        while True:
            kind, value = ready.get()
            if kind == "item":
                yield value
            elif kind == "error":
                raise value
            else:
                return
    finally:
        stop.set()
        thread.join()
