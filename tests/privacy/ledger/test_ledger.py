from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from sfumato.errors import BudgetError, InputError, LedgerError
from sfumato.privacy import events as ev
from sfumato.privacy.budget import Budget
from sfumato.privacy.guarantee import Central, Empirical, Metric, from_dict
from sfumato.privacy.ledger import Entry, Ledger, Total
from sfumato.privacy.ledger.entry import digest
from sfumato.privacy.neighbours import Neighbours


@pytest.fixture(params=["file", "memory"])
def book(request: pytest.FixtureRequest, tmp_path: Path) -> Ledger:
    return Ledger.in_memory() if request.param == "memory" else Ledger.open(tmp_path / "a.db")


def pure(epsilon: float, unit: str = "record") -> Central:
    return Central(ev.PureDpEvent(epsilon, "add-remove"), 0.0, unit)


def pay(book: Ledger, epsilon: float, release_id: str) -> Entry:
    return book.debit(pure(epsilon), release_id=release_id, method="tables.independent")


def test_a_new_ledger_is_empty_and_whole(book: Ledger) -> None:
    assert book.entries() == []
    assert book.total() == []
    assert book.ceiling is None
    assert book.remaining() is None
    assert book.left() is None
    assert book.verify() == []


def test_a_debit_is_an_entry_with_everything_in_it(book: Ledger) -> None:
    cost = Central(ev.GaussianDpEvent(3.0), 1e-6)
    made = book.debit(cost, release_id="r1", method="tables.independent", label="Grüße, ε")
    assert book.entries() == [made]
    assert (made.sequence, made.kind, made.release_id) == (1, "debit", "r1")
    assert (made.method, made.label) == ("tables.independent", "Grüße, ε")
    assert from_dict(made.guarantee) == cost
    assert made.hash == book.head
    assert made.hash == digest({k: v for k, v in made.to_dict().items() if k != "hash"})
    assert made.describe().startswith("central: ε = 1.4")
    assert made.describe().endswith("δ = 1e-06 for each record (add-remove)")


def test_entries_name_the_one_before(book: Ledger) -> None:
    lines = [pay(book, 0.1, f"r{number}") for number in range(3)]
    assert [line.previous for line in lines[1:]] == [line.hash for line in lines[:-1]]
    assert book.verify(known=[line.hash for line in lines]) == []
    assert book.verify(known=["f" * 64]) == [f"hash {'f' * 64} is not in this ledger"]


def test_a_ledger_is_the_same_when_opened_again(tmp_path: Path) -> None:
    first = Ledger.open(tmp_path / "a.db")
    first.set_ceiling(Budget(2.0))
    pay(first, 0.5, "r1")
    again = Ledger.open(str(tmp_path / "a.db"), create=False)
    assert again.entries() == first.entries()
    assert again.ceiling == Budget(2.0)
    assert again.remaining() == Budget(1.5)
    assert again.path == tmp_path / "a.db"


def test_a_release_is_paid_for_once(book: Ledger) -> None:
    pay(book, 0.1, "r1")
    with pytest.raises(LedgerError, match=r"release r1 was paid for already \(entry 1\)"):
        pay(book, 0.2, "r1")
    assert len(book.entries()) == 1


def test_an_overdraft_is_refused_with_the_amount_left_and_writes_nothing(tmp_path: Path) -> None:
    book = Ledger.open(tmp_path / "a.db")
    book.set_ceiling(Budget(1.0))
    pay(book, 0.75, "r1")
    before = (tmp_path / "a.db").read_bytes()
    with pytest.raises(BudgetError, match=r"asks for ε = 0\.5,.*ε = 0\.25 is left"):
        pay(book, 0.5, "r2")
    with pytest.raises(BudgetError, match=r"ε = 0\.25 is left"):
        book.check(pure(0.5))
    assert (tmp_path / "a.db").read_bytes() == before
    book.check(pure(0.25))
    assert (tmp_path / "a.db").read_bytes() == before
    pay(book, 0.25, "r2")
    assert book.remaining() is None
    assert book.left() == 0.0


def test_every_ceiling_is_an_entry_and_the_last_one_counts(book: Ledger) -> None:
    book.set_ceiling(Budget(1.0))
    pay(book, 1.0, "r1")
    book.set_ceiling(Budget(2.0, 1e-6))
    pay(book, 1.0, "r2")
    book.set_ceiling(Budget(0.5))
    assert [line.kind for line in book.entries()] == ["ceiling", "debit"] * 2 + ["ceiling"]
    assert book.entries()[2].guarantee == {"epsilon": 2.0, "delta": 1e-6}
    assert book.entries()[2].describe() == "ceiling: ε = 2, δ = 1e-06"
    assert book.ceiling == Budget(0.5)
    with pytest.raises(BudgetError, match="nothing is left"):
        pay(book, 0.001, "r3")
    assert book.verify() == []


