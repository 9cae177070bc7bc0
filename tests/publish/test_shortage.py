"""A full disk or too little memory: what is told, and what the ledger has."""

from __future__ import annotations

import errno
import json
import os
import resource
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from tests.forked import in_a_child

from sfumato.cli import app
from sfumato.data import Categorical, Schema, Table
from sfumato.errors import InputError, UnwrittenError
from sfumato.privacy.budget import Budget
from sfumato.privacy.ledger import Ledger
from sfumato.publish import shortage, workspace
from sfumato.publish.tables.independent import Independent

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/scratch/rows")


def facts() -> Schema:
    return Schema((Categorical("a", ("x", "y")), Categorical("b", ("u", "v"))), target="a")


def table() -> Table:
    return Table.from_codes({"a": [0, 1, 1], "b": [1, 1, 0]}, facts())


class Run:
    """Fails in one place."""

    resumable = True

    def __init__(self, error: Exception, *, check: bool = False) -> None:
        self.error, self.early = error, check

    def check(self, data: Any) -> None:
        if self.early:
            raise self.error

    def __call__(self, *given: Any) -> None:
        raise self.error


def failing(error: Exception, *, check: bool = False) -> Any:
    made = Independent().calibrate(Budget(1.0), facts())
    return replace(made, run=Run(error, check=check))


def test_what_ran_short_is_told_apart_from_other_errors() -> None:
    with pytest.raises(RuntimeError) as torch_error:
        torch.empty(1 << 55)
    for error in (
        MemoryError("x"),
        torch_error.value,
        torch.OutOfMemoryError("CUDA out of memory"),
    ):
        assert shortage.told(error) == "there was not enough memory"
    said = shortage.told(FULL)
    assert said == "a file could not be written (No space left on device: /scratch/rows)"
    other = SafetensorError("I/O error: No space left on device (os error 28)")
    assert shortage.told(other) == "a file could not be written (no space left on device)"
    for error in (OSError(errno.ENOENT, "no"), RuntimeError("shapes"), ValueError("no memory")):
        assert shortage.told(error) is None


@pytest.mark.parametrize("error", [FULL, MemoryError()])
def test_before_the_debit_it_is_bad_input_and_nothing_is_spent(error: Exception) -> None:
    ledger = Ledger.in_memory()
    with pytest.raises(InputError, match=r"(written|memory).*Nothing was spent: make room") as told:
        failing(error, check=True)(table(), ledger=ledger)
    assert told.value.exit_code == 2
    assert not ledger.entries()


def test_a_file_that_the_system_refuses_is_told_on_either_side_of_the_debit() -> None:
    error = OSError(errno.EROFS, os.strerror(errno.EROFS), "/media/kept")
    ledger = Ledger.in_memory()
    with pytest.raises(InputError, match=r"Read-only.*: /media/kept.*Nothing was spent: check"):
        failing(error, check=True)(table(), ledger=ledger)
    assert not ledger.entries()
    with pytest.raises(UnwrittenError, match=r"paid for \(ledger entry 1\)\. Check .*permissions"):
        failing(error)(table(), ledger=ledger)
    with pytest.raises(OSError, match="no such"):
        failing(OSError(errno.ENOENT, "no such"))(table(), ledger=ledger)


@pytest.mark.parametrize("error", [FULL, MemoryError(), InputError("the file is gone", "Look.")])
def test_after_the_debit_it_is_said_that_it_stands(error: Exception) -> None:
    ledger = Ledger.in_memory()
    with pytest.raises(UnwrittenError, match=r"paid for \(ledger entry 1\).*debited anew") as told:
        failing(error)(table(), ledger=ledger)
    assert told.value.exit_code == 7
    assert len(ledger.entries()) == 1


def test_other_faults_stay_what_they_are() -> None:
    for early in (True, False):
        with pytest.raises(ZeroDivisionError):
            failing(ZeroDivisionError(), check=early)(table(), ledger=Ledger.in_memory())


def test_a_run_with_a_checkpoint_goes_on_and_bad_input_then_costs_nothing(tmp_path: Path) -> None:
    ledger = Ledger.in_memory()
    with pytest.raises(UnwrittenError, match=r"goes on from its checkpoint, and pays nothing anew"):
        failing(FULL)(table(), ledger=ledger, workspace=tmp_path / "work")
    with pytest.raises(InputError, match="gone"):
        failing(InputError("gone"))(table(), ledger=ledger, workspace=tmp_path / "work")
    assert len(ledger.entries()) == 1


def test_a_draw_that_cannot_be_kept_is_said_to_be_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: Path, text: str) -> None:
        raise FULL

    monkeypatch.setattr(workspace, "write", full)
    with pytest.raises(UnwrittenError, match=r"while counts was drawn.*paid for and lost"):
        workspace.once(tmp_path, "counts", lambda: [1], drawn=True)
    with pytest.raises(InputError, match="died while it drew counts"):
        workspace.once(tmp_path, "counts", lambda: [1], drawn=True)
    with pytest.raises(OSError, match="No space"):
        workspace.once(tmp_path, "seeds", lambda: [1])


def test_the_command_line_on_a_disk_that_fills(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system refuses files above 300 kB, and the checkpoint is larger: exit code 7."""
    command = [
        *("sfumato", "publish", "dataset:digits", "--target", "label"),
        *("--epsilon", "1", "--method", "generators.dpgan", "--set", "latent=5000"),
        *("--set", "epochs=0.05", "--no-evaluate", "--ledger", str(tmp_path / "l.db")),
        *("--checkpoint", str(tmp_path / "work"), "--out", str(tmp_path / "release"), "--json"),
    ]
    monkeypatch.setattr(sys, "argv", command)

    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
        app.run()

    code = in_a_child(small, tmp_path / "told")
    told = json.loads((tmp_path / "told").read_text("utf-8"))
    assert code == told["exit_code"] == 7
    assert "File too large" in told["error"]
    assert "goes on from its checkpoint" in told["error"]
    assert len(Ledger.open(tmp_path / "l.db").entries()) == 1
    assert in_a_child(app.run, tmp_path / "told") == 0
    assert len(Ledger.open(tmp_path / "l.db").entries()) == 1
