"""`tables.mcgen` beside `tables.independent` on all of census-income.

    SFUMATO_DATA=... python benchmarks/mcgen.py        # writes results/mcgen.json

Both are made from all 199,523 rows; models are trained on at most 5,000 released rows and judged
on 10,000 real rows of the test part. Settings are the methods' defaults; nothing was tuned on it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from sfumato.data import Table, datasets
from sfumato.measure import features, metrics, models
from sfumato.measure.task import task_of
from sfumato.privacy.budget import Budget
from sfumato.privacy.noise import SECURE
from sfumato.publish.method import silent
from sfumato.publish.tables.independent import Independent
from sfumato.publish.tables.mcgen import McGen
from sfumato.versions import versions

DELTA = 1e-6
ROWS, TEST_ROWS = 5_000, 10_000
METHODS: dict[str, Any] = {
    "tables.independent": Independent(),
    "tables.mcgen": McGen(),
}


def scores(train: Table, test: Table, seed: int) -> dict[str, dict[str, float]]:
    """AUROC and balanced accuracy on real test rows."""
    rng = np.random.default_rng(seed)
    _, read = task_of(train.schema, "table", seed, 1)
    shown = read(train, features.choose(len(train), ROWS, rng))
    real = read(test, features.choose(len(test), TEST_ROWS, np.random.default_rng(0)))
    classes = test.schema[test.schema.target or ""].cardinality
    found = {}
    for family in (models.LINEAR, models.FOREST, models.BOOSTING):
        fitted = models.classifier(family, test.schema.features, shown.x, shown.y, classes, seed)
        figures = metrics.classification(real.y, fitted.predict(real.x))
        found[family] = {n: round(figures[n][0], 4) for n in ("AUROC", "balanced accuracy")}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epsilon", nargs="+", type=float, default=[0.5, 1.0, 4.0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results/mcgen.json")
    args = parser.parse_args()
    private, test = (datasets.load("census-income", split) for split in ("train", "test"))
    runs: list[dict[str, Any]] = [{"method": "real rows", "models": scores(private, test, 0)}]
    for seed in range(args.seeds):
        for epsilon in args.epsilon:
            for name, method in METHODS.items():
                started = time.perf_counter()
                made = method.calibrate(Budget(epsilon, DELTA), private.schema)
                released = made.run(private, SECURE, silent).data
                row = {"method": name, "epsilon": epsilon, "seed": seed}
                row["seconds"] = round(time.perf_counter() - started, 2)
                runs.append(row | {"models": scores(released, test, seed)})
                print(json.dumps(runs[-1]), flush=True)
    groups: dict[Any, list[float]] = {}
    for row in runs[1:]:
        for family, found in row["models"].items():
            for metric, value in found.items():
                key = (row["method"], row["epsilon"], family, metric)
                groups.setdefault(key, []).append(value)
    names = ("method", "epsilon", "model", "metric")
    report = {
        "command": "python benchmarks/mcgen.py",
        "machine": {"cores": os.cpu_count(), "system": platform.platform()},
        "versions": versions(),
        "real rows": runs[0]["models"],
        "summary": [
            {
                **dict(zip(names, key, strict=True)),
                "mean": round(statistics.fmean(v), 4),
                "least": min(v),
                "most": max(v),
            }
            for key, v in groups.items()
        ],
        "runs": runs,
    }
    args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
