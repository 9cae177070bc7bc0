"""tables.marginals against tables.independent and a peer's MST and AIM, interleaved in one run.

    python benchmarks/marginals.py --peer PEER/bin/python    # with smartnoise-synth 1.0.8 in it
    python benchmarks/marginals.py --peer PEER/bin/python --library dpmm    # with dpmm 0.1.9 in it
    python benchmarks/marginals.py --ours tables.gan tables.augm --work trained.jsonl --out ...
    python benchmarks/marginals.py --ours tables.mcgen "tables.adaptive[importance=paid]" ...

Every run is a process of its own: ours is `sfumato publish --no-evaluate`, the peer's is
`marginals_peer.py` on the same public cells. Models are trained on the release and judged on the
real test part, which nothing was tuned on. A run that exceeds a limit of time or memory is
recorded as such. Settings follow a method's or synthesiser's name: ``aim[rounds=41]``.
Runs are appended to a work file as they end: an interrupted benchmark goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tables import WATCH

import sfumato
from sfumato.data import Table, datasets
from sfumato.measure import features, metrics
from sfumato.measure.task import Limits, majority, task_of
from sfumato.privacy.accounting import gaussian
from sfumato.publish.tables.bins import Cells
from sfumato.versions import installed, versions

REAL = "real data"
OURS = ("tables.marginals", "tables.independent")
LIBRARIES = {
    "smartnoise": ("smartnoise-synth", ("mst", "aim")),
    "dpmm": ("dpmm", ("mst", "aim", "privbayes")),
}
"""A peer's package, and its synthesisers."""
ESTIMATION = ("mbi", "jax")
"""What ``tables.marginals`` estimates cycles with."""
DELTA = 1e-6
BINS = 16
VALIDATE_SEED = 2026
FIFTEEN = (
    *("age", "class_of_worker", "education", "marital_status", "major_industry"),
    *("major_occupation", "race", "sex", "capital_gains", "capital_losses", "dividends"),
    *("tax_filer_status", "household_summary", "weeks_worked", "income"),
)
"""Columns of census-income much like those of the Adult data, for peers that cannot do with 41."""


class Coded:
    """A data set's rows as public cells, for peers, and back.

    Args:
        data: Its name.
        columns: Those that are kept; all if empty.
        validate: Whether a held-out fifth of the training part stands in for the test part.
    """

    def __init__(self, data: str, columns: Sequence[str] = (), validate: bool = False) -> None:
        self.table, self.test = (
            kept(datasets.load(data, part), columns) for part in ("train", "test")
        )
        if validate:
            self.table, self.test = self.table.split(0.2, VALIDATE_SEED)
        schema = self.table.schema
        ordered = [*schema.features, schema[schema.target or ""]]
        self.cells = [Cells.of(column, BINS, "refined", 2) for column in ordered]

    def save(self, path: Path, limit: int, seed: int) -> int:
        """Writes cells of at most so many rows; their number."""
        codes = self.table.codes()
        rows = np.stack([c.place(codes[c.column.name]) for c in self.cells], axis=1)
        if limit < len(rows):
            rows = rows[np.random.default_rng(seed).permutation(len(rows))[:limit]]
        levels = np.array([len(c) for c in self.cells])
        np.savez(path, rows=rows.astype(np.int32), levels=levels)
        return len(rows)

    def table_of(self, path: Path, seed: int) -> Table:
        """A released table from cells: uniform within each, as ours is."""
        rows, rng = np.load(path)["rows"].astype(np.int64), np.random.default_rng(seed)
        drawn = {c.column.name: c.draw(rows[:, j], rng) for j, c in enumerate(self.cells)}
        return Table.from_codes(drawn, self.table.schema)


def kept(table: Table, columns: Sequence[str]) -> Table:
    """The same rows with some of their columns."""
    if not columns:
        return table
    schema = replace(
        table.schema, columns=tuple(c for c in table.schema if c.name in columns), drop=()
    )
    codes = table.codes(list(columns))
    return Table.from_codes(codes, schema)


