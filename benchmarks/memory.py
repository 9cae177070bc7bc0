"""What image methods say that they will take of memory, and what they take.

    SFUMATO_DATA=... python benchmarks/memory.py

Each run is one release of a whole training part in a process of its own, from the debit to the
artefact, at epsilon 1, one epoch or few rounds: what is kept at a time hardly depends on how many.
"Told" is the sum that is told before the debit, beside what the process holds already;
"taken" is the resident peak beside the same. A result that is there already is kept.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from kept_runs import kept
from photographs import photographs

from sfumato.data import datasets
from sfumato.versions import versions

WHAT = "Memory that image methods say they will take, and take; MiB beside what the process held."
RESULTS = Path(__file__).parent / "results" / "memory.json"
METHODS = (
    "generators.merf[steps=100]",
    "generators.cvae[epochs=1]",
    "generators.dp2vae[epochs=1]",
    "generators.vaegm[epochs=1]",
    "generators.augm[epochs=1]",
    "generators.dpgan[epochs=1]",
    "generators.dpmi[epochs=1]",
    "generators.sinkhorn[epochs=1]",
    "generators.gpate[rounds=10]",
    "generators.datalens[rounds=10]",
    "generators.psg[epochs=1]",
    "generators.diffusion[preset=quick,max_minutes=0.2,samples=200]",
    "generators.taught[steps=20]",
)
MIB = 2**20


def one(label: str, data: str) -> dict[str, Any]:
    """A run in this process."""
    import psutil

    from sfumato.api.variants import Variant
    from sfumato.measure.memory import peak
    from sfumato.privacy.budget import Budget
    from sfumato.privacy.ledger import Ledger
    from sfumato.publish import memory

    private: Any = photographs("train") if data == "photographs" else datasets.load(data)
    method: Any = Variant.parse(label, "cpu").method
    calibrated = method.calibrate(Budget(1.0, 1e-5), private.schema.with_records(len(private)))
    told = memory.needed(calibrated)
    assert told is not None
    before = psutil.Process().memory_info().rss
    with peak() as most:
        calibrated(private, ledger=Ledger.in_memory())
    assert most.mebibytes is not None, "this system keeps no count of the peak"
    return {
        "method": label,
        "data": data,
        "seed": None,
        "images": len(private),
        "before": round(before / MIB),
        "told": round(sum(told.values()) / MIB),
        "parts": {what: round(count / MIB) for what, count in told.items()},
        "taken": round(most.mebibytes - before / MIB),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=WHAT)
    parser.add_argument("--method", nargs="+", default=METHODS)
    parser.add_argument("--data", nargs="+", default=["mnist", "photographs"])
    parser.add_argument("--one", action="store_true", help="one run, in this process")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(one(args.method[0], args.data[0])))
        return
    rows = kept(args.out, ("method", "data"))
    known = {(row["method"], row["data"]) for row in rows}
    for data in args.data:
        for method in args.method:
            if (method, data) in known:
                continue
            command = [sys.executable, __file__, "--one", "--method", method, "--data", data]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            rows.append(json.loads(said.splitlines()[-1]))
            print(json.dumps(rows[-1]), flush=True)
            report = {
                "what": WHAT,
                "command": "python benchmarks/memory.py",
                "machine": {"cores": os.cpu_count(), "system": platform.platform()},
                "versions": versions(),
                "rows": rows,
            }
            args.out.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