def test_totals_are_read_off_at_the_ceilings_delta(book: Ledger) -> None:
    cost = Central(ev.GaussianDpEvent(3.0), 1e-4)
    book.debit(cost, release_id="r1", method="m")
    assert book.total()[0].delta == 1e-4
    book.set_ceiling(Budget(5.0, 1e-8))
    assert book.total()[0].delta == 1e-8
    assert book.total()[0].epsilon == cost.epsilon(1e-8)
    assert book.total(1e-3)[0].epsilon == cost.epsilon(1e-3)
    assert isinstance(book.total()[0], Total)


def test_a_line_of_a_guarantee_by_distance_says_what_is_counted(book: Ledger) -> None:
    worst = Central(ev.GaussianDpEvent(3.0), 1e-6, neighbours=Neighbours.REPLACE_ONE)
    line = book.debit(Metric(9.0, "a long text", worst_case=worst), release_id="r1", method="m")
    figures = f"ε = {worst.epsilon():.4g}, δ = 1e-06 for each record (replace-one)"
    assert line.describe() == f"metric, at any distance: {figures}"


def test_unproven_releases_are_recorded_without_a_ceiling(book: Ledger) -> None:
    line = book.debit(Empirical(("linkage.nearest",)), release_id="r1", method="m")
    assert line.describe() == "No privacy guarantee. Evidence only: linkage.nearest."
    assert [total.kind for total in book.total()] == ["empirical"]


@pytest.mark.parametrize(
    "words",
    [
        {"release_id": ""},
        {"method": ""},
        {"label": "two\nlines"},
        {"label": "\ud800"},
        {"release_id": "a\x00b"},
    ],
)
def test_names_that_cannot_be_shown_are_refused(book: Ledger, words: dict[str, str]) -> None:
    with pytest.raises(InputError, match=next(iter(words))):
        book.debit(pure(1.0), **{"release_id": "r", "method": "m", **words})
    assert book.entries() == []


def test_a_guarantee_that_could_not_be_read_back_is_refused(book: Ledger) -> None:
    unreadable = (
        Central(ev.PureDpEvent(1.0, "add-remove"), math.nan),
        Central(ev.GaussianDpEvent(-1.0), 1e-6),
        Empirical((b"bytes",)),  # type: ignore[arg-type]
    )
    for guarantee in unreadable:
        with pytest.raises(InputError):
            book.debit(guarantee, release_id="r", method="m")
    assert book.entries() == []


def test_an_export_holds_what_an_auditor_needs(book: Ledger) -> None:
    book.set_ceiling(Budget(1.0, 1e-6))
    lines = [pay(book, 0.25, "r1"), pay(book, 0.25, "r2")]
    values = json.loads(json.dumps(book.export(), allow_nan=False))
    assert values["verification"] == {"whole": True, "problems": []}
    assert values["head"] == lines[-1].hash
    assert values["ceiling"] == {"epsilon": 1.0, "delta": 1e-6}
    assert values["left"] == pytest.approx(0.5, abs=1e-3)
    assert values["totals"][0]["releases"] == 2
    # The chain can be checked from the JSON alone.
    previous = digest(
        {"sfumato_ledger": 1, "ledger": values["ledger"], "created": values["created"]}
    )
    for line in values["entries"]:
        assert line["previous"] == previous
        previous = digest({k: v for k, v in line.items() if k != "hash"})
        assert line["hash"] == previous
    assert previous == values["head"]


def test_an_export_of_a_damaged_ledger_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    book = Ledger.open(path)
    pay(book, 0.25, "a-release-id")
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"a-release-id", b"another-id-x"))
    verification = book.export()["verification"]
    assert not verification["whole"]
    assert any("entry 1 was altered" in problem for problem in verification["problems"])
    path.write_bytes(raw.replace(b'{"delta":0.0', b'{"delta" 0.0'))
    with pytest.raises(LedgerError, match="entry 1 cannot be read"):
        book.export()
    assert "entry 1 cannot be read" in book.verify()


def test_ledgers_live_under_the_users_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SFUMATO_HOME", raising=False)
    for relative in ("", "not/absolute"):  # the standard says to ignore relative paths
        monkeypatch.setenv("XDG_DATA_HOME", relative)
        expected = tmp_path / ".local/share/sfumato/ledgers/digits.db"
        assert Ledger.default_path("digits") == expected
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert Ledger.default_path("digits") == tmp_path / "data/sfumato/ledgers/digits.db"
    monkeypatch.setenv("SFUMATO_HOME", str(tmp_path / "house"))
    path = Ledger.default_path("My patients (2024)-1a2b")
    assert path == tmp_path / "house/ledgers/My patients (2024)-1a2b.db"
    assert not path.parent.exists()
    pay(Ledger.open(path), 0.5, "r1")
    assert path.is_file()
    assert path.parent.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "a\\b", "c:", "a\nb", "x" * 201])
def test_a_name_that_is_no_file_name_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="ledger name"):
        Ledger.default_path(name)


def test_threads_share_a_ledger(book: Ledger) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda number: pay(book, 0.125, f"r{number}"), range(12)))
    assert sorted(line.sequence for line in made) == list(range(1, 13))
    assert book.verify() == []


def test_importing_the_ledger_imports_nothing_heavy() -> None:
    heavy = ["dp_accounting", "scipy", "numpy", "pandas", "torch"]
    code = f"import sys, sfumato.privacy.ledger; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
