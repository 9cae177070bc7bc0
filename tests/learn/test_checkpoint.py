"""Kill and resume at any step: the same accounting, the same training, and never a pickle."""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.forked import in_a_child
from torch import Tensor, nn

from sfumato.errors import BudgetError, InputError, LedgerError
from sfumato.learn import checkpoint
from sfumato.learn.adaptive import AdaptiveQuantile
from sfumato.learn.clipping import Flat
from sfumato.learn.engine import Engine
from sfumato.learn.mechanism import DpSgd
from sfumato.learn.sampling import PoissonSampling
from sfumato.learn.trainer import PrivateTrainer
from sfumato.privacy.budget import Budget
from sfumato.privacy.ledger import Ledger
from sfumato.privacy.noise import SeededSource

ROWS, STEPS = 40, 7


def loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.cross_entropy(outputs, targets, reduction="none")


def network(width: int = 4) -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, 2))


def sgd(module: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)


def mechanism(**changes: Any) -> DpSgd:
    settings = {
        "sampling": PoissonSampling(ROWS, 0.5),
        "clipping": Flat(1.0),
        "noise_multiplier": 1.0,
        "steps": STEPS,
        "delta": 1e-5,
    }
    return DpSgd(**(settings | changes))


def trainer(
    made: DpSgd | None = None,
    *,
    module: nn.Module | None = None,
    optimizer: Callable[[nn.Module], torch.optim.Optimizer] = sgd,
    rows: int = ROWS,
    **settings: Any,
) -> PrivateTrainer:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(rows, 3, generator=generator)
    module = module or network()
    return PrivateTrainer(
        module,
        loss,
        optimizer(module),
        made or mechanism(),
        (inputs, (inputs[:, 0] > 0).long()),
        **settings,
    )


def flat(module: nn.Module) -> Tensor:
    return torch.cat([p.detach().ravel() for p in module.parameters()])


@pytest.mark.parametrize("killed_after", range(STEPS + 1))
def test_resuming_at_any_step_gives_the_same_accounting(tmp_path: Path, killed_after: int) -> None:
    ledger = Ledger.in_memory()
    first = trainer(ledger=ledger, averaging=0.9)
    first.save(tmp_path)
    if killed_after:
        first.fit(killed_after, checkpoint=tmp_path, checkpoint_every=1)
    first.close()  # the process ends

    second = trainer(ledger=ledger, averaging=0.9)
    second.resume(tmp_path)
    assert second.steps_taken == killed_after
    assert torch.equal(flat(second.module), flat(first.module))
    assert first.average is not None
    assert second.average is not None
    for name, average in first.average.weights.items():
        assert torch.equal(second.average.weights[name], average)
    assert second.progress().epsilon == mechanism().epsilon(killed_after)
    second.fit(checkpoint=tmp_path)
    second.close()
    assert second.steps_taken == STEPS
    assert second.guarantee == trainer().guarantee
    assert [e.kind for e in ledger.entries()].count("debit") == 1
    with pytest.raises(BudgetError):
        second.step()
    third = trainer(ledger=ledger, averaging=0.9)
    third.resume(tmp_path)
    with pytest.raises(BudgetError):
        third.step()
    third.close()


