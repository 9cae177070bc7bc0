"""From how many rows, at which epsilon, pairs of columns are worth their noise.

What ``method="auto"`` rests on where the number of rows is public: ``tables.marginals`` beside
``tables.independent`` on rows drawn from census-income and on three small public tables, each seed
another draw, judged by models on the real test rows. Run from the repository's root:

    SFUMATO_DATA=... python benchmarks/choosing.py

Runs that ``--out`` holds already are kept and not repeated.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
from pathlib import Path
from typing import Any

import adaptive_data
import numpy as np
from kept_runs import kept
from marginals import DELTA, scores

from sfumato import registry
from sfumato.data import Table, datasets
from sfumato.privacy.budget import Budget
from sfumato.privacy.ledger import Ledger
from sfumato.versions import versions

OUT = Path(__file__).parent / "results" / "choosing.json"
METHODS = ("tables.marginals", "tables.independent")
CENSUS = (500, 2_000, 8_000, 32_000)
SMALL = ("diabetes", "breast-cancer", "german-credit")
SAME = ("data", "rows", "epsilon", "method")


def drawn(rows: int, seed: int) -> tuple[Table, Table]:
    """So many rows of census-income, and its test part."""
    everything, test = (datasets.load("census-income", part) for part in ("train", "test"))
    taken = np.random.default_rng(seed).permutation(everything.num_rows)[:rows]
    codes = {name: column[taken] for name, column in everything.codes().items()}
    return Table.from_codes(codes, everything.schema), test


def judged(private: Table, test: Table, method: str, epsilon: float, seed: int) -> dict[str, Any]:
    """AUROC of the models that one release trains."""
    made = registry.build("method", method, {}).calibrate(Budget(epsilon, DELTA), private.schema)
    release = made(private, ledger=Ledger.in_memory())
    found = scores(release.data, test, seed)
    auroc = {s["model"]: s["value"] for s in found if s["metric"] == "AUROC"}
    return {name: round(value, 4) for name, value in auroc.items() if name != "majority"}


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """By how much pairs are ahead within each seed, over the models' mean: a 95 % t-interval."""
    from scipy.stats import t

    found = []
    for key in dict.fromkeys(tuple(row[name] for name in SAME[:3]) for row in rows):
        means: dict[str, dict[int, float]] = {method: {} for method in METHODS}
        for row in rows:
            if tuple(row[name] for name in SAME[:3]) == key:
                means[row["method"]][row["seed"]] = statistics.fmean(row["AUROC"].values())
        seeds = [seed for seed in means[METHODS[0]] if seed in means[METHODS[1]]]
        ahead = [means[METHODS[0]][seed] - means[METHODS[1]][seed] for seed in seeds]
        entry = {**dict(zip(SAME, key, strict=False)), "seeds": len(seeds)}
        entry |= {m: round(statistics.fmean(v.values()), 4) for m, v in means.items() if v}
        if len(ahead) > 1:
            wide = t.ppf(0.975, len(ahead) - 1) * statistics.stdev(ahead) / math.sqrt(len(ahead))
            entry |= {"ahead": round(statistics.fmean(ahead), 4), "half_width": round(wide, 4)}
        found.append(entry)
    return sorted(found, key=lambda entry: entry["rows"] * entry["epsilon"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--epsilon", nargs="+", type=float, default=[0.5, 1.0, 4.0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    rows = kept(args.out, SAME)
    done = {tuple(row[name] for name in (*SAME, "seed")) for row in rows}
    for seed in args.seeds:
        for data, number in [
            *((name, 0) for name in SMALL),
            *(("census-income", n) for n in CENSUS),
        ]:
            if number:
                private, test = drawn(number, seed)
            else:
                cut = adaptive_data.parts(data, seed)
                private, test = cut.private, cut.test
            for epsilon in args.epsilon:
                for method in METHODS:
                    key = (data, private.num_rows, epsilon, method, seed)
                    if key in done:
                        continue
                    found = judged(private, test, method, epsilon, seed)
                    rows.append({**dict(zip((*SAME, "seed"), key, strict=True)), "AUROC": found})
                    print(json.dumps(rows[-1]), flush=True)
        report = {
            "command": "make bench-choosing",
            "machine": {"cores": os.cpu_count(), "system": platform.platform()},
            "versions": versions(),
            "delta": DELTA,
            "summary": summary(rows),
            "rows": rows,
        }
        args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
