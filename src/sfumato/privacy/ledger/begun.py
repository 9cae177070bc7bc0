"""What a paid run has begun, noted beside its ledger, wherever its checkpoint lies.

A checkpoint is a folder, and folders are copied. Two copies that each took the steps that were left
would draw more noisy sums than the one debit is for, and nothing in either folder shows it. So what
is drawn is noted in a place that all copies share, before it is drawn: ``LEDGER.begun/``, a file
for every folder of steps and for every value that is drawn once. These files hold no figure of a
record, and no key. They are no part of the ledger's chain; without them a run is not gone on with.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sfumato.privacy.ledger.ledger import Ledger

_SUFFIX = ".begun"


@dataclass(frozen=True)
class Begun:
    """The notes of one paid run.

    Args:
        folder: Beside the ledger; made when the first note is.
        release_id: What was paid for.
        workspace: Below which lie the folders that the notes are of; None where there is one
            folder, wherever it is.
    """

    folder: Path
    release_id: str
    workspace: Path | None = None

    @classmethod
    def of(cls, ledger: Ledger, release_id: str, workspace: Path | None = None) -> Begun | None:
        """The notes of a run that this ledger pays for; None for a ledger in memory."""
        if ledger.path is None:
            return None
        file = ledger.path.resolve()  # a link to it is the same ledger
        folder = file.with_name(file.name + _SUFFIX)
        return cls(folder, release_id, None if workspace is None else workspace.resolve())

    def file(self, place: Path) -> Path | None:
        """The note of a folder, or of a value; the same for every copy of the workspace.

        Args:
            place: The folder of steps, or the path of the value.

        Returns:
            Its path; None if the place is not of this run.
        """
        name = ""
        if self.workspace is not None:
            place = place.resolve()
            if not place.is_relative_to(self.workspace):
                return None
            name = place.relative_to(self.workspace).as_posix()
        of = hashlib.sha256(f"{self.release_id}\0{name}".encode()).hexdigest()
        return self.folder / of[:32]

    def draw(self, place: Path) -> bool:
        """Notes that a value is about to be drawn; False if it was noted before."""
        file = self.file(place)
        if file is None:
            return True
        self.folder.mkdir(mode=0o700, exist_ok=True)
        try:
            handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return False
        os.fsync(handle)
        os.close(handle)
        return True


_NOTES: ContextVar[Begun | None] = ContextVar("notes", default=None)


@contextlib.contextmanager
def noting(notes: Begun | None) -> Iterator[None]:
    """What this run begins meanwhile, in this thread, is noted beside its ledger."""
    before = _NOTES.set(notes)
    try:
        yield
    finally:
        _NOTES.reset(before)


def present() -> Begun | None:
    """The notes of the run that is under way in this thread; None if there are none."""
    return _NOTES.get()