@pytest.mark.parametrize(
    "optimizer",
    [
        sgd,
        lambda m: torch.optim.Adam(m.parameters(), lr=0.01, betas=(0.8, 0.95), amsgrad=True),
        lambda m: torch.optim.AdamW(m.parameters(), lr=0.01, weight_decay=0.1),
        lambda m: torch.optim.RMSprop(m.parameters(), lr=0.01, momentum=0.5),
        lambda m: torch.optim.SGD(
            [{"params": m[0].parameters(), "lr": 0.1}, {"params": m[2].parameters()}],
            lr=0.2,
            momentum=0.5,
        ),
    ],
    ids=["sgd", "adam", "adamw", "rmsprop", "groups"],
)
def test_a_resumed_training_is_the_one_that_was_not_killed(
    tmp_path: Path, optimizer: Callable[[nn.Module], torch.optim.Optimizer]
) -> None:
    def seed(step: int) -> SeededSource:
        return SeededSource(step)

    def made() -> PrivateTrainer:
        # Chunks of one length: those that adapt sum in another order after a resumption.
        engine = partial(Engine, chunk=16)
        return trainer(optimizer=optimizer, schedule=lambda step: 0.9**step, engine=engine)

    torch.manual_seed(0)
    whole, first = made(), made()
    first.module.load_state_dict(whole.module.state_dict())
    for step in range(STEPS):  # samples and noise by the step's own seed, so that runs can meet
        whole._loop.run.source = seed(step)
        whole.step()
    for step in range(3):
        first._loop.run.source = seed(step)
        first.step()
    first.save(tmp_path)
    first.close()
    second = made()
    second.resume(tmp_path)
    for step in range(3, STEPS):
        second._loop.run.source = seed(step)
        second.step()
    second.close()
    assert torch.equal(flat(second.module), flat(whole.module))
    first_group = second.optimizer.param_groups[0]
    if "betas" in first_group:
        assert first_group["betas"] in ((0.8, 0.95), (0.9, 0.999))


def test_steps_after_the_last_checkpoint_are_lost_but_counted(tmp_path: Path) -> None:
    first = trainer()
    first.fit(4, checkpoint=tmp_path, checkpoint_every=2)
    saved = flat(first.module).clone()
    first.step()
    first.step()  # noted before it drew its noise; then the process is killed
    first.close()
    second = trainer()
    with pytest.warns(UserWarning, match="2 steps were begun after the checkpoint"):
        second.resume(tmp_path)
    assert torch.equal(flat(second.module), saved)
    assert second.steps_taken == 6
    second.fit()
    second.close()
    assert second.steps_taken == STEPS  # one more step, not three: the budget is not spent twice


def test_slow_steps_are_saved_by_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(Exception):
        pass

    monkeypatch.setattr(checkpoint, "SECONDS", 0.0)

    def until(stand: Any) -> None:
        if stand.step == 5:
            raise Killed

    first = trainer()
    with pytest.raises(Killed):
        first.fit(checkpoint=tmp_path, progress=until)
    first.close()
    state, _ = checkpoint.load(tmp_path)
    assert state["taken"] == 5  # a hundred steps were not waited for


@pytest.mark.parametrize(("seconds", "found"), [(1e9, [3, 6]), (0.0, [1, 2, 3, 4, 5, 6])])
def test_a_checkpoint_is_due_by_steps_or_by_the_clock(
    monkeypatch: pytest.MonkeyPatch, seconds: float, found: list[int]
) -> None:
    monkeypatch.setattr(checkpoint, "SECONDS", seconds)
    due = checkpoint.Due(3)
    assert [step for step in range(1, 7) if due.after_a_step()] == found


def test_noise_and_samples_are_fresh_after_a_resumption(tmp_path: Path) -> None:
    first = trainer()
    first.fit(2, checkpoint=tmp_path)
    first.close()
    found = []
    for _ in range(2):
        copy = trainer()
        copy.resume(tmp_path)
        copy._loop._counter.begun(2)
        copy._loop.backward()
        copy._loop._counter.begun(2)  # type: ignore[union-attr]  # as if it had not been taken
        copy.close()
        found.append(torch.cat([p.grad.ravel() for p in copy.module.parameters()]))
    assert not (found[0] == found[1]).any()


