"""Kills publishers at random moments and checks that no debit is lost or doubled.

Each publisher is a process of its own that debits the ledger, draws noise and writes a release. It
says on a pipe which phase begins; the line after the debit is its acknowledgement. Another process
sends it SIGKILL at a random moment of a phase chosen in advance, so that all phases are hit equally
often. Several publishers share the ledger all along.

    python benchmarks/ledger_crash.py                  # the ledger itself, 200 kills
    python benchmarks/ledger_crash.py --real           # sfumato.api.publish on a bundled data set

Afterwards, and this is what the result records: the ledger verifies; every release on disk has
exactly one debit; no release has two; every acknowledged debit is in the ledger.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sfumato.privacy.budget import Budget
from sfumato.privacy.ledger import Ledger
from sfumato.versions import versions

DIRECT = """
import json, os, pathlib, sys, time
import numpy as np
from sfumato.privacy import accounting, events
from sfumato.privacy.guarantee import Central
from sfumato.privacy.ledger import Ledger
from sfumato.privacy.noise import SECURE, discrete_laplace

ledger, folder, name = sys.argv[1:]
def say(*words):  # one system call: a line is said or it is not
    os.write(1, (" ".join([str(time.monotonic()), *words]) + "\\n").encode())

cost = Central(events.DiscreteLaplaceDpEvent(0.02, 1), 0.0)
say("opening")
book = Ledger.open(ledger)
say("debiting")
entry = book.debit(cost, release_id=name, method="benchmark.counts")
say("drawing", entry.release_id)
counts = discrete_laplace(50.0, 200_000, SECURE)
say("writing")
scratch = pathlib.Path(folder, "." + name)
scratch.mkdir()
np.save(scratch / "counts.npy", counts)
(scratch / "card.json").write_text(json.dumps({"release_id": name, "ledger": entry.hash}))
scratch.rename(pathlib.Path(folder, name))
say("published")
"""

REAL = """
import os, pathlib, sys, time
from sfumato import api
from sfumato.privacy.ledger import Ledger

ledger, folder, name = sys.argv[1:]
def say(*words):  # one system call: a line is said or it is not
    os.write(1, (" ".join([str(time.monotonic()), *words]) + "\\n").encode())

debit = Ledger.debit

def told(self, *arguments, **named):
    say("debiting")
    entry = debit(self, *arguments, **named)
    say("drawing", entry.release_id)
    return entry

