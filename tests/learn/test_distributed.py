"""Two gloo processes train as one does. Statistical tests: false-alarm rate at most 1e-6 each."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rank_worker
import torch
from numpy.typing import NDArray
from scipy.stats import chi2
from test_sampling import is_poisson

from sfumato.errors import InputError
from sfumato.learn import ranks
from sfumato.learn.checkpoint import load
from sfumato.privacy.ledger import Ledger

pytestmark = pytest.mark.xdist_group("ranks")  # two processes, started once

ALARM = 1e-6
ROWS, RATE, STEPS = 2000, 0.1, 100


@pytest.mark.parametrize("sharded", [False, True], ids=["replicas", "sharded"])
@pytest.mark.parametrize(
    ("kind", "rate"),
    [
        ("flat", 0.25),
        ("per layer", 0.25),
        ("adaptive", 0.25),
        ("dynamic", 0.25),
        ("correlated", 0.25),
        ("flat", 0.02),
        ("adaptive", 1e-9),
    ],
)
def test_two_processes_train_as_one_does(
    two_ranks: Any, kind: str, rate: float, sharded: bool
) -> None:
    # At a rate of 0.02 one of the samples often is empty; at 1e-9 both are.
    first, second = two_ranks("trained", kind=kind, rate=rate, sharded=sharded)
    alone = rank_worker.trained(kind, rate)
    for name in ("weights", "average"):
        assert np.array_equal(first[name], second[name])  # the same bits
        assert np.allclose(first[name], alone[name], atol=1e-5, rtol=1e-5)
    assert first["clip_norm"] == second["clip_norm"] == alone["clip_norm"]
    assert first["taken"] == second["taken"] == alone["taken"]
    assert first["epsilon"] == second["epsilon"] == alone["epsilon"]
    assert first["gradient"] == ("DTensor" if sharded else "Tensor")


def is_added_once(noise: NDArray[np.float32]) -> bool:
    square = float((noise.astype(np.float64) ** 2).sum())
    return bool(chi2.ppf(ALARM / 2, noise.size) <= square <= chi2.isf(ALARM / 2, noise.size))


def test_noise_is_added_once_and_is_the_same_on_both(two_ranks: Any) -> None:
    first, second = two_ranks("noise")
    assert is_added_once(first)
    assert np.array_equal(first, second)


@pytest.mark.parametrize(
    ("defect", "variance"),
    [("everyone adds all", 2.0), ("equal seeds", 4.0), ("equal seeds, half each", 2.0)],
)
def test_the_same_test_sees_noise_that_every_process_adds(
    two_ranks: Any, defect: str, variance: float
) -> None:
    first, _ = two_ranks("noise", defect=defect)
    assert not is_added_once(first)
    assert is_added_once(first / np.float32(variance**0.5))


def of_both(two_ranks: Any, defect: str) -> list[NDArray[np.int64]]:
    first, second = two_ranks("samples", rows=ROWS, rate=RATE, steps=STEPS, defect=defect)
    return [np.array(sorted(a + b), np.int64) for a, b in zip(first, second, strict=True)]


def problems(samples: list[NDArray[np.int64]]) -> set[str]:
    """What tells the rows that both clipped in each step from a Poisson sample."""
    found = {name for name, right in is_poisson(samples, ROWS, RATE).items() if not right}
    if any(len(np.unique(sample)) < len(sample) for sample in samples):
        found.add("a row twice")
    return found


def test_both_parts_together_are_a_poisson_sample_and_no_row_is_in_both(two_ranks: Any) -> None:
    assert problems(of_both(two_ranks, "")) == set()


@pytest.mark.parametrize(
    ("defect", "expected"),
    [("each draws", "rate"), ("each draws, equal seeds", "a row twice")],
)
def test_the_same_test_sees_processes_that_draw_for_themselves(
    two_ranks: Any, defect: str, expected: str
) -> None:
    assert expected in problems(of_both(two_ranks, defect))


def test_a_row_that_two_processes_would_clip_is_refused(two_ranks: Any) -> None:
    found = two_ranks.answers("samples", rows=ROWS, rate=RATE, steps=1, defect="same rows on both")
    assert [kind for kind, _ in found] == ["InputError", "InputError"]
    assert "Clip the gradient of every record by itself" in found[0][1]


@pytest.mark.parametrize(
    ("what", "problem"),
    [
        ("clipping", "another mechanism"),
        ("rows", "another number of rows and another data set"),
        ("shard", "another data set"),
        ("module", "another module"),
        ("learning rate", "another optimiser"),
    ],
)
def test_processes_that_were_given_different_things_all_refuse(
    two_ranks: Any, what: str, problem: str
) -> None:
    (first, said), (second, why) = two_ranks.answers("given_other", what=what)
    assert first == second == "InputError"
    assert said.startswith("another process was given something else")
    assert why.startswith(f"process 1 was given {problem} than the first one")


@pytest.mark.parametrize(
    ("what", "problem"),
    [
        ("wrapped", "DistributedDataParallel '' sums gradients that are not clipped"),
        ("sharded alone", "lies on a (2,) mesh as (Shard(dim=0),), and 1 process(es) train"),
        ("directions", "several processes would each do training by directions"),
        ("not gathered", "the parameter '0.weight' is one process's part of it"),
    ],
)
def test_wrapped_modules_and_parts_of_other_trainings_are_refused(
    two_ranks: Any, what: str, problem: str
) -> None:
    for kind, message in two_ranks.answers("given_other", what=what):
        assert kind == "InputError"
        assert problem in message


def test_a_process_that_calls_something_else_is_told_so(two_ranks: Any) -> None:
    (first, _), (second, why) = two_ranks.answers("given_other", what="order of calls")
    assert first == "found"
    assert second == "InputError"
    assert why.startswith("the first process is at 'pay', this one at 'resume'")


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_fails_in_a_step_takes_the_others_with_it(two_ranks: Any, rank: int) -> None:
    answers = two_ranks.answers("fails_on", rank=rank)
    assert answers[rank] == ("ValueError", "no such target")
    assert answers[1 - rank][0] == "SfumatoError"
    assert "another process could not take its part" in answers[1 - rank][1]


def test_no_process_takes_more_steps_than_were_paid_for(two_ranks: Any) -> None:
    for kind, message in two_ranks.answers("too_many"):
        assert kind == "BudgetError"
        assert "all 2 steps" in message


def test_processes_that_are_told_to_train_alone_do(two_ranks: Any) -> None:
    first, second = two_ranks("by_themselves")
    assert not np.isclose(first, second).any()


def test_one_training_is_debited_once(two_ranks: Any, tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    first, second = two_ranks("paid", path=str(path), ceiling=100.0)
    assert first == second
    (entry,) = [e for e in Ledger.open(path).entries() if e.kind == "debit"]
    guarantee = rank_worker.mechanism().guarantee()
    assert entry.guarantee == guarantee.to_dict()
    assert first[1] == guarantee.epsilon()


@pytest.mark.parametrize("sharded", [False, True], ids=["replicas", "sharded"])
@pytest.mark.parametrize(
    ("what", "only", "said"),
    [
        ("loss", None, "the loss returned shape"),
        ("dtype", None, "dtype"),
        ("shape", None, "shape"),
        ("mixing", None, "the loss 'mixing' mixes examples"),
        ("fails", None, "no such target"),
        ("loss", 0, "the loss returned shape"),
        ("mixing", 1, "the loss 'mixing' mixes examples"),
        ("fails", 1, "no such target"),
    ],
)
def test_what_cannot_be_trained_fails_on_every_process_before_it_is_paid(
    two_ranks: Any, tmp_path: Path, what: str, only: int | None, said: str, sharded: bool
) -> None:
    path = tmp_path / "ledger"
    arguments = {"path": str(path), "what": what, "only": only, "sharded": sharded}
    for rank, (kind, message) in enumerate(two_ranks.answers("rehearsed", **arguments)):
        assert kind != "found"
        if only in (None, rank):
            assert said in message
        else:
            assert "another process could not take its part of the rehearsal" in message
    assert not Ledger.open(path).entries()


def test_a_refusing_ledger_stops_every_process(two_ranks: Any, tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    for kind, message in two_ranks.answers("paid", path=str(path), ceiling=0.01):
        assert kind == "BudgetError"
        assert "over the ceiling" in message
    assert all(e.kind != "debit" for e in Ledger.open(path).entries())


@pytest.mark.parametrize("adam", [False, True], ids=["momentum", "adam"])
@pytest.mark.parametrize("saved", [False, True], ids=["of replicas", "of parts"])
@pytest.mark.parametrize("resumed", [False, True], ids=["by replicas", "by parts"])
def test_a_checkpoint_is_written_by_the_first_and_continued_by_all(
    two_ranks: Any, tmp_path: Path, saved: bool, resumed: bool, adam: bool
) -> None:
    folder = tmp_path / "checkpoint"
    at, _ = two_ranks("saved", folder=str(folder), sharded=saved, adam=adam)
    state, _ = load(folder)
    assert state["taken"] == 3
    first, second = two_ranks("resumed", folder=str(folder), sharded=resumed, adam=adam)
    assert np.array_equal(first["before"], at)
    assert np.array_equal(second["before"], at)
    for name in ("weights", "average"):
        assert np.array_equal(first[name], second[name])
    assert first["taken"] == second["taken"] == 6
    state, _ = load(folder)
    assert state["taken"] == 6
    assert (folder / "steps").read_text().split()[1] == "6"


def test_one_process_continues_what_two_began_and_gets_what_they_would(
    two_ranks: Any, tmp_path: Path
) -> None:
    found = []
    for name, split in (("a", False), ("b", True), ("c", None)):
        folder = str(tmp_path / name)
        two_ranks("saved", folder=folder, sharded=True, adam=True)
        if split is None:
            found.append(rank_worker.resumed(folder, False, True))
        else:
            found.append(two_ranks("resumed", folder=folder, sharded=split, adam=True)[0])
    for other in found[1:]:
        assert np.allclose(other["weights"], found[0]["weights"], atol=1e-4)
        assert np.allclose(other["average"], found[0]["average"], atol=1e-4)


def test_processes_that_do_not_know_of_each_other_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="torchrun started 2 processes, and this one"):
        ranks.present()
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert isinstance(ranks.present(), ranks.Alone)


def test_parallel_wrappers_are_refused_by_one_process_too() -> None:
    with pytest.raises(InputError, match="DataParallel '' sums gradients that are not clipped"):
        rank_worker.trainer(module=torch.nn.DataParallel(rank_worker.network()))


KILLED = """
    import os, signal, sys
    import torch
    import torch.distributed as dist
    from torch import nn
    from sfumato.learn.clipping import Flat
    from sfumato.learn.mechanism import DpSgd
    from sfumato.learn.sampling import PoissonSampling
    from sfumato.learn.trainer import PrivateTrainer
    from sfumato.privacy.ledger import Ledger

    dist.init_process_group("gloo")
    folder, rank = sys.argv[1] + "/checkpoint", dist.get_rank()
    resumed = os.path.exists(folder + "/checkpoint.json")

    def loss(outputs, targets):
        if one.steps_taken == 6 and rank == 1 and not resumed:
            os.kill(os.getpid(), signal.SIGKILL)  # in the middle of its sixth step
        return nn.functional.cross_entropy(outputs, targets, reduction="none")

    module = nn.Linear(3, 2)
    one = PrivateTrainer(
        module, loss, torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9),
        DpSgd(PoissonSampling(40, 0.9), Flat(1.0), 1.0, 9, 1e-5),
        (torch.zeros(40, 3), torch.zeros(40, dtype=torch.long)),
        ledger=Ledger.open(sys.argv[1] + "/ledger.db"),
    )
    if resumed:
        one.resume(folder)
    if rank == 0:
        print("begins at", one.steps_taken, flush=True)
    one.fit(checkpoint=folder, checkpoint_every=2)
    if rank == 0:
        print("ends at", one.steps_taken, flush=True)
    dist.destroy_process_group()
"""


@pytest.mark.slow  # five starts of an interpreter
def test_torchrun_starts_a_killed_training_again_and_it_pays_and_counts_once(
    tmp_path: Path,
) -> None:
    script = tmp_path / "train.py"
    script.write_text(textwrap.dedent(KILLED))
    options = [
        "--standalone",
        "--nproc-per-node",
        "2",
        "--max-restarts",
        "1",
        "--monitor-interval",
        "0.1",
    ]
    ended = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *options, str(script), str(tmp_path)],
        capture_output=True,
        text=True,
        # Without it torchrun hands the addresses of the dead to those that it starts again.
        env={**os.environ, "OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"},
    )
    said = [line for line in ended.stdout.split("\n") if line.split(" ")[0] in ("begins", "ends")]
    assert said == ["begins at 0", "begins at 6", "ends at 9"], ended.stderr
    state, _ = load(tmp_path / "checkpoint")
    assert state["taken"] == 9
    entries = Ledger.open(tmp_path / "ledger.db").entries()
    assert [e.kind for e in entries].count("debit") == 1
