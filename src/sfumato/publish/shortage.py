"""A disk or a memory that turns out too small while a run is under way, told in one line.

So is a file that the system refuses: a read-only disk, a folder of somebody else's.

What is told depends on whether the run was paid for. Before the debit it is bad input, and nothing
is spent. After it the debit stands: the error says so, and whether a checkpoint saves it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from sfumato.errors import InputError, UnwrittenError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EIO, errno.ENAMETOOLONG)
_FULL_WORDS = ("no space left on device", "disk quota exceeded", "max_temp_directory_size")
_MEMORY_WORDS = ("out of memory", "not enough memory", "can't allocate memory", "outofmemory")
_ROOMLESS = ("safetensors", "duckdb")
"""Packages that tell of a full disk by errors of their own."""


def told(error: BaseException) -> str | None:
    """What ran short, in words; None if the error is about something else."""
    text = str(error).lower()
    package = type(error).__module__.partition(".")[0].lstrip("_")
    if isinstance(error, OSError) and error.errno in _FULL:
        where = f": {error.filename}" if error.filename else ""
        return f"a file could not be written ({os.strerror(error.errno)}{where})"
    if isinstance(error, OSError) or package in _ROOMLESS:
        words = next((words for words in _FULL_WORDS if words in text), None)
        if words is not None:
            return f"a file could not be written ({words})"
    torch_or_engine = isinstance(error, RuntimeError) or package in _ROOMLESS
    if isinstance(error, MemoryError) or (
        torch_or_engine and any(words in text for words in _MEMORY_WORDS)
    ):
        return "there was not enough memory"
    return None


def refused(error: BaseException) -> str | None:
    """Which file the system does not let one have, in words; None if it is about something else."""
    if not (isinstance(error, OSError) and error.errno in _REFUSED):
        return None
    where = f": {error.filename}" if error.filename else ""
    return f"a file could not be read or written ({os.strerror(error.errno)}{where})"


@contextmanager
def unpaid() -> Iterator[None]:
    """Turns a shortage before the debit, or a file that is refused, into bad input.

    Raises:
        InputError: Saying what ran short or was refused.
    """
    try:
        yield
    except Exception as error:
        lack, barred = told(error), refused(error)
        if lack is not None:
            remedy = "make room, or publish where there is more of it."
        elif barred is not None:
            remedy = "check the path and its permissions, or choose another folder."
        else:
            raise
        raise InputError(lack or barred or "", f"Nothing was spent: {remedy}") from None


@contextmanager
def paid(sequence: int, *, kept: bool, now: bool = True) -> Iterator[None]:
    """Turns a shortage after the debit, or input that went bad since, into what became of it.

    Args:
        sequence: Of the debit in its ledger.
        kept: Whether a checkpoint holds what was drawn.
        now: Whether this very call was debited; else bad input costs nothing, and stays what it is.

    Raises:
        UnwrittenError: Saying what happened, and what the debit is still good for.
    """
    again = (
        "The same command goes on from its checkpoint, and pays nothing anew."
        if kept
        else "Publishing anew is debited anew."
    )
    standing = f"and the release is paid for (ledger entry {sequence})"
    try:
        yield
    except InputError as error:
        if not now:
            raise
        raise UnwrittenError(f"{error.problem}, {standing}", f"{error.remedy} {again}") from None
    except Exception as error:
        lack, barred = told(error), refused(error)
        if lack is None and barred is None:
            raise
        remedy = "Check the path and its permissions." if lack is None else "Make room."
        raise UnwrittenError(f"{lack or barred}, {standing}", f"{remedy} {again}") from None
