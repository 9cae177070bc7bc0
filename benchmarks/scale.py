"""Time and memory of table methods on 1, 10 and 100 million census rows on disk.

    SFUMATO_DATA=... python benchmarks/scale.py --folder SCRATCH        # 1 and 10 million
    SFUMATO_DATA=... python benchmarks/scale.py --folder SCRATCH --millions 100

Rows are those of census-income again and again; in every copy but the first, eight columns are
turned against the others, so that rows are not only copies while every column stays as it is. Each
run is one `sfumato publish --no-evaluate --holdout 0`, or one set of contingency tables, in a
process of its own. Memory is the largest resident size of that process with all it started. A
result that is there already is kept, so that an interrupted run goes on; --again measures anew.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from sfumato.versions import installed, versions

MILLION = 1_000_000
FILE = 10 * MILLION  # rows of one file
BYTES = 60  # of disk a row of input and output takes at most, roughly
RESULTS = Path(__file__).parent / "results" / "scale.json"
METHODS: dict[str, list[str]] = {
    "tables.independent": [],
    "tables.adaptive": [],
    "tables.marginals": [],
}
# Engine, and which tables are counted: the columns by themselves, or all pairs.
COUNTS = (("auto", "columns"), ("duckdb", "columns"), ("spark", "columns"), ("auto", "pairs"))

WATCH = """
import json, os, resource, subprocess, sys, threading, time

def size(pid):
    try:
        with open(f"/proc/{pid}/statm") as file:
            pages = int(file.read().split()[1])
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            children = file.read().split()
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(size(child) for child in children)

load = os.getloadavg()[0]
started = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, text=True)
peak = 0
def watch():
    global peak
    while process.poll() is None:
        peak = max(peak, size(process.pid))
        time.sleep(0.2)
watcher = threading.Thread(target=watch)
watcher.start()
printed = process.stdout.read()
status = process.wait()
watcher.join()
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps({
    "seconds": round(time.perf_counter() - started, 1),
    "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
    "peak_mebibytes": round(max(peak, used.ru_maxrss * 1024) / 2**20),
    "load_before": round(load, 1),
    "printed": printed,
}))
sys.exit(status)
"""


def generate(folder: Path, millions: int) -> Path:
    """The rows on disk, as Parquet files; made once."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from sfumato.data import datasets

    there = folder / f"census-{millions}M"
    if there.exists():
        return there
    free = shutil.disk_usage(folder).free
    if free < 3 * BYTES * millions * MILLION:
        raise SystemExit(f"{millions} million rows need more than {free >> 30} GiB of free disk")
    table = datasets.load("census-income")
    assert table.source is not None
    plain = pa.Table.from_batches(table.batches())
    # As dictionaries, which is how texts are stored: to be turned and written in no time.
    columns = [column.combine_chunks() for column in plain.columns]
    columns = [c.dictionary_encode() if c.type == pa.string() else c for c in columns]
    types = pa.schema([(n, c.type) for n, c in zip(plain.column_names, columns, strict=True)])
    turned = [i for i, name in enumerate(plain.column_names) if name != table.schema.target]
    rng = np.random.default_rng(0)
    scratch = folder / f".census-{millions}M"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    done, left = 0, millions * MILLION
    while left:
        rows = min(FILE, left)
        file = scratch / f"{done:03}.parquet"
        with pq.ParquetWriter(file, types, compression="zstd", store_schema=False) as writer:
            written = 0
            while written < rows:
                copy = list(columns)
                if done or written:
                    for i in rng.choice(turned, 8, replace=False):
                        cut = int(rng.integers(1, plain.num_rows))
                        parts = [columns[i].slice(cut), columns[i].slice(0, cut)]
                        copy[i] = pa.chunked_array(parts)
                height = min(plain.num_rows, rows - written)
                batch = pa.table(copy, names=plain.column_names).slice(0, height)
                writer.write_table(batch, row_group_size=1 << 17)
                written += height
        done, left = done + 1, left - rows
    table.schema.with_records(None).save(folder / "census.yaml")
    scratch.rename(there)
    return there


def watched(command: list[str]) -> dict[str, Any]:
    """One process; its time and memory, or what stopped it."""
    ran = subprocess.run(
        [sys.executable, "-c", WATCH, *command], capture_output=True, text=True, check=False
    )
    measured: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    if ran.returncode:
        raise SystemExit(f"{' '.join(command)} failed: {ran.stderr[-2000:]}")
    return measured


