from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

import pytest

from sfumato.errors import InputError, LedgerError, SfumatoError
from sfumato.privacy.guarantee import Empirical
from sfumato.privacy.ledger import Ledger
from sfumato.privacy.ledger import store as store_module
from sfumato.privacy.ledger.store import Store

UNPROVEN = Empirical(("linkage.nearest",))


def filled(path: Path, lines: int = 4) -> Ledger:
    ledger = Ledger.open(path)
    for number in range(lines):
        ledger.debit(UNPROVEN, release_id=f"r{number}", method="m", label=f"λ {number}")
    return ledger


def found(path: Path) -> list[str]:
    """What opening or verifying a file says is wrong with it; one-line messages only."""
    try:
        problems = Ledger.open(path, create=False, check=False, timeout=0).verify()
    except SfumatoError as error:
        problems = [str(error)]
    finally:
        for journal in ("-wal", "-shm"):
            path.with_name(path.name + journal).unlink(missing_ok=True)
    assert all(problem and "\n" not in problem for problem in problems)
    return problems


def tampered(path: Path, *statements: str) -> list[str]:
    """The problems after somebody changed a ledger with another program."""
    filled(path)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("DROP TRIGGER entries_are_never_changed")
    connection.execute("DROP TRIGGER entries_are_never_removed")
    for statement in statements:
        connection.execute(statement)
    connection.close()
    return found(path)


def test_a_closed_ledger_is_one_file_in_wal_mode(tmp_path: Path) -> None:
    filled(tmp_path / "a.db")
    assert [file.name for file in tmp_path.iterdir()] == ["a.db"]
    connection = sqlite3.connect(tmp_path / "a.db")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_every_write_waits_for_the_disk(tmp_path: Path) -> None:
    store = Store(tmp_path / "a.db", 1.0)
    store.create()
    with store.writing() as transaction:
        setting = transaction._connection.execute("PRAGMA synchronous").fetchone()
    assert setting == (2,), "2 is FULL: in WAL mode a commit is synchronised before it returns"


def test_a_flipped_byte_anywhere_in_the_file_is_found(tmp_path: Path) -> None:
    # A run over all 16,384 bytes finds every one; here the header and each 61st byte after it.
    path = tmp_path / "a.db"
    filled(path)
    whole = path.read_bytes()
    assert found(path) == []
    for offset in [*range(100), *range(100, len(whole), 61)]:
        path.write_bytes(whole[:offset] + bytes([whole[offset] ^ 0x04]) + whole[offset + 1 :])
        assert found(path), f"byte {offset} was flipped and nothing said so"
    path.write_bytes(whole)
    assert found(path) == []


