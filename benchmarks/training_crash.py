"""Kills trainings at random moments, resumes them, and checks what they drew and paid.

A training is killed with SIGKILL at a random moment of its steps and checkpoints, started again
from its checkpoint, and so on; the last life ends by itself. Before anything is drawn in a step,
the process that draws writes the step's number to a log of its own.

    python benchmarks/training_crash.py                # one process, 30 kills
    python benchmarks/training_crash.py --processes 2 --kills 10    # one of two, by chance

Afterwards, and this is what the result records: no step has drawn twice, no more steps have drawn
than were paid for, the ledger verifies and holds one debit of the mechanism's guarantee, and the
training has counted all of its steps.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from ledger_crash import machine
from torch import nn

from sfumato.learn.checkpoint import is_whole, load
from sfumato.learn.clipping import Flat
from sfumato.learn.mechanism import DpSgd
from sfumato.learn.sampling import PoissonSampling
from sfumato.learn.trainer import PrivateTrainer
from sfumato.privacy.ledger import Ledger
from sfumato.versions import versions

FORK = multiprocessing.get_context("fork")  # a life begins in no time
STEPS = 1000
ROWS = 200


class Logged(PoissonSampling):
    """Notes the number of every step before it draws its sample, the first thing that it draws."""

    def __init__(self, folder: Path, told: int, trainer: list[PrivateTrainer]) -> None:
        super().__init__(ROWS, 0.1)
        object.__setattr__(self, "_log", (folder / "drawn", told, trainer))

    def draw(self, rows: int, source: Any) -> Any:
        """One sample."""
        path, told, (trainer,) = self._log  # type: ignore[attr-defined]
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(log, f"{trainer.steps_taken}\n".encode())
        os.close(log)
        os.write(told, b".")
        return super().draw(rows, source)


def mechanism(sampling: PoissonSampling) -> DpSgd:
    """What is accounted."""
    return DpSgd(sampling, Flat(1.0), 4.0, STEPS, 1e-5)


def train(
    folder: Path, life: int, rank: int, world: int, told: int, steps: int | None = None
) -> None:
    """What a process does: it goes on with the training of this folder, or begins it."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    if world > 1:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # whoever loses another says so at length
        meeting = f"file://{folder}/meeting-{life}"
        torch.distributed.init_process_group(
            "gloo", init_method=meeting, rank=rank, world_size=world
        )
    begun = is_whole(folder / "checkpoint")
    module = nn.Sequential(nn.Linear(10, 20), nn.Tanh(), nn.Linear(20, 2))
    itself: list[PrivateTrainer] = []
    trainer = PrivateTrainer(
        module,
        lambda outputs, targets: nn.functional.cross_entropy(outputs, targets, reduction="none"),
        torch.optim.Adam(module.parameters(), lr=0.01),
        mechanism(Logged(folder, told, itself)),
        (torch.ones(ROWS, 10), torch.zeros(ROWS, dtype=torch.long)),
        averaging=0.9,
        ledger=Ledger.open(folder / "ledger.db"),
    )
    itself.append(trainer)
    if begun:
        trainer.resume(folder / "checkpoint")
    trainer.fit(steps, checkpoint=folder / "checkpoint", checkpoint_every=5)
    trainer.close()
    if world > 1:
        torch.distributed.destroy_process_group()


def live(folder: Path, life: int, world: int, victim: int, delay: float | None) -> bool:
    """Starts the processes, kills one ``delay`` seconds after the first draw; whether it did.

    Raises:
        RuntimeError: If a process failed that nobody had killed, or that lost nobody.
    """
    hears, told = os.pipe()
    started = [
        FORK.Process(target=train, args=(folder, life, r, world, told)) for r in range(world)
    ]
    for process in started:
        process.start()
    os.close(told)
    os.read(hears, 1)
    if delay is not None:
        time.sleep(delay)
        started[victim].kill()
    while os.read(hears, 1 << 16):  # until all have ended
        pass
    for process in started:
        process.join()
    os.close(hears)
    killed = started[victim].exitcode == -signal.SIGKILL
    if not killed and any(process.exitcode for process in started):
        raise RuntimeError(f"exit codes {[process.exitcode for process in started]}")
    return killed


def run(kills: int, world: int, longest: float, rng: random.Random) -> dict[str, Any]:
    """Kills one training ``kills`` times and judges what it left."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        Ledger.open(folder / "ledger.db")
        killed = life = 0
        victims: Counter[int] = Counter()
        while killed < kills:
            victim = rng.randrange(world)
            if not live(folder, life, world, victim, rng.uniform(0.0, longest)):
                break  # it ended first
            killed, life = killed + 1, life + 1
            victims[victim] += 1
        if killed == kills:
            live(folder, life, world, 0, None)
        state, _ = load(folder / "checkpoint")
        drawn = Counter(int(line) for line in (folder / "drawn").read_text().split())
        ledger = Ledger.open(folder / "ledger.db", check=False)
        debits = [entry for entry in ledger.entries() if entry.kind == "debit"]
        paid = mechanism(PoissonSampling(ROWS, 0.1)).guarantee()
        problems = list(ledger.verify())
        twice = [step for step, count in drawn.items() if count > 1]
        problems += [f"step {step} has drawn {drawn[step]} times" for step in twice]
        if killed < kills:
            problems.append(f"the training ended after {killed} kills")
        if state["taken"] != STEPS or max(drawn) > STEPS:
            problems.append(f"{state['taken']} steps were counted, the last drawn is {max(drawn)}")
        if [entry.guarantee for entry in debits] != [paid.to_dict()]:
            problems.append(f"{len(debits)} debits, or of another guarantee")
        return {
            "processes": world,
            "kills": killed,
            "killed": {f"process {rank}": victims[rank] for rank in range(world)},
            "steps_paid_for": STEPS,
            "steps_counted": state["taken"],
            "steps_that_drew": len(drawn),
            "steps_counted_that_did_not_draw": STEPS - len(drawn),
            "debits": len(debits),
            "epsilon": paid.epsilon(),
            "violations": problems,
        }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--processes", type=int, default=1, help="that train as one")
    parser.add_argument("--longest", type=float, default=0.3, help="seconds after the first draw")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="the result file; default: benchmarks/results")
    chosen = parser.parse_args()
    rng = random.Random(chosen.seed)
    with tempfile.TemporaryDirectory() as scratch:  # what is imported late, once for all lives
        hears, told = os.pipe()
        train(Path(scratch), 0, 0, 1, told, steps=2)
        os.close(hears)
        os.close(told)
    started = time.perf_counter()
    result = {
        **run(chosen.kills, chosen.processes, chosen.longest, rng),
        "seed": chosen.seed,
        "seconds": round(time.perf_counter() - started, 1),
        "machine": machine(),
        "versions": versions(),
    }
    name = "training_crash.json" if chosen.processes == 1 else "training_crash_shared.json"
    out = chosen.out or Path(__file__).parent / "results" / name
    out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))
    return 1 if result["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