def publish(data: Path, method: str, folder: Path) -> dict[str, Any]:
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    (folder / "ledger.db").unlink(missing_ok=True)
    command = [
        *(sys.executable, "-m", "sfumato", "publish", str(data), "--no-evaluate", "--holdout", "0"),
        *("--schema", str(folder / "census.yaml"), "--epsilon", "1", "--delta", "1e-9"),
        *(
            "--method",
            method,
            *METHODS[method],
            "--out",
            str(out),
            "--ledger",
            str(folder / "ledger.db"),
        ),
    ]
    measured = watched(command)
    measured.pop("printed")
    measured["output_mebibytes"] = round((out / "data.parquet").stat().st_size / 2**20)
    shutil.rmtree(out)
    return measured


def count(data: Path, engine: str, what: str, folder: Path) -> dict[str, Any]:
    command = [
        sys.executable,
        __file__,
        "--count",
        engine,
        what,
        str(data),
        "--folder",
        str(folder),
    ]
    measured = watched(command)
    printed = measured.pop("printed")
    return {**measured, **json.loads(printed.splitlines()[-1])}


def counted(data: Path, engine: str, what: str, schema: Path) -> dict[str, Any]:
    """The tables, counted in this process: seconds without the imports and the engine's start."""
    from sfumato.data import Axis, Numeric, Schema, Table

    table = Table.open(data, Schema.load(schema), engine=engine)
    axes = [Axis(c.name, 32 if isinstance(c, Numeric) else None) for c in table.schema]
    asked = [[axis] for axis in axes] if what == "columns" else list(combinations(axes, 2))
    started, used = time.perf_counter(), time.process_time()
    tables = table.many_counts(asked)
    seconds = time.perf_counter() - started
    own = time.process_time() - used
    digest = sum((i + 1) * int(t.ravel() @ np.arange(1, t.size + 1)) for i, t in enumerate(tables))
    return {
        "counting_seconds": round(seconds, 2),
        "counting_cpu_seconds": None if engine == "spark" else round(own, 2),
        "tables": len(tables),
        "digest": str(digest),
    }


def registered(method: str) -> bool:
    from sfumato import registry
    from sfumato.errors import InputError

    try:
        registry.find("method", method)
    except InputError:
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="for rows; tens of gigabytes")
    parser.add_argument("--millions", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--only", nargs="+", help="methods, or counts such as duckdb/columns")
    parser.add_argument("--again", action="store_true", help="measure what is there already too")
    parser.add_argument("--count", nargs=3, metavar=("ENGINE", "WHAT", "DATA"))
    options = parser.parse_args()
    folder: Path = options.folder
    if options.count:
        engine, what, data = options.count
        print(json.dumps(counted(Path(data), engine, what, folder / "census.yaml")))
        return
    folder.mkdir(parents=True, exist_ok=True)
    report = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"runs": []}
    for millions in options.millions:
        data = generate(folder, millions)
        size = sum(file.stat().st_size for file in data.iterdir())
        wanted = [(method, None) for method in METHODS if registered(method)] + list(COUNTS)
        for first, what in wanted:
            name = first if what is None else f"{first}/{what}"
            if options.only and name not in options.only:
                continue
            if first == "spark" and installed("pyspark") is None:
                print("pyspark is not installed: Spark is left out", file=sys.stderr)
                continue
            key = {"what": name, "millions": millions}
            if not options.again and any(key.items() <= run.items() for run in report["runs"]):
                continue
            ran = publish(data, first, folder) if what is None else count(data, first, what, folder)
            seconds = ran.get("counting_seconds", ran["seconds"])
            ran = {**key, "rows_per_second": round(millions * MILLION / seconds), **ran}
            ran["input_mebibytes"] = size >> 20
            report["runs"] = [r for r in report["runs"] if not key.items() <= r.items()] + [ran]
            report |= {
                "command": "python benchmarks/scale.py --folder SCRATCH --millions 1 10 100",
                "machine": {
                    "cores": os.cpu_count(),
                    "gibibytes": round(os.sysconf("SC_PHYS_PAGES") / 2**18),
                    "system": platform.platform(),
                },
                "versions": versions() | {"pyspark": installed("pyspark")},
            }
            RESULTS.write_text(json.dumps(report, indent=1) + "\n")
            print(json.dumps(ran), flush=True)


if __name__ == "__main__":
    main()