Ledger.debit = told
say("opening")
api.publish(
    "dataset:census-sample", target="income", epsilon=0.02, method="tables.independent",
    out=pathlib.Path(folder, name), ledger=ledger, evaluate=False,
)
say("published")
"""

PHASES: dict[str, tuple[str, ...]] = {
    "direct": ("starting", "opening", "debiting", "drawing", "writing")
}
PHASES["real"] = PHASES["direct"][:-1]  # drawing includes writing


@dataclass
class Watched:
    """What one publisher said, and when."""

    phases: list[str] = field(default_factory=lambda: ["starting"])
    times: list[float] = field(default_factory=lambda: [time.monotonic()])
    acknowledged: str | None = None
    killed: bool = False
    errors: str = ""

    @property
    def interrupted(self) -> bool:
        """Whether it was killed before its release was written."""
        return self.killed and self.phases[-1] != "published"


def watch(
    code: str, arguments: list[str], *, phase: str | None = None, delay: float = 0.0
) -> Watched:
    """Runs a publisher and kills it ``delay`` seconds into ``phase``; None lets it end."""
    seen = Watched()
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    assert process.stderr is not None
    executioner: threading.Timer | None = None
    if phase == "starting":
        executioner = threading.Timer(delay, process.kill)
        executioner.start()
    for line in process.stdout:
        when, word, *rest = line.split()
        seen.times.append(float(when))  # the publisher's own clock, which is the system's
        seen.phases.append(word)
        if rest:
            seen.acknowledged = rest[0]
        if word == phase:
            executioner = threading.Timer(delay, process.kill)
            executioner.start()
    seen.errors = process.stderr.read()
    seen.killed = process.wait() == -9
    if executioner is not None:
        executioner.cancel()
    return seen


def judge(ledger: Path, folder: Path, acknowledged: Iterable[str]) -> dict[str, Any]:
    """Holds the releases on disk and the acknowledged debits against the ledger."""
    book = Ledger.open(ledger, create=False, check=False)
    violations = [f"the ledger does not verify: {problem}" for problem in book.verify()]
    if violations:
        return {"violations": violations}
    debits = Counter(line.release_id for line in book.entries() if line.kind == "debit")
    releases: Counter[str] = Counter()
    for place in sorted(folder.iterdir()):
        if place.name.startswith(".") or place.name.endswith(".evaluation"):
            continue  # half-written, under a name that nobody takes for a release
        if not (place / "card.json").is_file():
            violations.append(f"{place.name} is a folder without a card")
            continue
        releases[json.loads((place / "card.json").read_text())["release_id"]] += 1
    for name, count in releases.items():
        if debits[name] != 1:
            violations.append(f"release {name} exists with {debits[name]} debits")
        if count != 1:
            violations.append(f"release {name} exists {count} times")
    told = set(acknowledged)
    violations += [f"{name} was debited {n} times" for name, n in debits.items() if n > 1]
    violations += [f"{name} was acknowledged, its debit is lost" for name in told - set(debits)]
    return {
        "debits": sum(debits.values()),
        "releases": sum(releases.values()),
        "acknowledged": len(told),
        "debits_without_release": sum((debits - releases).values()),
        "debits_without_acknowledgement": len(set(debits) - told),
        "violations": violations,
    }


def run(form: str, kills: int, workers: int, seed: int) -> dict[str, Any]:
    """Kills ``kills`` publishers, spread evenly over the phases, and judges what is left."""
    code, phases = {"direct": DIRECT, "real": REAL}[form], PHASES[form]
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(workers) as pool:
        ledger, folder = Path(scratch, "ledger.db"), Path(scratch, "releases")
        folder.mkdir()
        Ledger.open(ledger).set_ceiling(Budget(1000.0, 1e-6))

        def publisher(name: str, phase: str | None = None, delay: float = 0.0) -> Watched:
            return watch(code, [str(ledger), str(folder), name], phase=phase, delay=delay)

        undisturbed = list(pool.map(publisher, [f"whole-{n}" for n in range(4 * workers)]))
        spans = {
            phase: statistics.median(one.times[k + 1] - one.times[k] for one in undisturbed)
            for k, phase in enumerate(phases)
        }
        watched, number = list(undisturbed), 0
        while (killed := sum(one.interrupted for one in watched)) < kills:
            batch = []
            for _ in range(min(kills - killed, 10 * workers)):
                phase = phases[number % len(phases)]
                delay = rng.uniform(0.0, spans[phase])
                batch.append(pool.submit(publisher, f"release-{number}", phase, delay))
                number += 1
            watched += [future.result() for future in batch]
        told = [one.acknowledged for one in watched if one.acknowledged]
        outcome = judge(ledger, folder, told)
    outcome["violations"] += [one.errors for one in watched if one.errors]
    last = Counter(one.phases[-1] for one in watched if one.interrupted)
    return {
        "form": form,
        "publishers": len(watched),
        "killed": sum(one.interrupted for one in watched),
        "killed_after_publishing": sum(one.killed and not one.interrupted for one in watched),
        "killed_while": {phase: last[phase] for phase in phases},
        "median_seconds_of_phase": {phase: round(span, 5) for phase, span in spans.items()},
        "at_once": workers,
        "seed": seed,
        **outcome,
    }


def machine() -> dict[str, Any]:
    """What the figures were computed on."""
    cpu = Path("/proc/cpuinfo")
    models = (
        [line for line in cpu.read_text().splitlines() if "model name" in line]
        if (cpu.is_file())
        else []
    )
    return {
        "system": platform.system(),
        "processor": models[0].split(":")[1].strip() if models else platform.processor(),
        "cores": os.cpu_count(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--real", action="store_true", help="publish with sfumato.api.publish")
    parser.add_argument("--workers", type=int, default=3, help="publishers at once")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="the result file; default: benchmarks/results")
    chosen = parser.parse_args()
    form = "real" if chosen.real else "direct"
    started = time.perf_counter()
    result = run(form, chosen.kills, chosen.workers, chosen.seed)
    result["seconds"] = round(time.perf_counter() - started, 1)
    result["machine"] = machine()
    result["versions"] = {**versions(), "sqlite": sqlite3.sqlite_version}
    name = "ledger_crash_real.json" if chosen.real else "ledger_crash.json"
    out = chosen.out or Path(__file__).parent / "results" / name
    out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))
    return 1 if result["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
