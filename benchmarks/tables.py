"""Table methods on all rows: time, memory, and what models trained on the release are worth.

    SFUMATO_DATA=... python benchmarks/tables.py            # census-income and german-credit

Each run is `sfumato publish --no-evaluate` in a process of its own, as a user would start it, so
time and memory are those of the whole command. Models are trained on the release and judged on the
data set's real test part; nothing was tuned on that part here.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import sfumato
from sfumato.data import datasets
from sfumato.measure.utility import utility
from sfumato.versions import versions

METHODS: dict[str, list[str]] = {
    "tables.independent": [],
    "tables.adaptive": [],
    "tables.adaptive paid": ["--set", "importance=paid"],
    "tables.gan": [],
    "tables.augm": [],
}


# A process between: the memory of a child counts that of the parent it was forked from.
WATCH = """
import json, resource, subprocess, sys, time
started = time.perf_counter()
status = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
seconds = time.perf_counter() - started
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps({
    "seconds": round(seconds, 2),
    "cpu_seconds": round(used.ru_utime + used.ru_stime, 2),
    "peak_mebibytes": round(used.ru_maxrss / 1024),
}))
sys.exit(status)
"""


def publish(data: str, method: str, epsilon: float, folder: Path) -> dict[str, Any]:
    """One command; its wall time and the largest memory of its process."""
    out = folder / f"{method}-{epsilon}-{time.monotonic_ns()}".replace(" ", "-")
    command = [
        *(sys.executable, "-m", "sfumato", "publish", f"dataset:{data}", "--no-evaluate"),
        *("--epsilon", str(epsilon), "--method", method.split()[0], *METHODS[method]),
        *("--out", str(out), "--ledger", str(folder / "ledger.db")),
    ]
    ran = subprocess.run(
        [sys.executable, "-c", WATCH, *command], capture_output=True, text=True, check=False
    )
    if ran.returncode:
        raise SystemExit(f"{' '.join(command)} failed: {ran.stderr}")
    return {"out": str(out), **json.loads(ran.stdout.splitlines()[-1])}


def scores(release: Any, data: str, seed: int) -> list[dict[str, Any]]:
    """Every cell of the utility matrix; p1 and the majority are the baselines."""
    train, test = datasets.load(data, "train"), datasets.load(data, "test")
    matrix = utility(release.data, train, test, seed=seed)
    cells = [
        {"model": s.model, "setting": s.setting, "metric": s.metric, "value": s.value}
        for s in matrix.scores
        if s.setting in ("p1", "p2")
    ]
    return [*cells, {"model": "majority", "setting": "p1", "metric": "all", **matrix.majority}]


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean and range over the seeds of every figure."""
    groups: dict[tuple[Any, ...], list[float]] = {}
    for row in rows:
        for cell in row["scores"]:
            if cell.get("value") is not None:
                key = (row["data"], row["method"], row["epsilon"])
                groups.setdefault(
                    (*key, cell["model"], cell["setting"], cell["metric"]), []
                ).append(cell["value"])
    names = ("data", "method", "epsilon", "model", "setting", "metric")
    return [
        {
            **dict(zip(names, key, strict=True)),
            "mean": round(statistics.fmean(values), 4),
            "least": round(min(values), 4),
            "most": round(max(values), 4),
        }
        for key, values in groups.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="+", default=["census-income", "german-credit"])
    parser.add_argument("--epsilon", nargs="+", type=float, default=[1.0, 4.0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--method", nargs="+", default=list(METHODS)[:3], choices=list(METHODS))
    parser.add_argument("--out", default="benchmarks/results/tables.json")
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for seed in args.seeds:
            for data in args.data:
                for epsilon in args.epsilon:
                    for method in args.method:
                        ran = publish(data, method, epsilon, Path(scratch))
                        release = sfumato.Release.load(ran.pop("out"))
                        row = {"data": data, "method": method, "epsilon": epsilon, "seed": seed}
                        row |= {"proven": release.card.proven.epsilon(), **ran}
                        rows.append({**row, "scores": scores(release, data, seed)})
                        print(json.dumps({k: v for k, v in rows[-1].items() if k != "scores"}))
    report = {
        "command": "python " + " ".join(sys.argv),
        "machine": {
            "cores": os.cpu_count(),
            "system": platform.platform(),
            "load": os.getloadavg(),
        },
        "versions": versions(),
        "summary": summary(rows),
        "runs": [{k: v for k, v in row.items() if k != "scores"} for row in rows],
    }
    Path(args.out).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
