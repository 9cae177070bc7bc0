"""Singling out, linkability and inference here and in the library `anonymeter`, on the same files.

    python benchmarks/anonymeter_compare.py --peer PEER/bin/python   # results/anonymeter.json

PEER is an environment with anonymeter 1.1.0, which needs NumPy 1 and cannot live beside this
project. Members, people who are not in the data, and three releases are the same files for both:
rows of the bundled census sample, fresh ones, with 10 % of them copies of members, and with all.
Both make as many attempts; what differs is named in the result.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sfumato import registry
from sfumato.attack import Evidence
from sfumato.data import Table, load_data
from sfumato.release.foreign import unclaimed
from sfumato.versions import versions

ROWS = 1000
SHARES = (0.0, 0.1, 1.0)
SEEDS = (0, 1, 2)
DIFFERENCES = (
    "singling out: rates are of the descriptions that were made here, of those asked for there "
    "(the line 'of 500 asked for'); for the other line as many are asked for as there are",
    "singling out: equal rows count as one person there, as many here",
    "singling out: descriptions of a person who was singled out before are not counted again here; "
    "numbers are compared with the median of the released rows in both",
    "linkability: of equally near rows random ones are taken here, there the first",
    "distances: numbers are scaled by their public range here, by that of the rows there",
    "risk: here of the rates themselves with exact limits, there of Wilson's estimates",
)


def rows_of(table: Table, rows: np.ndarray) -> Table:
    return Table.from_codes({k: v[rows] for k, v in table.codes().items()}, table.schema)


def frame_of(table: Table) -> pd.DataFrame:
    """As the peer reads it: a missing level is a level, as it is in the codes here."""
    frame = table.to_pandas()
    for column in table.schema:
        if not column.ordered:
            frame[column.name] = frame[column.name].astype(object).fillna("(missing)").astype(str)
    return frame


def ours(release: Table, members: Table, others: Table, holders: Any, seed: int) -> dict[str, Any]:
    opened, evidence = unclaimed(release, "benchmark"), Evidence(members, others)
    found: dict[str, Any] = {}
    settings: dict[str, dict[str, Any]] = {
        "anonymeter.singling_out": {},
        "anonymeter.linkability": {"first": holders[0], "second": holders[1], "neighbours": 1},
        "anonymeter.inference": {"secrets": [release.schema.target]},
    }
    for name, own in settings.items():
        started = time.perf_counter()
        finding = registry.build("attack", name, own)(opened, evidence, seed=seed)
        seconds = round(time.perf_counter() - started, 2)
        if name == "anonymeter.singling_out":
            for mode in finding.details["modes"]:
                found[f"singling out, {mode['mode']}"] = _figures(mode, seconds)
        else:
            rows = finding.details.get("secrets", [finding.details | {"risk": finding.value}])
            row = rows[0] | {"interval": list(finding.interval)}
            found[name.partition(".")[2]] = _figures(row, seconds)
    return found


def _figures(row: dict[str, Any], seconds: float) -> dict[str, Any]:
    if not row.get("tried", 1):
        return {"tried": 0}
    rates = {side: round(right / of, 4) for side, (right, of) in row["success"].items()}
    every = row.get("counted_each_time")
    if every:
        rates |= {
            f"{side}, each time": round(every[side] / every["queries"], 4)
            for side in ("members", "control")
        }
    interval = [round(end, 4) for end in row["interval"]]
    return {**rates, "risk": round(row["risk"], 4), "interval": interval, "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--peer", required=True, help="the Python of an environment with anonymeter"
    )
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "results/anonymeter.json"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    args = parser.parse_args()
    whole = load_data("dataset:census-sample")
    assert isinstance(whole, Table)
    names = [c.name for c in whole.schema]
    holders = (names[::2], names[1::2])
    # Runs of other seeds are kept, so that each can be made by itself.
    known = json.loads(args.out.read_text("utf-8"))["runs"] if args.out.is_file() else []
    runs = [run for run in known if run["seed"] not in args.seeds]
    for seed in args.seeds:
        order = np.random.default_rng(seed).permutation(len(whole))
        members, others, fresh = (
            rows_of(whole, order[i * ROWS : (i + 1) * ROWS]) for i in range(3)
        )
        for share in SHARES:
            copies = int(share * ROWS)
            codes = {
                k: np.concatenate([members.codes()[k][:copies], fresh.codes()[k][copies:]])
                for k in names
            }
            release = Table.from_codes(codes, whole.schema)
            with tempfile.TemporaryDirectory() as folder:
                parts = {"ori": members, "control": others, "syn": release}
                for name, part in parts.items():
                    frame_of(part).to_parquet(Path(folder) / f"{name}.parquet")
                peer = Path(__file__).with_name("anonymeter_peer.py")
                target = str(whole.schema.target)
                given = json.dumps({"holders": holders, "secret": target, "seed": seed})
                said = subprocess.run(
                    [args.peer, str(peer), folder, given],
                    capture_output=True,
                    text=True,
                    check=False,
                )
                if said.returncode:
                    raise SystemExit(said.stderr[-2000:])
            runs.append(
                {
                    "seed": seed,
                    "copies of members": share,
                    "sfumato": ours(release, members, others, holders, seed),
                    "anonymeter": json.loads(said.stdout.splitlines()[-1]),
                }
            )
            print(json.dumps(runs[-1], indent=1), flush=True)
    result = {
        "command": "python benchmarks/anonymeter_compare.py --peer PEER/bin/python",
        "machine": {"cores": os.cpu_count(), "system": platform.platform()},
        "versions": versions() | runs[-1]["anonymeter"]["versions"],
        "rows": ROWS,
        "differences": DIFFERENCES,
        "runs": sorted(runs, key=lambda run: (run["seed"], run["copies of members"])),
    }
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
