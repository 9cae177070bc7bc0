"""Where to put the noise, at equal mu: what is left of DP-UTIL's claims with mechanisms that hold.

    python benchmarks/perturbation_points.py

writes ``benchmarks/results/perturbation_points.json``. Finished runs are kept under ``--cache``, so
that the same command goes on after an interruption; ``--only mnist-logistic`` runs one part, and
``--minutes 11`` stops between two runs when so much time has passed. ``--attack rmia`` and
``lira`` have 16 shadow models of the part's own kind of network; all releases of a seed are
attacked with the same ones, which are kept beside the runs.

Members and held-out records are parts of 6,000 records of each training part, parted anew by
every seed (4,000 to 2,000); the queries of the prediction point are records of the test part.
Budgets are the mu of epsilon 0.1, 1 and 10 at delta 1e-5, under replace-one. Five seeds for
logistic regression, three for the network, the source's: two hidden layers of 64.

``--equal epsilon`` gives those points whose noise is not Gaussian the (epsilon, delta) of the mu,
with which they have more mu, and writes ``perturbation_points_epsilon.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import sfumato.api
from sfumato.api.points import POINTS
from sfumato.data import datasets
from sfumato.privacy.accounting import gaussian
from sfumato.versions import versions

DELTA = 1e-5
EPSILONS = (0.1, 1.0, 10.0)
RECORDS, HELD_OUT = 6_000, 1 / 3
NETWORK = "dense:64:64"
PARTS: dict[str, tuple[str, str, int]] = {
    "mnist-logistic": ("mnist", "logistic", 5),
    "mnist-network": ("mnist", NETWORK, 3),
    "census-logistic": ("census-income", "logistic", 5),
    "census-network": ("census-income", NETWORK, 3),
}
TARGET = "sex"
"""Of the census: its usual target, income, is one class for 94 % of the people, whom every model
that knows nothing gets right; nothing would be seen of what noise costs."""
SETTINGS = {
    "gradient": "epochs=10,expected_batch_size=500,learning_rate=2.0",
    "prediction": "public_records=4000",
}


NOT_GAUSSIAN = ("input", "objective")
SHADOWS = {
    "logistic": "family=logistic regression,epochs=30",
    NETWORK: "family=MLP,epochs=30",
}
"""How shadow models are trained; the networks here have passes enough to fit what they can."""


def named(attack: str, network: str, cache: Path) -> str:
    """The attack with its settings, as a comparison takes it."""
    if attack == "loss":
        return "membership.loss"
    return (
        f"membership.{attack}[mode=online,shadows=16,max_targets=2000,workers=1,"
        f"{SHADOWS[network]},cache={cache / 'shadows'}]"
    )


class OutOfTime(Exception):
    """The time given is over; what was finished is kept."""


def until(end: float) -> Callable[[int, int, str], None]:
    """A progress callback that stops the work at a time."""

    def told(done: int, total: int, label: str) -> None:
        if time.monotonic() > end:
            raise OutOfTime

    return told


def private(name: str) -> Any:
    """The records that are parted into members and others."""
    whole: Any = datasets.load(name, "train")
    rows = np.sort(np.random.default_rng(0).permutation(len(whole))[:RECORDS])
    if name == "mnist":
        return whole.select(rows)
    table = whole.with_target(TARGET)
    schema = table.schema.with_records(None)
    codes = {column: values[rows] for column, values in table.codes().items()}
    return type(table).from_codes(codes, schema)


def run(part: str, cache: Path, end: float, most: int, attack: str, equal: str) -> dict[str, Any]:
    """One part, or what is left of it."""
    name, network, seeds = PARTS[part]
    folder = "-".join([part, *([] if attack == "loss" else [attack]), equal])
    public = f"dataset:{name}/test"
    began = time.perf_counter()
    found = sfumato.api.compare_points(
        private(name),
        mus=[round(gaussian.mu(epsilon, DELTA), 12) for epsilon in EPSILONS],
        delta=DELTA,
        network=network,
        public_data=public,
        settings=SETTINGS,
        seeds=range(min(seeds, most)),
        attack=named(attack, network, cache),
        equal=equal,
        points=POINTS if equal == "mu" else NOT_GAUSSIAN,
        holdout=HELD_OUT,
        out=cache / folder,
        device="cpu",
        progress=until(end),
    )
    print(part, round(time.perf_counter() - began, 1), "s", flush=True)
    return {
        "data": name,
        "target": found.target or "label",
        "network": network,
        "attack": named(attack, network, Path("CACHE")),
        "equal": equal,
        "records": RECORDS,
        "members": RECORDS - round(RECORDS * HELD_OUT),
        "majority": statistics.fmean(found.majority.values()),
        "refused": dict(found.refused),
        "rows": summary(found.rows),
        "versions": dict(found.versions),
    }


def summary(rows: Any) -> list[dict[str, Any]]:
    """Mean, spread and extremes over the seeds of each point at each mu."""
    lines = []
    for point, mu in dict.fromkeys((row.point, row.mu) for row in rows):
        group = [row for row in rows if (row.point, row.mu) == (point, mu)]
        first = group[0]
        lines.append(
            {
                "point": point,
                "method": first.method,
                "mu": mu,
                "epsilon": first.epsilon,
                "compared_by": first.compared_by,
                "own_mu": first.own_mu,
                "own_epsilon": first.own_epsilon,
                "kind": first.kind,
                "seeds": len(group),
                "accuracy": _figures([row.accuracy for row in group]),
                "utility_loss": _figures([row.utility_loss for row in group]),
                "advantage": _figures([row.leakage["advantage"] for row in group]),
                "advantage_intervals": [row.leakage["interval"] for row in group],
                "advantage_ceiling": first.leakage["ceiling"],
                "auc": _figures([row.leakage["auc"] for row in group]),
                "tpr_at_0.1%": _figures([row.leakage["tpr"] for row in group]),
                "revealed": _figures([float(row.leakage["revealed"]) for row in group]),
                "accused": _figures([float(row.leakage["accused"]) for row in group]),
                "targets": first.leakage["members"],
                "breaks_guarantee": any(row.leakage["breaks_guarantee"] for row in group),
                "seconds": round(statistics.fmean(row.seconds for row in group), 2),
            }
        )
    return lines


def _figures(values: list[float]) -> dict[str, float]:
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    named = {"mean": statistics.fmean(values), "stdev": spread}
    named |= {"min": min(values), "max": max(values)}
    return {key: round(value, 5) for key, value in named.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--cache", type=Path, default=Path(".cache/points"))
    parser.add_argument("--minutes", type=float, default=1e6)
    parser.add_argument("--seeds", type=int, default=5, help="At most so many of each part.")
    parser.add_argument("--attack", choices=["loss", "rmia", "lira"], default="loss")
    parser.add_argument("--equal", choices=["mu", "epsilon"], default="mu")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    kind = ("" if args.attack == "loss" else f"_{args.attack}") + (
        "" if args.equal == "mu" else "_epsilon"
    )
    args.out = args.out or Path(f"benchmarks/results/perturbation_points{kind}.json")
    end = time.monotonic() + 60 * args.minutes
    args.cache.mkdir(parents=True, exist_ok=True)
    known = json.loads(args.out.read_text()) if args.out.exists() else {"parts": {}}
    for part in args.only:
        try:
            known["parts"][part] = run(part, args.cache, end, args.seeds, args.attack, args.equal)
        except OutOfTime:
            print(part, "is not finished: run the same command again")
            break
        known |= {
            "delta": DELTA,
            "machine": {"system": platform.platform(), "cores": os.cpu_count()},
            "versions": versions(),
        }
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    main()
