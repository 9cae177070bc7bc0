"""How many steps of a training were begun, in its checkpoint's folder and beside the ledger."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import NamedTuple

from sfumato.errors import InputError
from sfumato.privacy.ledger.begun import Begun, present

STEPS = "steps"
DAMAGED = "The checkpoint is damaged; use another, or start anew."
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENOENT)


class StepCounter:
    """The number of steps begun, written before each of them.

    It survives the end of the process at any moment. After a loss of power it may lag behind by
    steps whose results were lost with the memory. While it is held no other process can continue
    from the same folder, which would take the same steps twice; nor, where the count is kept beside
    a ledger too, from a copy of the folder. The higher count is right: steps that a copy has taken
    are as good as lost here.

    Args:
        folder: Of the checkpoint; made if it is missing.
        run: The identity of the training.
        taken: Steps begun so far; the count on the disk, if it is higher, is kept.
        resumed: The folder must hold the counter of this training.
        begun: Where a ledger's counts are kept; by default that of the run under way, if any is.

    Attributes:
        folder: Where it is.
        count: Steps begun.

    Raises:
        InputError: If the folder belongs to another training, another process holds it or a copy of
            it, or it cannot be written to; if a copy has begun steps of a training of its own, or
            the ledger's count of this one is gone.
    """

    def __init__(
        self,
        folder: Path,
        run: str,
        taken: int,
        *,
        resumed: bool = False,
        begun: Begun | None = None,
    ) -> None:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            own = _Count(folder / STEPS)
        except OSError as error:
            if error.errno not in _FORBIDDEN:
                raise
            raise InputError(
                f"the checkpoint {folder} is no folder that can be written to ({error.strerror})",
                "Give another one, or make it writable.",
            ) from None
        self.folder = folder.resolve()
        self._run = run
        self._counts = [own]
        try:
            notes = begun or present()
            beside = None if notes is None else notes.file(folder)
            if beside is not None:
                beside.parent.mkdir(mode=0o700, exist_ok=True)
                self._counts.insert(0, _Count(beside))
            self.begun(max(self._take(resumed), taken))
        except BaseException:
            for count in self._counts:
                count.close()
            raise

    def _take(self, resumed: bool) -> int:
        """Locks all counts, and reads the highest."""
        steps = self._own(self._counts[-1], resumed)
        return max(steps, self._shared(self._counts[0], resumed)) if self.is_shared else steps

    def _own(self, own: _Count, resumed: bool) -> int:
        """Locks the folder's count, and reads it."""
        if not own.lock():
            raise InputError(
                f"another process is training with the checkpoint in {self.folder}",
                "Give this training a folder of its own.",
            )
        found = own.read()
        if found is None and not resumed:
            return 0
        if found is None or found.steps is None:
            raise InputError(f"{own.path} is no step counter", DAMAGED)
        if found.run != self._run:
            raise InputError(
                f"{self.folder} holds the checkpoint of another training",
                "Resume it, or give a folder of its own.",
            )
        return found.steps

    def _shared(self, beside: _Count, resumed: bool) -> int:
        """Locks the count that all copies of the folder share, and reads it."""
        if not beside.lock():
            raise InputError(
                f"another process goes on with this training, from a copy of {self.folder}",
                "Let it finish: both would take the same steps, and they are paid for once.",
            )
        found = beside.read()
        if found is None and not resumed:
            return 0
        if found is None or found.steps is None:
            raise InputError(
                f"{beside.path}, which counts the steps of the training in {self.folder}, "
                f"{'is missing' if found is None else 'cannot be read'}",
                "Put it back beside the ledger, or start anew: that is debited anew.",
            )
        if found.run != self._run and found.steps:
            raise InputError(
                f"{found.steps} steps were begun in another copy of {self.folder}, and both were "
                "paid for once",
                "Go on with that copy, or start anew, in another folder: that is debited anew.",
            )
        return found.steps if found.run == self._run else 0

    def begun(self, step: int) -> None:
        """Notes that ``step`` is about to draw its noise."""
        for count in self._counts:
            count.write(self._run, step)
        self.count = step

    @property
    def is_shared(self) -> bool:
        """Whether the count is kept beside a ledger, too."""
        return len(self._counts) > 1

    def close(self) -> None:
        """Flushes to the disk and lets go of the folder."""
        for count in self._counts:
            count.close()

    def discard(self) -> None:
        """Takes back what a training that never began has left in the folder."""
        for count in self._counts:
            count.path.unlink()
            count.close()
            with contextlib.suppress(OSError):  # something else lies there
                count.path.parent.rmdir()


class _Noted(NamedTuple):
    """What stands in a count: whose it is, and how many steps; None if it is no count."""

    run: str
    steps: int | None


class _Count:
    """One file of one line.

    Args:
        path: Made if it is missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        number = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        # A file object: the lock goes when the counter does, in a notebook too.
        self._file = open(number, "r+b", buffering=0)  # noqa: SIM115  # held until it is closed

    def lock(self) -> bool:
        """Whether the file is this process's now."""
        return locked(self._file.fileno())

    def read(self) -> _Noted | None:
        """What is in it; None if nothing is."""
        written = self._file.read(4096)
        if not written:
            return None
        try:
            run, count = written.decode("ascii").split()
            return _Noted(run, int(count))
        except ValueError:
            return _Noted("", None)

    def write(self, run: str, steps: int) -> None:
        """One line of one length, far below a page: it is replaced as a whole."""
        self._file.seek(0)
        self._file.write(f"{run} {steps:>20}\n".encode())

    def close(self) -> None:
        """Flushes to the disk."""
        if not self._file.closed:
            os.fsync(self._file.fileno())
            self._file.close()


def locked(file: int) -> bool:
    """Takes the file for this process's lifetime, where the system can; False if it is taken."""
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
