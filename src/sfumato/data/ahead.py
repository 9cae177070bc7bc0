"""Batches in several threads: the next is read while this one is worked on, in order."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

_T = TypeVar("_T")
_R = TypeVar("_R")

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


def in_order(work: Callable[[_T], _R], items: Iterable[_T], workers: int) -> Iterator[_R]:
    """What ``work`` makes of each item, in the items' order, by several threads.

    At most ``workers + 2`` items are worked on or wait, however many there are.

    Args:
        work: Called once an item, by any thread.
        items: Taken one by one in the caller's thread.
        workers: Threads; 1 works in the caller's own.

    >>> list(in_order(lambda x: x * x, range(4), workers=2))
    [0, 1, 4, 9]
    """
    if workers == 1:
        yield from map(work, items)
        return
    running: deque[Future[_R]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="sfumato-worker")
    try:
        for item in items:
            running.append(pool.submit(work, item))
            if len(running) >= workers + 2:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
