"""Every example runs as it stands, from its own file, and leaves a release that can be loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sfumato.privacy.ledger import Ledger
from sfumato.release.release import Release

EXAMPLES = Path(__file__).parents[1] / "examples"
SHOWN = {
    "predict_a_class.py": "models trained on the release",
    "predict_a_number.py": "R2",
    "table_without_a_target.py": "copied row by row",
    "pictures.py": "10 classes",
    "trained_model.py": "differ by one record",
    "several_rows_a_person.py": "differ by one patient",
    "attack_anything.py": "nothing is proven to limit it",
}
DAILY = {"predict_a_class.py"}
"""The others are slow tests: they differ from it in one argument, or in the column, method or data
that they name, or do what other daily tests do."""
RELEASES_NOTHING = {"attack_anything.py"}
TORCHRUN = "torchrun.py"
"""Run by two processes, in a test of its own."""
ELSEWHERE = {"demo.py"}
"""Run by ``make demo``."""


def test_every_example_is_run_by_somebody() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == {*SHOWN, *ELSEWHERE, TORCHRUN}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in DAILY else [pytest.mark.slow]) for n in SHOWN]
)
def test_the_example_runs_as_it_stands(name: str, tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, EXAMPLES / name, tmp_path],
        env={**os.environ, "SFUMATO_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert SHOWN[name] in ran.stdout
    releases = sorted(tmp_path.glob("release*/card.json"))
    assert releases or name in RELEASES_NOTHING
    for card in releases:
        assert Release.load(card.parent).card.verify() == []


@pytest.mark.slow
def test_the_example_of_torchrun_trains_with_two_processes_and_goes_on(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    for _ in range(2):  # there is nothing left to be trained, or paid, for the second time
        ran = subprocess.run(
            [*command, "--nproc-per-node", "2", EXAMPLES / TORCHRUN, tmp_path],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        assert "200 steps, debited once" in ran.stdout
    entries = Ledger.open(tmp_path / "ledger.db").entries()
    assert [entry.kind for entry in entries].count("debit") == 1
