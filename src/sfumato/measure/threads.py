"""How many processors a measurement may use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_thread() -> Iterator[None]:
    """Keeps numerical libraries to one thread, and gives them theirs back.

    Their threads wait for each other by spinning. On models this small that gains little on an
    idle machine, and on a shared one it was measured to cost twenty times the processor time.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(limits=1):
        yield
