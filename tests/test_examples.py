"""Every example runs as it stands, from its own file, and leaves a release that can be loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
ELSEWHERE = {"demo.py", "torchrun.py"}
"""Run by ``make demo``, and with several processes by the tests of distributed training."""


def test_every_example_is_run_by_somebody() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == {*SHOWN, *ELSEWHERE}


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
