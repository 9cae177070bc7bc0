"""How many processors a measurement may use."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any


@contextmanager
def one_thread() -> Iterator[None]:
    """Keeps numerical libraries to one thread, and gives them theirs back.

    Their threads wait for each other by spinning. On models this small that gains little on an
    idle machine, and on a shared one it was measured to cost twenty times the processor time.
    """
    with _pools(len(sys.modules)).limit(limits=1):
        yield


@lru_cache(maxsize=1)
def _pools(modules: int) -> Any:
    """The thread pools of all libraries; looked for again once more modules are loaded.

    To look takes milliseconds, and small models are fitted by the hundred.
    """
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

    return ThreadpoolController()
