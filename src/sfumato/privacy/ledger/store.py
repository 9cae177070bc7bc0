"""How a ledger's file is opened: one connection an operation, one writer at a time.

The file is never opened but through SQLite, for reading its bytes neither: POSIX drops all of a
process's locks on a file when any descriptor of it is closed. Closing the last connection leaves a
single file behind, which may then be copied.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from sfumato.errors import InputError, LedgerError
from sfumato.privacy.ledger.transaction import APPLICATION, RESTORE, Transaction, one_line

_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
_READ_ONLY = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}
_FAILING = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}


class Store:
    """Opens transactions on a file, or on memory.

    Args:
        path: The file; None keeps the ledger in memory.
        timeout: Seconds to wait for other processes.
    """

    def __init__(self, path: Path | None, timeout: float) -> None:
        self.path = path
        self.timeout = timeout
        self._lock = threading.RLock()
        self._memory = None if path else self._connect(":memory:")
        if self._memory is not None:
            with self.writing() as transaction:
                transaction.lay_out()

    @property
    def name(self) -> str:
        """The file, for messages."""
        return str(self.path) if self.path else "the ledger in memory"

    def create(self) -> None:
        """Makes the file with its tables, whole or not at all; leaves an existing one alone.

        Raises:
            InputError: If the folder cannot be written.
        """
        assert self.path is not None
        try:
            scratch = Path(tempfile.mkdtemp(prefix=f".{self.path.name}.", dir=self.path.parent))
            try:
                new = Store(scratch / "new.db", self.timeout)
                with new.writing(new=True) as transaction:
                    transaction.lay_out()
                _place(scratch / "new.db", self.path)
            finally:
                for leftover in scratch.iterdir():
                    leftover.unlink()
                scratch.rmdir()
        except OSError as error:
            raise InputError(
                f"cannot make a ledger in {self.path.parent} ({error.strerror})",
                "Give a folder that exists and can be written to.",
            ) from None

    @contextlib.contextmanager
    def reading(self) -> Iterator[Transaction]:
        """A view of the last committed state, from the disk and not from a cache.

        Raises:
            LedgerError: If the file is damaged, locked or unreadable.
        """
        with self._transaction("BEGIN") as transaction:
            yield transaction

    @contextlib.contextmanager
    def writing(self, *, new: bool = False) -> Iterator[Transaction]:
        """The only writer for as long as it lasts; on the disk when it has ended without error.

        Raises:
            LedgerError: If the file is damaged, locked for longer than the timeout, or cannot be
                written.
        """
        with self._transaction("BEGIN IMMEDIATE", new=new) as transaction:
            yield transaction

    @contextlib.contextmanager
    def _transaction(self, begin: str, *, new: bool = False) -> Iterator[Transaction]:
        with self._lock, self._translated():
            connection = self._retrying(lambda: self._begin(begin, new))
            try:
                yield Transaction(connection)
                connection.execute("COMMIT")
            finally:
                with contextlib.suppress(sqlite3.Error):
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                if connection is not self._memory:
                    connection.close()

    def _begin(self, begin: str, new: bool) -> sqlite3.Connection:
        if self._memory is not None:
            self._memory.execute(begin)
            return self._memory
        connection = self._connect(self._address(writable=begin != "BEGIN", new=new))
        try:
            _configure(connection)
            if new:
                connection.execute(f"PRAGMA application_id = {APPLICATION}")
                connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(begin)
            connection.execute("SELECT 1 FROM sqlite_schema").fetchone()
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect(self, address: str) -> sqlite3.Connection:
        return sqlite3.connect(
            address,
            timeout=self.timeout,
            isolation_level=None,  # transactions begin and end where this file says so
            check_same_thread=False,  # one operation at a time, by the lock
            uri=True,
        )

    def _address(self, *, writable: bool, new: bool) -> str:
        """The file as a URI; a file on read-only media is read without locks or a journal."""
        assert self.path is not None
        mode = "rwc" if new else "rw"
        if not new and not self.is_writable():
            if writable:
                raise LedgerError(
                    f"{self.path} is read-only", "Nothing was spent; publish where it is writable."
                )
            journal = self.path.with_name(self.path.name + "-wal")
            mode = "ro" if journal.exists() else "ro&immutable=1"
        return f"{self.path.absolute().as_uri()}?mode={mode}"

    def is_writable(self) -> bool:
        """Whether the file and its folder, which takes the journal, can be written."""
        return self.path is None or all(
            os.access(place, os.W_OK) for place in (self.path, self.path.parent)
        )

    def _retrying(self, begin: Callable[[], sqlite3.Connection]) -> sqlite3.Connection:
        """SQLite waits for a lock, but not while another process opens or closes the journal."""
        deadline = time.monotonic() + self.timeout
        while True:
            try:
                return begin()
            except sqlite3.OperationalError as error:
                if _code(error) not in _BUSY or time.monotonic() >= deadline:
                    raise
                time.sleep(0.005)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """Turns SQLite's errors into one line that says what to do."""
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:  # damaged text may be in a message
            raise self._explained(error) from None

    def _explained(self, error: Exception) -> LedgerError:
        said = one_line(error)
        code = _code(error)
        if code in _BUSY:
            return LedgerError(
                f"{self.name} was locked by another process for over {self.timeout:g} s",
                "Nothing was spent; try again when it is done.",
            )
        if code in _READ_ONLY:
            return LedgerError(
                f"{self.name} cannot be opened ({said})",
                "Nothing was spent; check the permissions of the file and its folder.",
            )
        if code in _FAILING:
            return LedgerError(
                f"{self.name} could not be written or read ({said})",
                "Check the disk. If a release was under way its debit may stand.",
            )
        if code == sqlite3.SQLITE_NOTADB:
            return LedgerError(
                f"{self.name} is no ledger, or its first bytes are damaged ({said})", RESTORE
            )
        return LedgerError(f"{self.name} is damaged ({said})", RESTORE)


def _configure(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA synchronous = FULL")  # a commit has reached the disk
    connection.execute("PRAGMA fullfsync = ON")  # on macOS, too
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")


def _code(error: Exception) -> int:
    """The primary result code; 0 for errors that Python itself raises."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _place(made: Path, final: Path) -> None:
    """Gives a whole file its name, unless another process was first."""
    try:
        os.link(made, final)
    except FileExistsError:
        return
    except OSError:  # a file system without links
        try:
            handle = final.open("xb")
        except FileExistsError:
            return
        try:
            with handle:
                handle.write(made.read_bytes())
                handle.flush()
                os.fsync(handle.fileno())
        except OSError:
            final.unlink()
            raise
    _sync_folder(final.parent)


def _sync_folder(folder: Path) -> None:
    """Puts a new file's name on the disk, where the system allows it."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