def test_an_adaptive_clip_norm_is_continued(tmp_path: Path) -> None:
    made = mechanism(clipping=AdaptiveQuantile(initial=0.5, count_stddev=2.0))
    first = trainer(made)
    first.fit(3, checkpoint=tmp_path)
    first.close()
    second = trainer(made)
    second.resume(tmp_path)
    second.close()
    assert second._loop.run.clip_norm == first._loop.run.clip_norm != 0.5


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_process_is_continued_by_another(tmp_path: Path) -> None:
    def go(killed: bool) -> int:
        def run() -> None:
            def dying(outputs: Tensor, targets: Tensor) -> Tensor:
                if killed and one.steps_taken == 6:
                    os.kill(os.getpid(), signal.SIGKILL)  # in the middle of its sixth step
                return loss(outputs, targets)

            module = nn.Linear(3, 2)
            one = PrivateTrainer(
                module,
                dying,
                sgd(module),
                DpSgd(PoissonSampling(40, 0.9), Flat(1.0), 1.0, 9, 1e-5),
                (torch.zeros(40, 3), torch.zeros(40, dtype=torch.long)),
                ledger=Ledger.open(tmp_path / "ledger.db"),
            )
            if not killed:
                one.resume(tmp_path / "checkpoint")
            print("begins at", one.steps_taken)
            one.fit(checkpoint=tmp_path / "checkpoint", checkpoint_every=2)
            print("ends at", one.steps_taken)

        return in_a_child(run, tmp_path / "told")

    assert go(killed=True) == -signal.SIGKILL
    state, _ = checkpoint.load(tmp_path / "checkpoint")
    assert state["taken"] == 4
    assert go(killed=False) == 0
    assert (tmp_path / "told").read_text("utf-8").split("\n")[:2] == ["begins at 6", "ends at 9"]
    ledger = Ledger.open(tmp_path / "ledger.db")
    assert [e.kind for e in ledger.entries()].count("debit") == 1


def test_a_crash_while_saving_leaves_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = trainer()
    one.fit(2, checkpoint=tmp_path)
    saved = flat(one.module).clone()
    replace = os.replace

    def fails(source: Any, target: Any) -> None:
        if str(target).endswith("checkpoint.json"):
            raise OSError("no space left on device")
        replace(source, target)

    one.step()
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fails)
        with pytest.raises(OSError, match="no space"):
            one.save(tmp_path)
    one.close()
    second = trainer()
    with pytest.warns(UserWarning, match="1 steps were begun"):
        second.resume(tmp_path)
    second.close()
    assert torch.equal(flat(second.module), saved)
    assert second.steps_taken == 3


def test_what_an_unfinished_first_checkpoint_left_is_removed_and_nothing_else(
    tmp_path: Path,
) -> None:
    ours, others = tmp_path / "ours", tmp_path / "others"
    for folder in (ours, others):
        folder.mkdir()
        (folder / "steps").write_text(f"{'0' * 32} {0:>20}\n")
        (folder / "state-00000000-abc.safetensors.part").write_bytes(b"half")
        (folder / "checkpoint.json.part").write_bytes(b"half")
    (others / "thesis.tex").write_text("years of work")
    assert not checkpoint.found(ours)
    assert not ours.exists()
    with pytest.raises(InputError, match=r"holds no checkpoint, but 'thesis.tex'"):
        checkpoint.found(others)
    assert len(list(others.iterdir())) == 4


def test_one_checkpoint_is_kept_and_it_is_safetensors_and_json(tmp_path: Path) -> None:
    one = trainer(optimizer=lambda m: torch.optim.Adam(m.parameters()))
    one.fit(checkpoint=tmp_path, checkpoint_every=1)
    one.close()
    names = sorted(file.name for file in tmp_path.iterdir())
    assert len(names) == 3
    assert names[:1] + names[2:] == ["checkpoint.json", "steps"]
    assert names[1].startswith("state-00000007-")
    for file in tmp_path.iterdir():
        assert b"torch" not in file.read_bytes()[:4]
        assert not file.read_bytes().startswith((b"\x80", b"PK"))  # neither a pickle nor a zip
        assert file.stat().st_mode & 0o077 == 0  # for its owner alone
    state = json.loads((tmp_path / "checkpoint.json").read_text())
    assert state["noise"] == {"source": "cipher stream keyed from os-entropy", "secure": True}
    assert state["mechanism"] == mechanism().to_dict()


