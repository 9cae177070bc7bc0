"""How often attacks on tables find a leak where there is none.

Members, non-members and a "release" are disjoint random rows of the census: the release knows
nothing of either. A finding that claims otherwise is luck; at 99 % confidence a tenth of a
hundredth of both sides, at most 0.5 % of runs. Run from the repository's root:

    python benchmarks/false_alarms.py

Runs that ``--out`` holds already are kept and not repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from sfumato import registry
from sfumato.attack import Evidence
from sfumato.data import Table, load_data
from sfumato.measure.intervals import clopper_pearson
from sfumato.release.foreign import unclaimed
from sfumato.versions import versions

OUT = Path(__file__).parent / "results" / "false_alarms.json"
CONFIDENCE = 0.99
COLUMNS = ("age", "education", "marital_status", "sex", "weeks_worked", "income")
SIZES = {"members": 60, "non_members": 60, "release": 60}
ATTACKS: dict[str, dict[str, Any]] = {
    "membership.distance": {},
    "linkage.nearest": {},
    "attribute.inference": {},
    "privacy_loss": {},
    "membership.domias": {},
    "anonymeter.singling_out": {},
    "anonymeter.linkability": {},
    "anonymeter.inference": {},
}


def parts(people: Table, seed: int) -> list[Table]:
    """Disjoint rows: members, non-members, and what is released."""
    order = np.random.default_rng(seed).permutation(people.num_rows)
    bounds = np.cumsum([0, *SIZES.values()])
    codes = people.codes()
    return [
        Table.from_codes({n: c[order[a:b]] for n, c in codes.items()}, people.schema)
        for a, b in pairwise(bounds)
    ]


def counted(name: str, people: Table, runs: int) -> dict[str, Any]:
    """Findings of one attack that are better than chance."""
    attack: Any = registry.build("attack", name, {**ATTACKS[name], "confidence": CONFIDENCE})
    began, alarms, unlike = time.process_time(), 0, 0
    for run in range(runs):
        members, others, released = parts(people, run)
        finding = attack(unclaimed(released, "other rows"), Evidence(members, others), seed=run)
        alarms += finding.better_than_chance
        unlike += not finding.interval[0] <= finding.chance <= finding.interval[1]
    return {
        "attack": name,
        "runs": runs,
        "false_alarms": alarms,
        "interval": [round(100 * bound, 2) for bound in clopper_pearson(alarms, runs)],
        "intervals_without_chance": unlike,
        "cpu_seconds": round(time.process_time() - began, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="False alarms of attacks on tables.")
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--attack", nargs="+", default=list(ATTACKS), choices=list(ATTACKS))
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    people = load_data("dataset:census-sample", target="income")
    assert isinstance(people, Table)
    people = people.select(*COLUMNS)
    rows = json.loads(args.out.read_text())["rows"] if args.out.exists() else []
    done = {row["attack"] for row in rows}
    for name in args.attack:
        if name in done:
            continue
        rows.append(counted(name, people, args.runs))
        print(json.dumps(rows[-1]), flush=True)
        values = {
            "what": f"Findings better than chance at {CONFIDENCE:.0%} where nothing is to be found",
            "command": "python benchmarks/false_alarms.py",
            "rows_each": SIZES,
            "columns": list(COLUMNS),
            "machine": {"cores": os.cpu_count(), "system": platform.platform()},
            "versions": versions(),
            "rows": sorted(rows, key=lambda row: row["attack"]),
        }
        args.out.write_text(json.dumps(values, indent=1) + "\n")


if __name__ == "__main__":
    main()
