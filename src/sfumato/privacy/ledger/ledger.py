"""The ledger: a debit is on the disk before the first noise is drawn."""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sfumato.errors import InputError, LedgerError
from sfumato.privacy import guarantee as guarantees
from sfumato.privacy.budget import Budget
from sfumato.privacy.guarantee import Guarantee
from sfumato.privacy.ledger.book import Book
from sfumato.privacy.ledger.entry import CEILING, DEBIT, FORMAT, Entry, canonical
from sfumato.privacy.ledger.store import Store
from sfumato.privacy.ledger.totals import Total, admit
from sfumato.privacy.ledger.transaction import RESTORE, Transaction

TIMEOUT = 60.0


class Ledger:
    """What has been spent on one private data set; open it with :meth:`open`.

    A debit is committed and synchronised to the disk before :meth:`debit` returns; whoever draws
    noise afterwards can waste budget by dying, never spend it twice. The check against the ceiling
    and the debit are one transaction, so any number of processes may share a ledger on one machine
    (SQLite's journal does not work on network file systems).

    Each line's hash covers its fields and the hash before it, a head line counts them, and a seal
    covers the bytes of every page of the file, unused ones too: any flipped byte is found, as are
    lines removed, added, exchanged or cut off. What the file alone cannot show is that somebody
    with write access wrote all of it anew, or put an older copy back (a damaged ``-wal`` file,
    which exists only after a crash, can do the same); the hash on every release's card can, see
    ``known`` of :meth:`verify`.

    >>> from sfumato.privacy.events import PureDpEvent
    >>> from sfumato.privacy.guarantee import Central
    >>> ledger = Ledger.in_memory()
    >>> ledger.set_ceiling(Budget(1.0))
    >>> half = Central(PureDpEvent(0.5, "add-remove"), delta=0.0)
    >>> ledger.debit(half, release_id="r1", method="tables.independent").sequence
    2
    >>> print(ledger.remaining())
    ε = 0.5
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        create: bool = True,
        check: bool = True,
        timeout: float = TIMEOUT,
    ) -> Ledger:
        """Opens a ledger file.

        Args:
            path: The file, on a local disk.
            create: Make it if there is none. Its folder must exist, but for that of
                :meth:`default_path`.
            check: Verify it at once; without, :meth:`verify` lists what is wrong.
            timeout: Seconds to wait while other processes write.

        Raises:
            InputError: If there is no such file or folder, it is no ledger, or of a newer format.
            LedgerError: If it is damaged, locked or cannot be opened.
        """
        file = Path(path).expanduser().absolute()
        if file.is_dir():
            raise InputError(f"{file} is a folder, not a ledger", "Give the path of a file.")
        store = Store(file, timeout)
        if not file.exists():
            if not create:
                raise InputError(f"there is no ledger {file}", "Check the path.")
            if file.parent == _home():
                file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            store.create()
        elif file.stat().st_size == 0:
            raise LedgerError(f"{file} is empty, which no ledger is", RESTORE)
        with store.reading() as transaction:
            transaction.check_format(str(file))
        ledger = cls(store)
        if check:
            with store.reading() as transaction:
                ledger._read(transaction)
        return ledger

    @classmethod
    def in_memory(cls) -> Ledger:
        """A ledger that is gone with the process; for tests and trials."""
        return cls(Store(None, TIMEOUT))

    @staticmethod
    def default_path(name: str) -> Path:
        """Where the ledger of a named data set lives.

        ``$SFUMATO_HOME/ledgers/NAME.db``, else ``$XDG_DATA_HOME/sfumato/ledgers/NAME.db``, else
        under ``~/.local/share``. Nothing is made.

        Raises:
            InputError: If the name cannot be that of a file on every system.
        """
        _check_text("ledger name", name, required=True)
        if re.search(r'^\.|[/\\:*?"<>|]', name) or len(name.encode()) > 200:
            raise InputError(
                f"the ledger name is {name!r}", "Use a short name without slashes or colons."
            )
        return _home() / f"{name}.db"

    @property
    def path(self) -> Path | None:
        """The file; None for a ledger in memory."""
        return self._store.path

    @property
    def head(self) -> str:
        """The hash of the last entry, which stands for all entries. Note it elsewhere."""
        with self._store.reading() as transaction:
            return self._read(transaction).head.hash

    @property
    def ceiling(self) -> Budget | None:
        """What all releases together may reach; None for no bound."""
        with self._store.reading() as transaction:
            return self._read(transaction).ceiling

    def set_ceiling(self, budget: Budget) -> None:
        """Sets, raises or lowers the ceiling, as an entry of its own.

        A ceiling below what is already spent is recorded; it refuses every debit.

        Raises:
            LedgerError: If the ledger is damaged, locked or read-only.
        """
        figures = {"epsilon": float(budget.epsilon), "delta": float(budget.delta)}
        with self._store.writing() as transaction:
            self._read(transaction)
            transaction.append(CEILING, release_id="", method="", label="", guarantee=figures)

    def debit(
        self, guarantee: Guarantee, *, release_id: str, method: str, label: str = ""
    ) -> Entry:
        """Pays for a release; call it before any noise is drawn.

        Args:
            guarantee: What the release proves; its event is what is spent.
            release_id: Names the release; a release is paid for once.
            method: What makes the release.
            label: A name for the custodian's use.

        Returns:
            The entry. It is on the disk.

        Raises:
            BudgetError: If the ceiling refuses; it names what is left. Nothing was written.
            InputError: If an argument cannot be written into a ledger.
            LedgerError: If the release was paid for already, or the ledger is damaged, locked for
                longer than the timeout, or read-only. Nothing was written.
        """
        words = {"release_id": release_id, "method": method, "label": label}
        for name, text in words.items():
            _check_text(name, text, required=name != "label")
        cost = _plain(guarantee)
        self.check(guarantee)  # so that accounting need not wait under the lock; decides nothing
        with self._store.writing() as transaction:
            book = self._read(transaction)
            for earlier in book.debits:
                if earlier.release_id == release_id:
                    raise LedgerError(
                        f"release {release_id} was paid for already (entry {earlier.sequence})",
                        "Nothing was spent; give every release an id of its own.",
                    )
            admit(book.ceiling, book.paid, guarantee)
            return transaction.append(DEBIT, guarantee=cost, **words)

    def check(self, guarantee: Guarantee) -> None:
        """Whether a debit would be refused now; writes nothing and reserves nothing.

        Raises:
            BudgetError: If it would.
        """
        with self._store.reading() as transaction:
            book = self._read(transaction)
        admit(book.ceiling, book.paid, guarantee)

    def entries(self) -> list[Entry]:
        """All entries, the first one first."""
        with self._store.reading() as transaction:
            return self._read(transaction).entries

    def total(self, delta: float | None = None) -> list[Total]:
        """What all releases come to: one total for each kind that cannot be added to the others.

        Args:
            delta: Where epsilon is read off; by default the ceiling's, else the largest delta among
                the releases.
        """
        with self._store.reading() as transaction:
            book = self._read(transaction)
        return book.totals(delta)

    def remaining(self) -> Budget | None:
        """A pure budget that surely still fits; None without a ceiling or with nothing left.

        It is the ceiling's epsilon minus the total at the ceiling's delta: conservative, as a
        release that composes more tightly may be larger. See :meth:`left`.
        """
        epsilon = self.left()
        return Budget(epsilon) if epsilon else None

    def left(self) -> float | None:
        """The epsilon that surely still fits: 0 if nothing does, None without a ceiling."""
        with self._store.reading() as transaction:
            book = self._read(transaction)
        return book.left()

    def verify(self, known: Iterable[str] = ()) -> list[str]:
        """What is wrong with the ledger, one line each; empty if it is whole.

        Args:
            known: Hashes noted elsewhere, such as on cards (``ledger.entry``); each must be here.
        """
        try:
            with self._store.reading() as transaction:
                return Book.examine(transaction, known)[1]
        except LedgerError as error:
            return [error.problem]

    def export(self) -> dict[str, Any]:
        """Everything in the ledger as plain JSON values, with what verification finds.

        Raises:
            LedgerError: If it is too damaged to be read.
        """
        with self._store.reading() as transaction:
            book, problems = Book.examine(transaction)
        if book is None:
            raise LedgerError(f"{self._store.name} is damaged: {problems[-1]}", RESTORE)
        ceiling = book.ceiling
        return {
            "sfumato_ledger": FORMAT,
            "ledger": book.head.ledger,
            "created": book.head.created,
            "head": book.head.hash,
            "ceiling": asdict(ceiling) if ceiling else None,
            "left": book.left(),
            "totals": [total.to_dict() for total in book.totals()],
            "entries": [entry.to_dict() for entry in book.entries],
            "verification": {"whole": not problems, "problems": problems},
        }

    def _read(self, transaction: Transaction) -> Book:
        """All entries, once they are verified."""
        book, problems = Book.examine(transaction)
        if problems or book is None:
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            raise LedgerError(f"{self._store.name} is damaged: {problems[0]}{more}", RESTORE)
        return book


def _plain(guarantee: Guarantee) -> dict[str, Any]:
    """The guarantee as JSON gives it back, once that is known to be readable.

    Raises:
        InputError: If it is not.
    """
    try:
        plain: dict[str, Any] = json.loads(canonical(guarantee.to_dict()))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"the guarantee has no JSON form ({error})", "Use plain numbers."
        ) from None
    guarantees.from_dict(plain)
    return plain


def _check_text(name: str, text: str, *, required: bool) -> None:
    """Refuses what a terminal or a text file would not show as it is."""
    if required and not text:
        raise InputError(f"{name} is empty", "Name it.")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        raise InputError(f"{name} is {text!r}", "Leave out control characters and lone surrogates.")


def _home() -> Path:
    if chosen := os.environ.get("SFUMATO_HOME"):
        return Path(chosen).expanduser().absolute() / "ledgers"
    data = Path(os.environ.get("XDG_DATA_HOME", ""))
    base = data if data.is_absolute() else Path.home() / ".local" / "share"
    return base / "sfumato" / "ledgers"
