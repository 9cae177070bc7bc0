"""One process at a time works in a private folder that a run can be continued from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sfumato.errors import InputError
from sfumato.learn.counted import locked

LOCK = "lock"
"""A file in the folder: a folder itself cannot be locked everywhere."""


@contextmanager
def held(workspace: Path) -> Iterator[None]:
    """Keeps others out of a folder, made if it is missing, until the end or the process's death.

    Raises:
        InputError: If another process works there. Nothing was spent or written.
    """
    workspace.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = os.open(workspace / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if not locked(file):
            raise InputError(
                f"another process is at work with the checkpoint in {workspace}",
                "Wait until it ends, or give this run a folder of its own.",
            )
        yield
    finally:
        os.close(file)