def damages() -> list[tuple[Callable[[Path], Any], str]]:
    def flip(folder: Path) -> None:
        (file,) = folder.glob("state-*")
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)

    def rewrite(**changes: Any) -> Callable[[Path], None]:
        def do(folder: Path) -> None:
            file = folder / "checkpoint.json"
            file.write_text(json.dumps(json.loads(file.read_text()) | changes))

        return do

    def without(name: str) -> Callable[[Path], None]:
        def do(folder: Path) -> None:
            file = folder / "checkpoint.json"
            state = json.loads(file.read_text())
            del state[name]
            file.write_text(json.dumps(state))

        return do

    return [
        (flip, "not those that were saved"),
        (lambda f: [file.unlink() for file in f.glob("state-*")], "cannot be used"),
        (lambda f: (f / "checkpoint.json").write_text("{"), "is no JSON"),
        (lambda f: (f / "checkpoint.json").unlink(), "no checkpoint in"),
        (rewrite(format=2), "not of format 1"),
        (rewrite(tensors={"file": "../elsewhere", "sha256": ""}), "lie elsewhere"),
        (rewrite(tensors=None), "cannot be used"),
        (without("run"), "checkpoint.json lacks 'run'"),
        (without("mechanism"), "checkpoint.json lacks 'mechanism'"),
        (without("rows"), "lacks 'rows'"),
        (without("taken"), "lacks 'taken'"),
        (without("clip_norm"), "lacks 'clip_norm'"),
        (without("ledger"), "lacks 'ledger'"),
        (without("optimizer"), "lacks 'optimizer'"),
        (without("values"), "lacks 'values'"),
        (without("tensors"), "cannot be used"),
        (rewrite(taken="2"), r"'taken' in .*checkpoint.json is '2', where int is written"),
        (rewrite(taken=True), "'taken' in .* is True"),
        (rewrite(taken=-1), "'taken' in .* is -1, and the training has 7 steps"),
        (rewrite(taken=8), "'taken' in .* is 8, and the training has 7 steps"),
        (rewrite(run=None), "'run' in .* is None, where str is written"),
        (rewrite(clip_norm="1"), "'clip_norm' in .* is '1', where float or nothing is written"),
        (rewrite(ledger={}), "checkpoint.json lacks 'entry'"),
        (rewrite(ledger={"entry": 7}), "'entry' in .* is 7, where str is written"),
        (rewrite(optimizer={"type": "SGD"}), "optimiser's state does not fit"),
        (
            rewrite(optimizer={"type": "SGD", "state": {}, "groups": [{"params": [0]}]}),
            "not fit .*'lr'",
        ),
        (rewrite(optimizer={"type": "SGD", "state": [], "groups": []}), "does not fit"),
        (rewrite(optimizer={"type": "SGD", "state": {}, "groups": 3}), "does not fit"),
        (lambda f: (f / "steps").unlink(), "no step counter"),
        (lambda f: (f / "steps").write_text("what is this"), "no step counter"),
        (lambda f: (f / "steps").write_text(f"{'0' * 32} 1\n"), "checkpoint of another training"),
    ]


@pytest.mark.parametrize(("damage", "problem"), damages())
def test_a_damaged_checkpoint_is_refused(
    tmp_path: Path, damage: Callable[[Path], Any], problem: str
) -> None:
    first = trainer()
    first.fit(2, checkpoint=tmp_path)
    first.close()
    damage(tmp_path)
    second = trainer()
    for _ in range(2):  # refused, and left as it was
        with pytest.raises(InputError, match=problem):
            second.resume(tmp_path)


