"""A crash may waste budget; it never spends twice. See ``checks/crash.py``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from battery.cases import cases
from battery.checks import crash
from battery.row import Row
from sfumato.privacy.ledger import Ledger
from sfumato.release.release import Release

CHILD = """
import os, signal, sys
from pathlib import Path
home, moment = Path(sys.argv[1]), sys.argv[2]
sys.path.insert(0, sys.argv[3])

from battery.data import PEOPLE, people
from sfumato.privacy.budget import Budget
from sfumato.privacy.ledger import Ledger
from sfumato.privacy.noise import SeededSource
from sfumato.publish.tables.independent import Independent
from sfumato.release import release as release_module

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

class Deadly(SeededSource):
    uint64 = die

ledger = Ledger.open(home / "ledger.db")
made = Independent(seed=1).calibrate(Budget(1.0), PEOPLE)
source = SeededSource(0)
if moment == "before the debit":
    ledger.debit = die
elif moment == "first noise":
    source = Deadly(0)
release = made(people(0), ledger=ledger, source=source)
if moment == "renaming":
    release_module.os.rename = die
release.save(home / "release")
print("survived")
"""


@cases(crash.check_debit_before_noise)
def test_killed_at_any_call_the_ledger_is_whole_and_noise_is_paid_for(row: Row) -> None:
    crash.check_debit_before_noise(row)


@cases(crash.check_refused_data_cost_nothing)
def test_refused_data_cost_nothing(row: Row) -> None:
    crash.check_refused_data_cost_nothing(row)


@cases(crash.check_save_is_whole)
def test_killed_while_saving_a_release_is_absent_or_whole(row: Row) -> None:
    crash.check_save_is_whole(row)


@pytest.mark.parametrize(
    ("moment", "debits"), [("before the debit", 0), ("first noise", 1), ("renaming", 1)]
)
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_a_killed_process_leaves_a_whole_ledger_and_no_half_release(
    moment: str, debits: int, tmp_path: Path
) -> None:
    battery = str(Path(__file__).parents[1])
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path), moment, battery],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    ledger = Ledger.open(tmp_path / "ledger.db", create=False)
    assert ledger.verify() == []
    assert len(ledger.entries()) == debits
    assert not (tmp_path / "release").exists()


def test_after_a_crash_the_next_run_is_paid_for_again_and_saved_whole(tmp_path: Path) -> None:
    from battery.data import people
    from battery.table import METHODS

    row = METHODS[0]
    made, ledger = row.make(row.budget), Ledger.open(tmp_path / "ledger.db")

    class Deadly(crash.Counting):
        def uint64(self, n: int):
            raise crash.Killed

    with pytest.raises(crash.Killed):
        made(people(0), ledger=ledger, source=Deadly())
    release = made(people(0), ledger=ledger, source=crash.Counting())
    saved = release.save(tmp_path / "release")
    assert [entry.kind for entry in ledger.entries()] == ["debit", "debit"]
    assert ledger.entries()[1].hash == Release.load(saved.path).card.ledger["entry"]
    assert ledger.verify(known=[release.card.ledger["entry"]]) == []
