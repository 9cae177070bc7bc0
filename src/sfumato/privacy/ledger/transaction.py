"""What a ledger's file holds: lines, a head, and a seal over the bytes of every page."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import os
import sqlite3
import uuid
from typing import Any

from sfumato.errors import InputError, LedgerError
from sfumato.privacy.ledger.entry import DEBIT, FIELDS, FORMAT, Entry, Head, canonical

APPLICATION = 0x5346554D  # "SFUM", at offset 68 of the file
_SCHEMA = (
    """CREATE TABLE entries (
  sequence INTEGER PRIMARY KEY,
  hash TEXT NOT NULL,
  previous TEXT NOT NULL,
  time TEXT NOT NULL,
  kind TEXT NOT NULL,
  release_id TEXT NOT NULL,
  method TEXT NOT NULL,
  label TEXT NOT NULL,
  guarantee TEXT NOT NULL
)""",
    f"CREATE UNIQUE INDEX one_debit_a_release ON entries (release_id) WHERE kind = '{DEBIT}'",
    """CREATE TRIGGER entries_are_never_changed BEFORE UPDATE ON entries
BEGIN SELECT RAISE(ABORT, 'a ledger is append-only'); END""",
    """CREATE TRIGGER entries_are_never_removed BEFORE DELETE ON entries
BEGIN SELECT RAISE(ABORT, 'a ledger is append-only'); END""",
    """CREATE TABLE head (
  id INTEGER PRIMARY KEY CHECK (id = 0),
  ledger TEXT NOT NULL,
  created TEXT NOT NULL,
  count INTEGER NOT NULL,
  hash TEXT NOT NULL,
  sqlite INTEGER NOT NULL,
  seal BLOB NOT NULL
)""",
)
_UNSEALED = bytes(32)
# What SQLite writes into page 1 as it commits: a change counter, twice, and its own version.
_COUNTER, _COUNTER_AGAIN, _VERSION = slice(24, 28), slice(92, 96), slice(96, 100)
_SQLITE = 1_000_000 * sqlite3.sqlite_version_info[0] + (
    1000 * sqlite3.sqlite_version_info[1] + sqlite3.sqlite_version_info[2]
)


RESTORE = "Restore a copy, and compare its last hash with the card of the last release."


def now() -> str:
    """The time as it is written into entries."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")


def one_line(message: object) -> str:
    """What SQLite says, which may run over lines and quote damaged text."""
    shown = "".join(c if c.isprintable() else " " for c in str(message))
    return " ".join(shown.split())[:200]


