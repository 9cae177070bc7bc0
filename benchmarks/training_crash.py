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
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from ledger_crash import machine

from sfumato.learn.checkpoint import load
from sfumato.learn.clipping import Flat
from sfumato.learn.mechanism import DpSgd
from sfumato.learn.sampling import PoissonSampling
from sfumato.privacy.ledger import Ledger
from sfumato.versions import versions

STEPS = 3000
MECHANISM = DpSgd(PoissonSampling(200, 0.1), Flat(1.0), 4.0, STEPS, 1e-5)

TRAINING = """
import os, sys, warnings
import torch
from torch import nn
from sfumato.learn import mechanism
from sfumato.learn.clipping import Flat
from sfumato.learn.sampling import PoissonSampling
from sfumato.learn.trainer import PrivateTrainer
from sfumato.privacy.ledger import Ledger

folder, steps, rank, world, life = sys.argv[1], *map(int, sys.argv[2:])
warnings.simplefilter("ignore")
torch.set_num_threads(1)
if world > 1:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting-{life}", rank=rank, world_size=world
    )

class Logged(PoissonSampling):
    def draw(self, rows, source):  # the first thing that a step draws
        os.write(log, f"{one.steps_taken}\\n".encode())
        return super().draw(rows, source)

log = os.open(folder + "/drawn", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
module = nn.Sequential(nn.Linear(10, 20), nn.Tanh(), nn.Linear(20, 2))
one = PrivateTrainer(
    module,
    lambda outputs, targets: nn.functional.cross_entropy(outputs, targets, reduction="none"),
    torch.optim.Adam(module.parameters(), lr=0.01),
    mechanism.DpSgd(Logged(200, 0.1), Flat(1.0), 4.0, steps, 1e-5),
    (torch.ones(200, 10), torch.zeros(200, dtype=torch.long)),
    averaging=0.9,
    ledger=Ledger.open(folder + "/ledger.db"),
)
if os.path.exists(folder + "/checkpoint/checkpoint.json"):
    one.resume(folder + "/checkpoint")
os.write(1, b"begins\\n")
one.fit(checkpoint=folder + "/checkpoint", checkpoint_every=5)
os.write(1, b"ends\\n")
if world > 1:
    torch.distributed.destroy_process_group()
"""


def live(folder: Path, life: int, world: int, victim: int, delay: float | None) -> bool:
    """Starts the processes, kills one ``delay`` seconds into its training; whether it was killed.

    Raises:
        RuntimeError: If one that was not killed, nor left alone by it, failed.
    """
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TRAINING, str(folder), *map(str, (STEPS, rank, world, life))],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for rank in range(world)
    ]
    first = processes[victim].stdout
    assert first is not None
    if first.readline() == "begins\n" and delay is not None:
        time.sleep(delay)
        processes[victim].kill()
    ends = [(process, process.communicate(timeout=120)) for process in processes]
    killed = processes[victim].returncode == -signal.SIGKILL
    for process, (_, errors) in ends:
        if process.returncode not in (0, -signal.SIGKILL) and not (killed and world > 1):
            raise RuntimeError(errors)
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
        problems = list(ledger.verify())
        twice = [step for step, count in drawn.items() if count > 1]
        problems += [f"step {step} has drawn {drawn[step]} times" for step in twice]
        if killed < kills:
            problems.append(f"the training ended after {killed} kills")
        if state["taken"] != STEPS or max(drawn) > STEPS:
            problems.append(f"{state['taken']} steps were counted, the last drawn is {max(drawn)}")
        if [entry.guarantee for entry in debits] != [MECHANISM.guarantee().to_dict()]:
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
            "epsilon": MECHANISM.epsilon(),
            "violations": problems,
        }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--processes", type=int, default=1, help="that train as one")
    parser.add_argument("--longest", type=float, default=0.3, help="seconds that a life may last")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="the result file; default: benchmarks/results")
    chosen = parser.parse_args()
    rng = random.Random(chosen.seed)
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