@pytest.mark.parametrize("kept", [0, 1, 99, 4096, 5000, 12288, -1])
def test_a_file_cut_short_is_found(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "a.db"
    filled(path)
    path.write_bytes(path.read_bytes()[:kept])
    assert found(path)


def test_bytes_after_the_end_are_found(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    filled(path)
    with path.open("ab") as handle:
        handle.write(b"x" * 4096)
    assert "added at the end" in found(path)[0]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET label = 'other' WHERE sequence = 2",
        'UPDATE entries SET guarantee = \'{"kind":"empirical","attacks":[]}\'',
        "UPDATE entries SET release_id = 'r9' WHERE sequence = 1",
        "UPDATE entries SET time = '2001-01-01' WHERE sequence = 4",
        "DELETE FROM entries WHERE sequence = 1",
        "DELETE FROM entries WHERE sequence = 3",
        "DELETE FROM entries WHERE sequence = 4",
        "DELETE FROM entries",
        "INSERT INTO entries SELECT 5, hash, previous, time, kind, 'x', method, label, guarantee "
        "FROM entries WHERE sequence = 4",
        "UPDATE entries SET sequence = CASE sequence WHEN 2 THEN -3 WHEN 3 THEN -2 END "
        "WHERE sequence IN (2, 3)",
        "UPDATE entries SET label = CAST(label AS BLOB)",
        "UPDATE entries SET guarantee = 'no json'",
        "UPDATE entries SET guarantee = '[1]'",
        "UPDATE entries SET guarantee = '{\"a\": NaN}'",
        "UPDATE head SET count = count - 1",
        "UPDATE head SET hash = previous FROM entries WHERE sequence = 4",
        "UPDATE head SET ledger = 'another'",
        "UPDATE head SET created = CAST(created AS BLOB)",
        "DELETE FROM head",
        "DROP TABLE head",
        "DROP TABLE entries",
        "UPDATE head SET seal = 'x'",
        "CREATE TRIGGER quiet BEFORE INSERT ON entries BEGIN SELECT RAISE(IGNORE); END",
        "VACUUM",
    ],
)
def test_tampering_through_sqlite_is_found(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "a.db"
    assert tampered(path, statement)
    with pytest.raises(LedgerError):
        Ledger.open(path)


def test_lines_that_agree_with_a_rewritten_head_are_still_found_by_their_hashes(
    tmp_path: Path,
) -> None:
    # The seal aside: the chain alone finds a changed label, and a tail cut off with its head moved
    # back is found by a hash noted elsewhere.
    problems = tampered(tmp_path / "a.db", "UPDATE entries SET label = 'z' WHERE sequence = 3")
    assert "entry 3 was altered: its fields do not give its hash" in problems


def test_an_older_copy_put_back_is_found_by_a_hash_noted_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    ledger = filled(path)
    older = path.read_bytes()
    printed = ledger.debit(UNPROVEN, release_id="last", method="m").hash
    assert ledger.verify(known=[printed]) == []
    path.write_bytes(older)
    assert ledger.verify() == []
    assert ledger.verify(known=[printed]) == [f"hash {printed} is not in this ledger"]


def test_the_append_only_triggers_stop_accidents(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    filled(path)
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in ("UPDATE entries SET label = ''", "DELETE FROM entries"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            connection.execute(statement)
    connection.close()
    assert found(path) == []


def test_a_debit_on_a_damaged_ledger_is_refused_and_does_not_seal_the_damage(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.db"
    ledger = filled(path)
    whole = bytearray(path.read_bytes())
    whole[2 * 4096 + 2000] ^= 1
    path.write_bytes(whole)
    for attempt in (
        lambda: ledger.debit(UNPROVEN, release_id="new", method="m"),
        ledger.entries,
        lambda: ledger.head,
    ):
        with pytest.raises(LedgerError, match="is damaged"):
            attempt()
    assert path.read_bytes() == bytes(whole)


def test_an_entry_whose_transaction_fails_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    ledger = filled(path, 1)

    def interrupted() -> None:
        with ledger._store.writing() as transaction:
            transaction.append("debit", release_id="x", method="m", label="", guarantee={})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [entry.release_id for entry in ledger.entries()] == ["r0"]
    assert ledger.verify() == []


def test_the_database_refuses_a_second_debit_of_a_release(tmp_path: Path) -> None:
    ledger = filled(tmp_path / "a.db", 1)

    def append_unasked() -> None:
        with ledger._store.writing() as transaction:
            transaction.append("debit", release_id="r0", method="m", label="", guarantee={})

    with pytest.raises(LedgerError, match="UNIQUE"):
        append_unasked()
    assert len(ledger.entries()) == 1


def test_the_header_names_the_sqlite_that_wrote_last(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    ledger = filled(path, 1)
    raw = bytearray(path.read_bytes())
    raw[96:100] = (3_050_000).to_bytes(4, "big")  # as if another version had written
    path.write_bytes(raw)
    assert "does not name the SQLite" in ledger.verify()[0]
    with ledger._store.writing() as transaction:
        transaction.append("debit", release_id="x", method="m", label="", guarantee={})
    assert ledger.verify() == []


def test_without_serialize_the_chain_still_guards_the_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sfumato.privacy.ledger.transaction import Transaction

    path = tmp_path / "a.db"
    with monkeypatch.context() as patch:
        patch.setattr(Transaction, "_image", lambda self: None)
        filled(path)
        assert found(path) == []
    assert found(path) == [], "a file without a seal is not taken for one with a broken seal"
    assert any(
        "altered" in problem
        for problem in tampered(
            tmp_path / "b.db", "UPDATE entries SET label = 'z' WHERE sequence = 3"
        )
    )


def test_a_lock_held_for_longer_than_the_timeout_is_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    filled(path, 1)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    impatient = Ledger.open(path, timeout=0)
    with pytest.raises(LedgerError, match="locked by another process"):
        impatient.debit(UNPROVEN, release_id="x", method="m")
    assert len(impatient.entries()) == 1, "readers do not wait for writers"
    other.execute("ROLLBACK")
    other.close()
    assert impatient.debit(UNPROVEN, release_id="x", method="m").sequence == 2


def test_busy_errors_that_sqlite_does_not_wait_for_are_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "a.db", 5.0)
    store.create()
    begin, failures = Store._begin, [sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_BUSY_RECOVERY]

    def unlucky(self: Store, *arguments: object) -> sqlite3.Connection:
        if failures:
            error = sqlite3.OperationalError("locking protocol")
            error.sqlite_errorcode = failures.pop()
            raise error
        return begin(self, *arguments)

    monkeypatch.setattr(Store, "_begin", unlucky)
    with store.writing() as transaction:
        assert transaction.head().count == 0
    assert not failures


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (sqlite3.SQLITE_READONLY, "cannot be opened"),
        (sqlite3.SQLITE_FULL, "could not be written"),
        (sqlite3.SQLITE_IOERR, "could not be written"),
        (sqlite3.SQLITE_CORRUPT, "is damaged"),
    ],
)
def test_errors_of_the_disk_are_one_line(tmp_path: Path, code: int, words: str) -> None:
    store = Store(tmp_path / "a.db", 0.0)
    store.create()

    def failing() -> None:
        with store.writing():
            error = sqlite3.OperationalError("disk")
            error.sqlite_errorcode = code
            raise error

    with pytest.raises(LedgerError, match=words):
        failing()


def test_a_folder_that_is_missing_or_a_file_that_is_no_ledger_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot make a ledger in .*No such file"):
        Ledger.open(tmp_path / "missing" / "a.db")
    with pytest.raises(InputError, match="there is no ledger"):
        Ledger.open(tmp_path / "a.db", create=False)
    with pytest.raises(InputError, match="is a folder"):
        Ledger.open(tmp_path)
    (tmp_path / "empty.db").touch()
    with pytest.raises(LedgerError, match="is empty"):
        Ledger.open(tmp_path / "empty.db")
    (tmp_path / "text.db").write_text("name,age\n" * 500)
    with pytest.raises(LedgerError, match="is no ledger"):
        Ledger.open(tmp_path / "text.db")
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE entries (a)")
    other.close()
    with pytest.raises(InputError, match="an SQLite database but no ledger"):
        Ledger.open(tmp_path / "other.db")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["empty.db", "other.db", "text.db"]


def test_a_newer_format_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    filled(path)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 2")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"format 2, newer than format 1\. Update sfumato"):
        Ledger.open(path)
    assert path.read_bytes() == before


def test_a_read_only_ledger_can_be_read_and_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.db"
    filled(path, 2)
    before = path.read_bytes()
    monkeypatch.setattr(os, "access", lambda *_: False)  # the tests may run as root
    ledger = Ledger.open(path)
    assert ledger.verify() == []
    assert len(ledger.entries()) == 2
    with pytest.raises(LedgerError, match="is read-only"):
        ledger.debit(UNPROVEN, release_id="x", method="m")
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.db"]


def test_a_read_only_ledger_with_a_journal_shows_what_the_journal_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.db"
    filled(path, 1)
    keeps_journal = sqlite3.connect(path)
    keeps_journal.execute("SELECT * FROM entries").fetchall()
    Ledger.open(path).debit(UNPROVEN, release_id="x", method="m")
    assert path.with_name("a.db-wal").stat().st_size > 0
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert len(Ledger.open(path).entries()) == 2
    keeps_journal.close()


def test_a_file_is_made_whole_also_without_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", no_links)
    filled(tmp_path / "a.db", 1)
    assert found(tmp_path / "a.db") == []
    assert [file.name for file in tmp_path.iterdir()] == ["a.db"]


def test_a_disk_that_fills_up_while_a_file_is_made_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left"):
        Ledger.open(tmp_path / "a.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("links", [True, False])
def test_making_a_file_leaves_one_made_meanwhile_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    path = tmp_path / "a.db"
    filled(path)
    before = path.read_bytes()
    if not links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(1, "no links")))
    Store(path, 1.0).create()
    assert path.read_bytes() == before


def test_a_folder_that_cannot_be_synchronised_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object) -> int:
        raise OSError(errno.EACCES, "not a file")

    monkeypatch.setattr(store_module.os, "open", refuses)
    store_module._sync_folder(tmp_path)


def test_names_with_spaces_question_marks_and_umlauts_are_only_names(tmp_path: Path) -> None:
    path = tmp_path / "Grüße %41 #1?mode=memory.db"
    filled(path)
    assert path.is_file()
    assert found(path) == []
