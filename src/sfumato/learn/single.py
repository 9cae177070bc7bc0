"""That a training is one: it is not copied, and takes one step at a time, where it was begun."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sfumato.errors import InputError


class Single:
    """What counts the steps of one training; each copy would take them once more.

    A copy in memory, by pickling or by a fork, starts from the same count and draws other noise.
    """

    def __init__(self) -> None:
        self._process = os.getpid()
        self._stepping = threading.Lock()

    def __reduce_ex__(self, protocol: object) -> Any:
        """Refuses to be copied or pickled.

        Raises:
            InputError: Always: the copy would take the same steps once more, paid for once.
        """
        raise InputError(
            "a private training was to be copied, and its copy would spend its budget once more",
            "Copy the module, or save a checkpoint and resume from it.",
        )

    @contextmanager
    def a_step(self) -> Iterator[None]:
        """For the time of a step.

        Raises:
            InputError: In a forked process, or while another step is under way. Nothing was drawn.
        """
        if os.getpid() != self._process:
            raise InputError(
                "a private training was forked, and every process would spend its budget once more",
                "Make the training in the process that trains; of several, see docs/torchrun.md.",
            )
        if not self._stepping.acquire(blocking=False):
            raise InputError(
                "a step of this training was begun while another is under way",
                "Train in one thread, and call no step from a loss or a module.",
            )
        try:
            yield
        finally:
            self._stepping.release()