def watched(command: list[str], limit: float) -> dict[str, Any]:
    """A command's time and peak memory; where it was stopped or failed, that and what it used."""
    watch = [sys.executable, "-c", WATCH, *command]
    with subprocess.Popen(
        watch, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            out, err = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            return {"stopped_after": limit}
    used = dict(json.loads(out.splitlines()[-1])) if out.strip() else {}
    if process.returncode:
        said = err.strip().splitlines()[-1][:300] if err.strip() else "no message"
        return {"failed": said, "used": used}
    return used


def named(text: str) -> tuple[str, list[str]]:
    """What runs, and its settings.

    >>> named("tables.adaptive[importance=paid]")
    ('tables.adaptive', ['importance=paid'])
    """
    name, _, rest = text.removesuffix("]").partition("[")
    return name, [pair for pair in rest.split(",") if pair]


def synthesiser(text: str) -> tuple[str, dict[str, Any]]:
    """A peer's synthesiser and its settings.

    >>> synthesiser("aim[rounds=41,max_model_size=8]")
    ('aim', {'rounds': 41, 'max_model_size': 8})
    """
    name, settings = named(text)
    return name, {key: json.loads(value) for key, value in (s.split("=") for s in settings)}


def label(library: str, text: str) -> str:
    """What a peer's runs are called: those of smartnoise-synth by the synthesiser alone."""
    return text if library == "smartnoise" else f"{library} {text}"


def scores(trained_on: Table, test: Table, seed: int) -> list[dict[str, Any]]:
    """What models trained on a table are worth on the real test part: p2 of `sfumato measure`."""
    limits = Limits()
    rng = np.random.default_rng(seed)
    task, read = task_of(test.schema, "table", seed, limits.epochs)
    train = read(trained_on, features.choose(len(trained_on), limits.train_rows, rng))
    held_out = read(test, features.choose(len(test), limits.test_rows, rng))
    found = [
        {"model": family, "metric": metric, "value": value}
        for family, fit in task.fit.items()
        for metric, (value, _) in metrics.classification(
            held_out.y, fit(train, lambda *_: None)(held_out.x)
        ).items()
    ]
    likely = majority(task, train.y, held_out.y)
    return [*found, *({"model": "majority", "metric": k, "value": v} for k, v in likely.items())]


def run(args: Any, coded: Coded, name: str, epsilon: float | None, seed: int) -> dict[str, Any]:
    """One release by one method, timed and scored."""
    row: dict[str, Any] = {"data": args.name, "method": name, "epsilon": epsilon, "seed": seed}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if name == REAL:
            row["scores"] = scores(coded.table, coded.test, seed)
        elif name in args.ours:
            rows = coded.table.num_rows
            coded.table.save(folder / "private")
            method, settings = named(name)
            command = [
                *(sys.executable, "-m", "sfumato", "publish", str(folder / "private/data.parquet")),
                *("--schema", str(folder / "private/schema.yaml"), "--holdout", "0"),
                *("--no-evaluate", "--epsilon", str(epsilon), "--delta", str(DELTA)),
                *("--method", method, "--out", str(folder / "out")),
                *("--ledger", str(folder / "ledger.db")),
                *(word for setting in settings for word in ("--set", setting)),
            ]
            row |= {"rows": rows, **watched(command, args.limit)}
            if "seconds" in row:
                release = sfumato.Release.load(folder / "out")
                row["proven"] = release.card.proven.epsilon()
                row["scores"] = scores(release.data, coded.test, seed)
        else:
            rows = coded.save(folder / "private.npz", args.peer_rows, seed)
            kind, settings = synthesiser(args.peers[name])
            more = {
                "settings": settings,
                "cpu_seconds": args.cpu_limit,
                "memory_mebibytes": args.memory_limit,
            }
            command = [
                *(args.peer, str(Path(__file__).with_name("marginals_peer.py"))),
                *(args.library, kind, str(epsilon), str(DELTA), str(seed)),
                *(str(folder / "private.npz"), str(folder / "released.npz"), json.dumps(more)),
            ]
            row |= {"rows": rows, **watched(command, args.limit)}
            if "seconds" in row:
                table = coded.table_of(folder / "released.npz", seed)
                row["scores"] = scores(table, coded.test, seed)
    if "seconds" in row:
        row["rows_per_second"] = round(row["rows"] / row["seconds"])
    return row


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean and range over the seeds of every figure, real data and the majority among them."""
    groups: dict[tuple[Any, ...], list[float]] = {}
    for row in rows:
        for cell in row.get("scores", ()):
            if cell["value"] is not None and (cell["model"] != "majority" or row["method"] == REAL):
                key = (row["data"], row["method"], row["epsilon"], cell["model"], cell["metric"])
                groups.setdefault(key, []).append(cell["value"])
    for row in rows:
        if "seconds" in row:
            for figure in ("seconds", "cpu_seconds", "peak_mebibytes", "rows_per_second"):
                key = (row["data"], row["method"], row["epsilon"], "cost", figure)
                groups.setdefault(key, []).append(row[figure])
    names = ("data", "method", "epsilon", "model", "metric")
    return [
        {
            **dict(zip(names, key, strict=True)),
            "mean": round(statistics.fmean(values), 4),
            "least": round(min(values), 4),
            "most": round(max(values), 4),
            "runs": len(values),
        }
        for key, values in groups.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="census-income")
    parser.add_argument("--columns", choices=["all", "fifteen"], default="all")
    parser.add_argument("--ours", nargs="*", default=list(OURS), help="none: a peer by itself")
    parser.add_argument("--validate", action="store_true", help="judge on held-out training rows")
    parser.add_argument("--peer", help="the interpreter of the peer's environment")
    parser.add_argument("--library", choices=list(LIBRARIES), default="smartnoise")
    parser.add_argument("--peers", nargs="*", help="its synthesisers; all if not given")
    parser.add_argument("--peer-rows", type=int, default=1 << 40)
    parser.add_argument("--epsilon", nargs="+", type=float, default=[0.5, 1.0, 4.0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--limit", type=float, default=1800.0, help="seconds of one run")
    parser.add_argument("--cpu-limit", type=float, help="processor seconds of a peer's run")
    parser.add_argument("--memory-limit", type=int, help="mebibytes of a peer's address space")
    parser.add_argument("--work", default="marginals.jsonl")
    parser.add_argument("--out", default="benchmarks/results/marginals.json")
    args = parser.parse_args()
    package, every = LIBRARIES[args.library]
    wished = every if args.peers is None else args.peers
    args.peers = {label(args.library, text): text for text in wished} if args.peer else {}
    work = Path(args.work)
    rows = [json.loads(line) for line in work.read_text().splitlines()] if work.exists() else []
    args.name = args.data if args.columns == "all" else f"{args.data}, 15 columns"
    args.name += ", held-out training rows" if args.validate else ""
    done = {(r["data"], r["method"], r["epsilon"], r["seed"]) for r in rows}
    coded = Coded(args.data, () if args.columns == "all" else FIFTEEN, args.validate)
    methods = [*args.ours, *args.peers]
    wanted = [(REAL, None, seed) for seed in args.seeds if args.ours]
    wanted += [(n, e, seed) for seed in args.seeds for e in args.epsilon for n in methods]
    for name, epsilon, seed in wanted:
        if (args.name, name, epsilon, seed) in done:
            continue
        row = run(args, coded, name, epsilon, seed)
        rows.append(row)
        with work.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps({k: v for k, v in row.items() if k != "scores"}), flush=True)
    report = {
        "command": "make bench-marginals PEER=.../bin/python"
        if args.ours == list(OURS)
        else " ".join(["python", *("PEER" if word == args.peer else word for word in sys.argv)]),
        "machine": {
            "cores": os.cpu_count(),
            "system": platform.platform(),
            "load": os.getloadavg(),
        },
        "limits": {
            "seconds": args.limit,
            "peer_cpu_seconds": args.cpu_limit,
            "peer_memory_mebibytes": args.memory_limit,
        },
        "versions": versions()
        | {package: peer_version(args.peer, package)}
        | {name: found for name in ESTIMATION if (found := installed(name))},
        **({"accounting": concentrated(args)} if args.peers and args.library == "dpmm" else {}),
        "summary": summary(rows),
        "runs": [{k: v for k, v in row.items() if k != "scores"} for row in rows],
    }
    Path(args.out).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def peer_version(peer: str | None, package: str) -> str:
    """Of a package in the peer's environment."""
    if peer is None:
        return "not run"
    asked = f"from importlib.metadata import version; print(version({package!r}))"
    ran = subprocess.run([peer, "-c", asked], capture_output=True, text=True, check=False)
    return ran.stdout.strip() or "unknown"


def concentrated(args: Any) -> list[dict[str, float]]:
    """The zCDP that dpmm takes for each budget, and the epsilon of Gaussian noise that has it.

    The latter is by loss distributions: how far below its budget the peer may be.
    """
    asked = (
        "import sys; from dpmm.models.base.mechanisms import cdp_rho; "
        "print(*(cdp_rho(float(e), float(sys.argv[1])) for e in sys.argv[2:]))"
    )
    budgets = [str(e) for e in sorted(args.epsilon)]
    ran = subprocess.run(
        [args.peer, "-c", asked, str(DELTA), *budgets], capture_output=True, text=True, check=True
    )
    return [
        {
            "epsilon": epsilon,
            "zcdp_rho": round(rho, 6),
            "epsilon_of_gaussian": round(gaussian.epsilon(DELTA, math.sqrt(2 * rho)), 4),
        }
        for epsilon, rho in zip(sorted(args.epsilon), map(float, ran.stdout.split()), strict=True)
    ]


if __name__ == "__main__":
    main()
