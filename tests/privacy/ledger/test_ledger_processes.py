"""Several processes on one ledger, and processes that die at the worst moments.

The processes are forked and meet at barriers and pipes, so each race and each death happens at a
known place; nothing depends on how fast anything runs. benchmarks/ledger_crash.py does the same
with processes of their own, real publishing and random moments.
"""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType

import pytest

from sfumato.errors import BudgetError, LedgerError
from sfumato.privacy import accounting, events  # noqa: F401  # before the processes are forked
from sfumato.privacy.budget import Budget
from sfumato.privacy.guarantee import Central
from sfumato.privacy.ledger import Ledger
from sfumato.privacy.ledger.transaction import Transaction

FORK = multiprocessing.get_context("fork")
FIFTH = Central(events.PureDpEvent(0.2, "add-remove"), 0.0)

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def benchmark() -> ModuleType:
    file = Path(__file__).parents[3] / "benchmarks" / "ledger_crash.py"
    spec = importlib.util.spec_from_file_location("ledger_crash", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["ledger_crash"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


judge = benchmark().judge


def debit(ledger: Ledger, release_id: str) -> None:
    ledger.debit(FIFTH, release_id=release_id, method="m")


class RacyLedger(Ledger):
    """A planted defect: the check against the ceiling is outside of the debit's transaction."""

    barrier: multiprocessing.synchronize.Barrier

    def debit(self, guarantee, *, release_id, method, label=""):
        self.check(guarantee)
        self.barrier.wait(60)
        with self._store.writing() as transaction:
            return transaction.append(
                "debit",
                guarantee=json.loads(json.dumps(guarantee.to_dict())),
                release_id=release_id,
                method=method,
                label=label,
            )


def outcomes(processes: list, results) -> list[str]:
    """What the processes put into ``results``, once all have ended; their few words fit a pipe."""
    for one in processes:
        one.start()
    for one in processes:
        one.join()
    said = []
    while not results.empty():
        said.append(results.get())
    return said


def compete(path: Path, kind: type[Ledger], attempts: int) -> dict[str, int]:
    """Eight processes, all of which have seen budget left, debit as often as they can."""
    barrier, results = FORK.Barrier(8), FORK.SimpleQueue()

    def process(number: int) -> None:
        ledger = kind.open(path)
        if isinstance(ledger, RacyLedger):
            ledger.barrier = barrier
        else:
            ledger.check(FIFTH)
            barrier.wait(60)
        for attempt in range(attempts):
            try:
                debit(ledger, f"p{number}-{attempt}")
                results.put("paid")
            except BudgetError:
                results.put("refused")
            except LedgerError as error:
                results.put(str(error))

    processes = [FORK.Process(target=process, args=(number,)) for number in range(8)]
    said = outcomes(processes, results)
    return {word: said.count(word) for word in sorted(set(said))}


def overdrawn(path: Path) -> bool:
    ledger = Ledger.open(path)
    [total] = ledger.total()
    return total.epsilon > ledger.ceiling.epsilon * (1 + 1e-9)


def test_of_16_debits_by_8_processes_exactly_those_succeed_that_fit(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    Ledger.open(path).set_ceiling(Budget(1.0))
    assert compete(path, Ledger, attempts=2) == {"paid": 5, "refused": 11}
    assert not overdrawn(path)
    assert Ledger.open(path).verify() == []
    assert Ledger.open(path).left() == 0


def test_planted_defect_a_check_outside_the_transaction_overdraws(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    Ledger.open(path).set_ceiling(Budget(1.0))
    assert compete(path, RacyLedger, attempts=1) == {"paid": 8}
    assert overdrawn(path)


def test_8_processes_that_all_make_the_ledger_make_one(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    barrier = FORK.Barrier(8)

    def process(number: int) -> None:
        barrier.wait(60)
        debit(Ledger.open(path), f"p{number}")

    processes = [FORK.Process(target=process, args=(number,)) for number in range(8)]
    for one in processes:
        one.start()
    for one in processes:
        one.join()
    assert [one.exitcode for one in processes] == [0] * 8
    assert len(Ledger.open(path).entries()) == 8
    assert [file.name for file in tmp_path.iterdir()] == ["a.db"]


def test_one_release_is_paid_for_by_one_of_8_processes(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    Ledger.open(path)
    barrier, results = FORK.Barrier(8), FORK.SimpleQueue()

    def process() -> None:
        ledger = Ledger.open(path)
        barrier.wait(60)
        try:
            debit(ledger, "the-same")
            results.put("paid")
        except LedgerError as error:
            results.put("refused" if "paid for already" in str(error) else str(error))

    processes = [FORK.Process(target=process) for _ in range(8)]
    said = sorted(outcomes(processes, results))
    assert said == ["paid"] + ["refused"] * 7


Steps = Callable[[Path, Path, str, Callable[[str], None]], None]


def publish(ledger: Path, folder: Path, name: str, at: Callable[[str], None]) -> None:
    """Debits, then draws and writes; calls ``at`` wherever it may die."""
    at("opening")
    book = Ledger.open(ledger)
    at("debiting")
    _debit_stopping(book, name, at)
    at("acknowledged")
    _write(folder, name, at)
    at("published")


def publish_before_paying(ledger: Path, folder: Path, name: str, at: Callable[[str], None]) -> None:
    """A planted defect: noise is drawn, and the release written, before the debit."""
    at("opening")
    book = Ledger.open(ledger)
    _write(folder, name, at)
    at("debiting")
    _debit_stopping(book, name, at)
    at("acknowledged")
    at("published")


def _debit_stopping(book: Ledger, name: str, at: Callable[[str], None]) -> None:
    append = Transaction.append

    def stopping(self: Transaction, *arguments, **values):
        entry = append(self, *arguments, **values)
        at("written, not committed")
        return entry

    Transaction.append = stopping  # this process ends before anybody else could see it
    debit(book, name)
    at("committed, not acknowledged")


def _write(folder: Path, name: str, at: Callable[[str], None]) -> None:
    noise = os.urandom(64).hex()
    scratch = folder / f".{name}"
    scratch.mkdir()
    (scratch / "noise.txt").write_text(noise)
    at("half written")
    (scratch / "card.json").write_text(json.dumps({"release_id": name}))
    scratch.rename(folder / name)
    at("written")


MOMENTS = (
    "opening",
    "debiting",
    "written, not committed",
    "committed, not acknowledged",
    "acknowledged",
    "half written",
)


def kill_at(moment: str, steps: Steps, ledger: Path, folder: Path, name: str) -> bool:
    """Runs a publisher and kills it at ``moment``; whether its debit was acknowledged."""
    here, there = FORK.Pipe()

    def process(pipe: Connection) -> None:
        def at(place: str) -> None:
            pipe.send(place)
            pipe.recv()

        steps(ledger, folder, name, at)

    publisher = FORK.Process(target=process, args=(there,))
    publisher.start()
    acknowledged = False
    while (place := here.recv()) != moment:
        acknowledged |= place == "acknowledged"
        here.send("go on")
    os.kill(publisher.pid, signal.SIGKILL)
    publisher.join()
    assert publisher.exitcode == -signal.SIGKILL
    return acknowledged or moment == "acknowledged"


@pytest.fixture
def scene(tmp_path: Path) -> tuple[Path, Path]:
    folder = tmp_path / "releases"
    folder.mkdir()
    Ledger.open(tmp_path / "a.db").set_ceiling(Budget(100.0))
    return tmp_path / "a.db", folder


def test_12_deaths_lose_and_double_nothing(scene: tuple[Path, Path]) -> None:
    ledger, folder = scene
    told = []
    for number, moment in enumerate(MOMENTS * 2):
        name = f"r{number}"
        if kill_at(moment, publish, ledger, folder, name):
            told.append(name)
        outcome = judge(ledger, folder, told)
        assert outcome["violations"] == [], f"after death while {moment}"
    kill_at("published", publish, ledger, folder, "last")
    outcome = judge(ledger, folder, [*told, "last"])
    assert outcome["violations"] == []
    # Of each six, three died after their commit; one of the three before it was acknowledged.
    assert (outcome["debits"], outcome["releases"], outcome["acknowledged"]) == (7, 1, 5)
    assert outcome["debits_without_acknowledgement"] == 2
    debit(Ledger.open(ledger), "afterwards")
    assert Ledger.open(ledger).total()[0].epsilon == pytest.approx(8 * 0.2)


def test_planted_defect_a_debit_after_the_noise_is_caught(scene: tuple[Path, Path]) -> None:
    ledger, folder = scene
    kill_at("debiting", publish_before_paying, ledger, folder, "stolen")
    assert judge(ledger, folder, [])["violations"] == ["release stolen exists with 0 debits"]


def test_planted_defect_a_debit_that_is_not_on_the_disk_is_caught(
    scene: tuple[Path, Path],
) -> None:
    ledger, folder = scene
    kill_at("written, not committed", publish, ledger, folder, "hasty")
    found = judge(ledger, folder, ["hasty"])["violations"]
    assert found == ["hasty was acknowledged, its debit is lost"]


def test_the_judge_finds_copies_folders_without_a_card_and_damage(
    scene: tuple[Path, Path],
) -> None:
    ledger, folder = scene
    kill_at("published", publish, ledger, folder, "whole")
    (folder / "copy").mkdir()
    (folder / "copy" / "card.json").write_text((folder / "whole" / "card.json").read_text())
    (folder / "half").mkdir()
    assert judge(ledger, folder, ["whole"])["violations"] == [
        "half is a folder without a card",
        "release whole exists 2 times",
    ]
    raw = bytearray(ledger.read_bytes())
    raw[-1] ^= 1
    ledger.write_bytes(raw)
    assert "does not verify" in judge(ledger, folder, [])["violations"][0]
