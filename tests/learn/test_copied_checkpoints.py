"""A copied checkpoint spends nothing twice: its steps are counted beside the ledger."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sfumato.errors import BudgetError, InputError, LedgerError
from sfumato.learn.clipping import Flat
from sfumato.learn.loop import PrivateLoop
from sfumato.learn.mechanism import DpSgd
from sfumato.learn.sampling import PoissonSampling
from sfumato.privacy.ledger import Ledger

ROWS, STEPS = 40, 7


def losses(outputs: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.cross_entropy(outputs, targets, reduction="none")


def private(ledger: Ledger | None) -> PrivateLoop:
    inputs = torch.randn(ROWS, 3, generator=torch.Generator().manual_seed(0))
    module = nn.Linear(3, 2)
    made = DpSgd(PoissonSampling(ROWS, 0.5), Flat(1.0), 1.0, STEPS, 1e-5)
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    data = (inputs, (inputs[:, 0] > 0).long())
    return PrivateLoop(module, optimizer, losses, data, made, ledger=ledger)


def stepped(loop: PrivateLoop, steps: int) -> PrivateLoop:
    for _ in range(steps):
        loop.backward()
        loop.optimizer.step()
    return loop


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger.open(tmp_path / "ledger.db")


@pytest.fixture
def twice(tmp_path: Path, ledger: Ledger) -> tuple[Path, Path]:
    """A checkpoint after two steps, and a copy of it."""
    first = stepped(private(ledger), 2)
    first.save(tmp_path / "work")
    first.close()
    shutil.copytree(tmp_path / "work", tmp_path / "copy")
    return tmp_path / "work", tmp_path / "copy"


def resumed(folder: Path, ledger: Ledger) -> PrivateLoop:
    loop = private(ledger)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loop.resume(folder)
    return loop


def test_what_one_copy_took_the_other_cannot_take(twice: tuple[Path, Path], ledger: Ledger) -> None:
    drawn = 0
    for folder in (*twice, *twice):
        loop = resumed(folder, ledger)
        drawn += loop.run.left if drawn else 3
        stepped(loop, loop.run.left if drawn > 3 else 3)
        loop.close()
    assert drawn == STEPS - 2  # of the two copies together
    last = resumed(twice[0], ledger)
    with pytest.raises(BudgetError):
        last.backward()


def test_steps_of_the_copy_are_told_as_lost(twice: tuple[Path, Path], ledger: Ledger) -> None:
    stepped(resumed(twice[0], ledger), 3).close()
    with pytest.warns(UserWarning, match="3 steps were begun after the checkpoint"):
        private(ledger).resume(twice[1])


def test_two_copies_do_not_train_at_once(twice: tuple[Path, Path], ledger: Ledger) -> None:
    first = resumed(twice[0], ledger)
    with pytest.raises(InputError, match="another process goes on with this training, from a copy"):
        private(ledger).resume(twice[1])
    stepped(first, 1).close()
    assert resumed(twice[1], ledger).run.taken == 3


def test_who_hides_the_ledger_does_not_get_the_steps_again(
    twice: tuple[Path, Path], ledger: Ledger
) -> None:
    with pytest.raises(LedgerError, match=r"and no ledger is given. Pass ledger=Ledger.open"):
        private(None).resume(twice[1])


@pytest.mark.parametrize("damaged", [True, False])
def test_without_the_count_beside_the_ledger_nothing_goes_on(
    twice: tuple[Path, Path], ledger: Ledger, damaged: bool
) -> None:
    assert ledger.path is not None
    (note,) = Path(f"{ledger.path}.begun").iterdir()
    note.write_text("what is this") if damaged else note.unlink()
    for _ in range(2):
        problem = "cannot be read" if damaged else "is missing"
        with pytest.raises(InputError, match=rf"{problem}. Put it back beside the ledger"):
            private(ledger).resume(twice[1])


def test_notes_beside_the_ledger_hold_a_name_and_a_number(
    twice: tuple[Path, Path], ledger: Ledger
) -> None:
    folder = Path(f"{ledger.path}.begun")
    (note,) = folder.iterdir()
    run, steps = note.read_text().split()
    assert (len(run), steps) == (32, "2")
    assert folder.stat().st_mode & 0o077 == note.stat().st_mode & 0o077 == 0
    assert ledger.verify() == []


def test_a_link_to_the_ledger_is_the_same_ledger(
    tmp_path: Path, twice: tuple[Path, Path], ledger: Ledger
) -> None:
    assert ledger.path is not None
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "link.db").symlink_to(ledger.path)
    stepped(resumed(twice[0], ledger), 3).close()
    other = Ledger.open(tmp_path / "elsewhere" / "link.db")
    assert resumed(twice[1], other).run.taken == 5


def test_a_training_that_the_ledger_refuses_leaves_no_note(tmp_path: Path, ledger: Ledger) -> None:
    from sfumato.privacy.budget import Budget

    ledger.set_ceiling(Budget(0.1, 1e-5))
    with pytest.raises(BudgetError):
        private(ledger).save(tmp_path / "work")
    assert not Path(f"{ledger.path}.begun").exists()