@pytest.mark.parametrize(
    ("other", "problem"),
    [
        (lambda: trainer(mechanism(noise_multiplier=1.1)), "another mechanism"),
        (lambda: trainer(mechanism(steps=STEPS + 1)), "another mechanism"),
        (lambda: trainer(mechanism(clipping=Flat(2.0))), "another mechanism"),
        (lambda: trainer(rows=ROWS + 1), "another number of records"),
        (lambda: trainer(module=network(5)), "another module"),
        (lambda: trainer(optimizer=lambda m: torch.optim.Adam(m.parameters())), "optimiser SGD"),
        (lambda: trainer(averaging=0.9), "no average of the weights was kept in the checkpoint"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused(
    tmp_path: Path, other: Callable[[], PrivateTrainer], problem: str
) -> None:
    first = trainer()
    first.fit(2, checkpoint=tmp_path)
    first.close()
    second = other()
    with pytest.raises(InputError, match=problem):
        second.resume(tmp_path)
    second.close()


def test_two_trainings_cannot_share_a_folder(tmp_path: Path) -> None:
    first = trainer()
    first.fit(2, checkpoint=tmp_path)
    with pytest.raises(InputError, match="another process is training"):
        trainer().resume(tmp_path)  # both would take the same steps
    first.close()
    with pytest.raises(InputError, match="holds the checkpoint of another training"):
        trainer().fit(checkpoint=tmp_path)  # which would be lost
    again = trainer()
    again.resume(tmp_path)
    with pytest.raises(InputError, match="checkpoints of this training are in"):
        again.save(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="has begun"):
        again.resume(tmp_path)
    again.close()


def test_who_forgets_to_resume_is_told_before_a_second_debit(tmp_path: Path) -> None:
    ledger = Ledger.in_memory()
    first = trainer(ledger=ledger)
    first.fit(2, checkpoint=tmp_path)
    first.close()
    with pytest.raises(InputError, match=r"another training. Resume it"):
        trainer(ledger=ledger).fit(checkpoint=tmp_path)
    assert [e.kind for e in ledger.entries()].count("debit") == 1


def test_a_checkpoint_that_cannot_be_written_is_told_before_the_debit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger.in_memory()
    (tmp_path / "letter.txt").write_text("Dear")
    for place in (tmp_path / "letter.txt", tmp_path / "letter.txt" / "deeper"):
        with pytest.raises(InputError, match="is no folder that can be written to"):
            trainer(ledger=ledger).fit(checkpoint=place)

    def read_only(*_: Any) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", read_only)
        with pytest.raises(InputError, match=r"written to \(Read-only file system\)"):
            trainer(ledger=ledger).fit(checkpoint=tmp_path / "work")
    assert not [e for e in ledger.entries() if e.kind == "debit"]


def test_a_training_that_the_ledger_refuses_leaves_no_folder_behind(tmp_path: Path) -> None:
    ledger = Ledger.in_memory()
    ledger.set_ceiling(Budget(0.1, 1e-5))
    one = trainer(ledger=ledger)
    for _ in range(2):
        with pytest.raises(BudgetError):
            one.fit(checkpoint=tmp_path / "work")
    assert not (tmp_path / "work").exists()
    ledger.set_ceiling(Budget(100.0, 1e-4))
    one.fit(2, checkpoint=tmp_path / "work")
    one.close()
    other = trainer(ledger=ledger)
    other.resume(tmp_path / "work")
    assert other.steps_taken == 2
    other.close()


def test_a_ledger_without_the_entry_is_refused(tmp_path: Path) -> None:
    first = trainer(ledger=Ledger.in_memory())
    first.fit(2, checkpoint=tmp_path)
    first.close()
    with pytest.raises(LedgerError, match="which paid for this training"):
        trainer(ledger=Ledger.in_memory()).resume(tmp_path)


def test_an_optimiser_that_cannot_be_saved_is_refused(tmp_path: Path) -> None:
    class Odd(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            super().step(closure)
            self.state[self.param_groups[0]["params"][0]]["rule"] = object()

    one = trainer(optimizer=lambda m: Odd(m.parameters(), lr=0.1))
    one.step()
    with pytest.raises(InputError, match="optimiser's rule is a object"):
        one.save(tmp_path)


def test_tied_weights_and_half_precision_survive(tmp_path: Path) -> None:
    one, other = torch.randn(3, 4), torch.randn(5).bfloat16()
    tensors = {"a": one, "tied": one, "view": one.t(), "half": other, "none": torch.zeros(0)}
    checkpoint.save(tmp_path, {"taken": 1}, tensors)
    state, read = checkpoint.load(tmp_path)
    assert state["taken"] == 1
    for name, tensor in tensors.items():
        assert torch.equal(read[name], tensor)
        assert read[name].dtype == tensor.dtype


def test_a_training_that_is_forgotten_lets_go_of_its_folder(tmp_path: Path) -> None:
    first = trainer()
    first.fit(2, checkpoint=tmp_path)
    del first  # as in a notebook, where nobody closes anything
    second = trainer()
    second.resume(tmp_path)
    assert second.steps_taken == 2
    second.close()