class Transaction:
    """One consistent view of the file; what :meth:`append` wrote is kept when it ends well."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def head(self) -> Head:
        """The two ends of the chain.

        Raises:
            LedgerError: If the head cannot be read.
        """
        row = self._one("SELECT ledger, created, count, hash FROM head")
        if row is None or [type(value) for value in row] != [str, str, int, str]:
            raise LedgerError("the head of the ledger cannot be read", RESTORE)
        return Head(*row)

    def entries(self) -> list[Entry]:
        """All lines in the order of their sequence.

        Raises:
            LedgerError: If a line cannot be read.
        """
        rows = self._connection.execute(f"SELECT {', '.join(FIELDS)} FROM entries ORDER BY 1")
        return [_entry(row) for row in rows]

    def append(self, kind: str, *, guarantee: dict[str, Any], **values: str) -> Entry:
        """Adds a line, moves the head and seals the file; durable once the transaction ends."""
        head = self.head()
        entry = Entry.after(head, time=now(), kind=kind, guarantee=guarantee, **values)
        row = [*(getattr(entry, name) for name in FIELDS[:-1]), canonical(guarantee)]
        marks = ", ".join("?" * len(row))
        self._connection.execute(f"INSERT INTO entries ({', '.join(FIELDS)}) VALUES ({marks})", row)
        self._write_head(head.moved_to(entry))
        return entry

    def lay_out(self) -> None:
        """Makes the tables of a new ledger."""
        for statement in _SCHEMA:
            self._connection.execute(statement)
        head = Head.first(uuid.uuid4().hex, now())
        self._connection.execute(
            "INSERT INTO head VALUES (0, ?, ?, 0, '', 0, zeroblob(32))", (head.ledger, head.created)
        )
        self._write_head(head)

    def check_format(self, name: str) -> None:
        """Refuses a file that is no ledger, or one of a newer format.

        Raises:
            InputError: Saying which.
        """
        application, version = (
            self._one(f"PRAGMA {setting}")[0] for setting in ("application_id", "user_version")
        )
        if application != APPLICATION:
            raise InputError(f"{name} is an SQLite database but no ledger", "Give another file.")
        if version > FORMAT:
            raise InputError(
                f"{name} is a ledger of format {version}, newer than format {FORMAT}",
                "Update sfumato.",
            )

    def problems(self) -> list[str]:
        """What is wrong with the file itself, one line each; empty if it is whole.

        SQLite's own check, the tables' definitions, and the seal over the bytes of every page:
        unused space included, the journal that a killed process left behind not.
        """
        found = [row[0] for row in self._connection.execute("PRAGMA integrity_check(5)")]
        problems = [f"SQLite: {one_line(line)}" for line in found if line != "ok"]
        schema = self._connection.execute("SELECT sql FROM sqlite_schema ORDER BY rowid")
        if [sql for (sql,) in schema] != list(_SCHEMA):
            problems.append("the definitions of the tables were changed")
        row = self._one("SELECT sqlite, seal FROM head")
        image = self._image()
        if row is None or image is None or row[1] == _UNSEALED:
            return problems
        version, seal = row
        if not isinstance(seal, bytes) or image.count(seal) != 1:
            problems.append("the seal cannot be read")
        elif _seal(image.replace(seal, _UNSEALED)) != seal:
            problems.append("bytes of the file were changed by something other than sfumato")
        return problems + self._header_problems(image, version)

    def _header_problems(self, image: bytes, version: int) -> list[str]:
        """Checks the bytes that the seal leaves out, because SQLite writes them on commit."""
        path = self._one("PRAGMA database_list")[2]
        if not path:
            return []
        problems = []
        if image[_COUNTER] != image[_COUNTER_AGAIN]:
            problems.append("the file's two change counters differ")
        if int.from_bytes(image[_VERSION], "big") != version:
            problems.append("the file's header does not name the SQLite that wrote it")
        if os.stat(path).st_size > len(image):
            problems.append("bytes were added at the end of the file")
        return problems

    def _write_head(self, head: Head) -> None:
        self._connection.execute(
            "UPDATE head SET count = ?, hash = ?, sqlite = ?, seal = zeroblob(32)",
            (head.count, head.hash, _SQLITE),
        )
        # Setting it to what it was brings page 1, and so the header's version, into the commit.
        self._connection.execute(f"PRAGMA user_version = {FORMAT}")
        image = self._image()
        if image is not None:
            # The new value has the old one's size, so nothing but these 32 bytes changes.
            self._connection.execute("UPDATE head SET seal = ?", (_seal(image),))

    def _image(self) -> bytes | None:
        """The file's bytes as this transaction sees them; None where SQLite cannot give them."""
        serialize = getattr(self._connection, "serialize", None)
        return None if serialize is None else serialize()

    def _one(self, query: str) -> Any:
        return self._connection.execute(query).fetchone()


def _seal(image: bytes) -> bytes:
    masked = bytearray(image)
    for part in (_COUNTER, _COUNTER_AGAIN, _VERSION):
        masked[part] = bytes(4)
    return hashlib.sha256(masked).digest()


def _entry(row: tuple[Any, ...]) -> Entry:
    *fields, text = row
    if type(fields[0]) is int and all(type(value) is str for value in (*fields[1:], text)):
        with contextlib.suppress(ValueError, RecursionError):
            guarantee = json.loads(text)
            if isinstance(guarantee, dict) and canonical(guarantee) == text:
                return Entry(**dict(zip(FIELDS, [*fields, guarantee], strict=True)))
    raise LedgerError(f"entry {row[0]} cannot be read", RESTORE)
