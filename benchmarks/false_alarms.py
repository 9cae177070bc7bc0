"""How often attacks on tables find a leak where there is none.

Members, non-members and a "release" are disjoint random rows of the census: the release knows
nothing of either. A finding that claims otherwise is luck; at 99 % confidence a tenth of a
hundredth of both sides, at most 0.5 % of runs. Run from the repository's root:

    python benchmarks/false_alarms.py

Two counts come of the same runs: with the margin over an attacker without the release, which is
asked for wherever others say who was a member; and without it, as where secret coins said so.
``--copied 20`` puts so many of the members among the released rows: then a finding is no false
alarm, and more of them are better. What ``--out`` holds of at
least ``--runs`` runs is kept and not repeated.
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
from sfumato.attack import Evidence, Finding
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


def released_of(members: Table, other: Table, copied: int) -> Table:
    """Other rows, of which the first few are members'."""
    own, rest = members.codes(), other.codes()
    mixed = {name: np.concatenate([own[name][:copied], rest[name][copied:]]) for name in own}
    return Table.from_codes(mixed, other.schema)


def by_coins(finding: Finding) -> bool:
    """Whether the attack finds something where coins drew who is a member: no margin is needed.

    Of several secrets, whichever is told most surely is the finding's.
    """
    if finding.attack == "anonymeter.singling_out":  # keeps its margin
        return finding.better_than_chance
    rows = finding.details.get("secrets")
    lows = [row["interval"][0] for row in rows] if rows else [finding.interval[0]]
    points = finding.details.get("tpr_at_fpr", ())
    few = any(point["tpr_interval"][0] > point["fpr_interval"][1] for point in points)
    return few or max(lows) > finding.chance


def counted(name: str, people: Table, runs: int, copied: int) -> dict[str, Any]:
    """Findings of one attack that are better than chance."""
    attack: Any = registry.build("attack", name, {**ATTACKS[name], "confidence": CONFIDENCE})
    began, alarms, coins, unlike = time.process_time(), 0, 0, 0
    for run in range(runs):
        members, others, released = parts(people, run)
        target = unclaimed(released_of(members, released, copied), "other rows")
        finding = attack(target, Evidence(members, others), seed=run)
        alarms += finding.better_than_chance
        coins += by_coins(finding)
        unlike += not finding.interval[0] <= finding.chance <= finding.interval[1]
    found = "found" if copied else "false_alarms"
    return {
        "attack": name,
        "copied": copied,
        "runs": runs,
        found: alarms,
        "interval": [round(100 * bound, 2) for bound in clopper_pearson(alarms, runs)],
        f"{found}_by_coins": coins,
        "interval_by_coins": [round(100 * bound, 2) for bound in clopper_pearson(coins, runs)],
        "intervals_without_chance": unlike,
        "cpu_seconds": round(time.process_time() - began, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="False alarms of attacks on tables.")
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--attack", nargs="+", default=list(ATTACKS), choices=list(ATTACKS))
    parser.add_argument("--copied", type=int, default=0)
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    people = load_data("dataset:census-sample", target="income")
    assert isinstance(people, Table)
    people = people.select(*COLUMNS)
    rows = json.loads(args.out.read_text())["rows"] if args.out.exists() else []
    done = {(row["attack"], row["copied"]) for row in rows if row["runs"] >= args.runs}
    for name in args.attack:
        if (name, args.copied) in done:
            continue
        rows = [row for row in rows if (row["attack"], row["copied"]) != (name, args.copied)]
        rows.append(counted(name, people, args.runs, args.copied))
        print(json.dumps(rows[-1]), flush=True)
        values = {
            "what": f"Findings better than chance at {CONFIDENCE:.0%} where nothing is to be found",
            "command": "make bench-false-alarms",
            "rows_each": SIZES,
            "columns": list(COLUMNS),
            "machine": {"cores": os.cpu_count(), "system": platform.platform()},
            "versions": versions(),
            "rows": sorted(rows, key=lambda row: (row["attack"], row["copied"])),
        }
        args.out.write_text(json.dumps(values, indent=1) + "\n")


if __name__ == "__main__":
    main()
