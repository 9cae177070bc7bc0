"""A copied workspace spends nothing twice, whenever it was copied."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sfumato.data import Categorical, Numeric, Schema, Table
from sfumato.errors import InputError
from sfumato.learn.mechanism import Run
from sfumato.privacy.budget import Budget
from sfumato.privacy.ledger import Ledger
from sfumato.publish import units
from sfumato.publish.method import Calibrated
from sfumato.publish.models.dpsgd import DpSgdMethod
from sfumato.publish.models.output import OutputMethod

RECORDS = 60


class Killed(Exception):
    """What stands for the end of the process."""


def people() -> Table:
    rng = np.random.default_rng(0)
    codes = {"age": rng.integers(0, 10, RECORDS), "ill": rng.integers(0, 2, RECORDS)}
    schema = Schema((Numeric("age", 0, 9, 1), Categorical("ill", ("no", "yes"))), target="ill")
    return Table.from_codes(codes, schema)


def ready(method: Any) -> Calibrated:
    facts = people().schema.with_records(RECORDS)
    return units.calibrate(method, Budget(3.0, 1e-5), facts)


def dp_sgd() -> Calibrated:
    return ready(DpSgdMethod(epochs=1.0, expected_batch_size=10, device="cpu"))


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every step that draws noise."""
    taken: list[int] = []
    step = Run.step

    def counted(self: Run, *args: Any, **named: Any) -> Any:
        found = step(self, *args, **named)
        taken.append(self.taken)
        return found

    monkeypatch.setattr(Run, "step", counted)
    return taken


def until(step: int) -> Callable[[int, int, str], None]:
    def progress(done: int, total: int, label: str) -> None:
        if done == step:
            raise Killed

    return progress


@pytest.mark.filterwarnings("ignore:.*steps were begun after the checkpoint")
@pytest.mark.parametrize("copied_at", [0, 2])
def test_copies_of_a_training_take_its_steps_once(
    tmp_path: Path, steps: list[int], copied_at: int
) -> None:
    ledger, made = Ledger.open(tmp_path / "ledger.db"), dp_sgd()
    work, copy = tmp_path / "work", tmp_path / "copy"

    def progress(done: int, total: int, label: str) -> None:
        if done == copied_at and not copy.exists():
            shutil.copytree(work, copy)
        if done == 4:
            raise Killed

    if copied_at == 0:  # paid for, and nothing begun
        from sfumato.publish.workspace import paid

        paid(work, made, ledger, "0" * 32, "")
        shutil.copytree(work, copy)
    with pytest.raises(Killed):
        made(people(), ledger=ledger, workspace=work, progress=progress)
    total = made.run.training.mechanism.steps
    assert len(steps) == 4 < total
    if copied_at == 0:
        with pytest.raises(InputError, match="4 steps were begun in another copy of"):
            made(people(), ledger=ledger, workspace=copy)
        assert len(steps) == 4
    else:
        made(people(), ledger=ledger, workspace=copy)
        assert steps == list(range(1, total + 1))
    made(people(), ledger=ledger, workspace=work)
    assert steps == list(range(1, total + 1))
    assert len([e for e in ledger.entries() if e.kind == "debit"]) == 1


def test_a_value_that_is_drawn_once_is_not_drawn_in_a_copy(tmp_path: Path) -> None:
    from sfumato.publish.workspace import paid

    ledger, made = Ledger.open(tmp_path / "ledger.db"), ready(OutputMethod())
    paid(tmp_path / "work", made, ledger, "0" * 32, "")
    shutil.copytree(tmp_path / "work", tmp_path / "copy")
    made(people(), ledger=ledger, workspace=tmp_path / "work")
    with pytest.raises(InputError, match=r"drew it in a copy of this folder\. .* lost"):
        made(people(), ledger=ledger, workspace=tmp_path / "copy")
