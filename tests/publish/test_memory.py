"""What a run says that it will take of memory."""

import json
import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from sfumato import registry
from sfumato.data import Categorical, ImageSet, Schema, datasets
from sfumato.measure.memory import peak
from sfumato.privacy.budget import Budget
from sfumato.privacy.ledger import Ledger
from sfumato.publish import memory

BUDGET = Budget(8.0, 1e-5)
MIB = 2**20


def few(**settings: Any) -> Any:
    """A short run on the package's digits, and these."""
    data = datasets.load("digits", split="train")
    method = registry.build("method", "generators.gpate", {"rounds": 2, **settings})
    return method.calibrate(BUDGET, data.schema.with_records(len(data))), data


def test_it_is_told_before_anything_is_paid_for() -> None:
    calibrated, data = few()
    ledger, seen = Ledger.in_memory(), []

    class Stopped:
        holds: ClassVar[dict[str, int]] = dict(memory.needed(calibrated) or {})

        def __call__(self, *given: Any) -> None:
            raise KeyboardInterrupt

    class Watch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append((record.levelno, record.getMessage(), len(ledger.entries())))

    log, watch = logging.getLogger("sfumato"), Watch()
    log.addHandler(watch)
    log.setLevel(logging.INFO)
    try:
        with pytest.raises(KeyboardInterrupt):
            replace(calibrated, run=Stopped())(data, ledger=ledger)
    finally:
        log.removeHandler(watch)
        log.setLevel(logging.NOTSET)
    assert len(ledger.entries()) == 1
    ((level, said, entries),) = seen
    assert (level, entries) == (logging.INFO, 0)
    assert said.startswith("generators.gpate: about ")
    assert "iB of memory (images 359.2 KiB, released images 89.8 KiB, teachers " in said


def test_too_little_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calibrated, _ = few()
    needed = memory.needed(calibrated)
    assert needed is not None
    for room, level in ((sum(needed.values()), logging.INFO), (2 * MIB, logging.WARNING)):
        monkeypatch.setattr(memory, "free", lambda room=room: room)
        caplog.clear()
        with caplog.at_level(logging.INFO, "sfumato"):
            memory.tell(calibrated)
        (record,) = caplog.records
        assert record.levelno == level
    assert "2.0 MiB are free. Publish fewer images, or where there is more memory." in caplog.text


def test_a_container_limits_what_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unlimited = memory.free()
    monkeypatch.setattr(memory, "_GROUP", tmp_path)
    (tmp_path / "memory.current").write_text(f"{3 * MIB}\n", "ascii")
    (tmp_path / "memory.max").write_text(f"{10 * MIB}\n", "ascii")
    assert memory.free() == 7 * MIB
    (tmp_path / "memory.max").write_text("max\n", "ascii")
    assert memory.free() > unlimited / 2


def test_more_records_and_more_samples_take_more() -> None:
    data = datasets.load("digits", split="train")
    for name in ("generators.cvae", "generators.merf", "generators.taught", "generators.datalens"):
        method = registry.build("method", name, {"samples": 1000})

        def of(records: int, method: Any = method) -> int:
            run = method.calibrate(BUDGET, data.schema.with_records(records))
            return sum((memory.needed(run) or {}).values())

        assert of(60_000) >= of(1000), name
        more = registry.build("method", name, {"samples": 3_000_000})
        assert of(1000, more) >= of(1000) + 3_000_000 * 64 - 64_000, name


def test_rows_are_streamed_and_nothing_is_said(caplog: pytest.LogCaptureFixture) -> None:
    facts = Schema([Categorical("colour", ("red", "blue"))], records=1000)
    method: Any = registry.build("method", "tables.independent", {})
    calibrated = method.calibrate(Budget(1.0), facts)
    assert memory.needed(calibrated) is None
    with caplog.at_level(logging.INFO, "sfumato"):
        memory.tell(calibrated)
    assert not caplog.records


def test_images_come_into_memory_once() -> None:
    n = 40_000
    images = ImageSet.from_arrays(np.zeros((n, 28, 28), np.uint8), np.zeros(n, int), ("a", "b"))
    with peak() as before:
        pass
    with peak() as most:
        found = images.images
    if before.mebibytes is None or most.mebibytes is None:
        pytest.skip("this system keeps no count of the peak")
    assert most.mebibytes - before.mebibytes < 1.2 * found.nbytes / MIB


@pytest.mark.slow
@pytest.mark.parametrize("label", ["generators.gpate[rounds=5]", "generators.cvae[epochs=1]"])
def test_about_so_much_is_taken(label: str) -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "benchmarks/memory.py", "--one", "--data", "digits"]
    done = subprocess.run(
        [*command, "--method", label], check=True, capture_output=True, text=True, cwd=root
    )
    row = json.loads(done.stdout.splitlines()[-1])
    assert 0.4 * row["told"] < row["taken"] < 1.2 * row["told"]
