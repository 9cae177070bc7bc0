"""What image releases are worth: models trained on a release alone, judged on real test images.

For each method, data set, budget and seed: publish the whole training part, train the evaluation's
models on the release, judge their last checkpoint on the real test part, once, and compare the
released images with real ones. Run from the repository's root:

    SFUMATO_DATA=... python benchmarks/images.py --method generators.cvae generators.dpgan

``--method real`` trains on the private images themselves. Data are MNIST, Fashion-MNIST, the digits
or ``photographs`` (colour; ``photographs.py``).

``--validate`` publishes five sixths of the training part and judges on the sixth held out: what
settings are chosen with. Runs that ``--out`` holds already are kept and not repeated; each says
what it was judged on, and only runs judged on the same are summed up together.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from kept_runs import kept
from photographs import photographs

from sfumato.api.variants import Variant
from sfumato.data import ImageSet, datasets
from sfumato.measure.cnn import ARCHITECTURE, CONVOLUTIONAL, DENSE, LINEAR, classifier
from sfumato.measure.fidelity import fidelity
from sfumato.measure.intervals import clopper_pearson
from sfumato.privacy.budget import Budget
from sfumato.privacy.ledger import Ledger
from sfumato.versions import versions

WHAT = "Accuracy on real test images of models trained on a release alone, and its likeness."
SPLIT_SEED = 2026
REAL = "real"
FAMILIES = (CONVOLUTIONAL, DENSE, LINEAR)
JUDGED_ON = {False: "test images", True: "held-out training images"}
SAME = ("judged_on", "method", "data", "epsilon", "delta", "extractor")
"""What runs differ in besides their seed."""


def parts(name: str, validate: bool) -> tuple[ImageSet, ImageSet]:
    """What is published and what the release is judged on."""
    load = photographs if name == "photographs" else partial(datasets.load, name)
    train, test = (load(split=split) for split in ("train", "test"))
    assert isinstance(train, ImageSet)
    assert isinstance(test, ImageSet)
    return train.split(1 / 6, SPLIT_SEED) if validate else (train, test)


def published(label: str, private: ImageSet, budget: Budget) -> tuple[Any, float | None]:
    """A method's images and the epsilon that it proves; or the private ones, and none."""
    if label == REAL:
        return private, None
    method: Any = Variant.parse(label, "cpu").method
    calibrated = method.calibrate(budget, private.schema.with_records(len(private)))
    made: Any = calibrated(private, ledger=Ledger.in_memory()).data
    epsilon = calibrated.guarantee.epsilon()
    return made, round(epsilon, 6) if math.isfinite(epsilon) else None


def run(label: str, data: str, epsilon: float, seed: int, args: argparse.Namespace) -> Any:
    """One release, its models and its likeness."""
    private, judged = parts(data, args.validate)
    wall, cpu = time.perf_counter(), time.process_time()
    made, proven = published(label, private, Budget(epsilon, args.delta))
    row: dict[str, Any] = {
        "method": label,
        "data": data,
        "epsilon": epsilon,
        "delta": args.delta,
        "seed": seed,
        "judged_on": JUDGED_ON[args.validate],
        "extractor": args.extractor,
        "proven": proven,
        "images": len(made),
        "publishing_seconds": {
            "wall": round(time.perf_counter() - wall, 1),
            "cpu": round(time.process_time() - cpu, 1),
        },
        "load": [round(x, 1) for x in os.getloadavg()],
    }
    labels = made.labels if made.soft_labels is None else made.soft_labels
    classes = len(judged.schema.classes)
    for family in FAMILIES:
        model = classifier(family, made.images, labels, classes, seed=seed)
        right = int((model.predict(judged.images).argmax(axis=1) == judged.labels).sum())
        row[family] = {
            "accuracy": round(100 * right / len(judged), 2),
            "interval": [round(100 * bound, 2) for bound in clopper_pearson(right, len(judged))],
        }
    row["likeness"] = fidelity(made, private, judged, which=args.extractor, seed=seed).to_dict()
    return row


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean and standard deviation over seeds."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in SAME), []).append(row)
    lines = []
    for key, some in sorted(groups.items()):
        line: dict[str, Any] = dict(zip(SAME, key, strict=True))
        for family in FAMILIES:
            values = [row[family]["accuracy"] for row in some]
            line[family] = round(statistics.mean(values), 2)
        line["frechet"] = round(statistics.mean(row["likeness"]["frechet"] for row in some), 2)
        line["seeds"] = len(some)
        lines.append(line)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=WHAT)
    parser.add_argument("--method", nargs="+", required=True)
    parser.add_argument("--data", nargs="+", default=["mnist", "fashion-mnist"])
    parser.add_argument("--epsilon", nargs="+", type=float, default=[1.0, 10.0])
    parser.add_argument("--delta", type=float, default=1e-5)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--extractor", default="scattering")
    parser.add_argument("--validate", action="store_true", help="judge on held-out training images")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/images.json"))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows = kept(args.out, SAME)
    known = {tuple(row[name] for name in (*SAME, "seed")) for row in rows}
    judged_on = JUDGED_ON[args.validate]
    for seed in args.seeds:
        for data in args.data:
            for method in args.method:
                for epsilon in args.epsilon:
                    key = (judged_on, method, data, epsilon, args.delta, args.extractor, seed)
                    if key in known:
                        continue
                    rows.append(run(method, data, epsilon, seed, args))
                    print(json.dumps(rows[-1]), flush=True)
                    report = {
                        "what": WHAT,
                        "command": "python " + " ".join(sys.argv),
                        "small CNN": f"{ARCHITECTURE}; 3 epochs of Adam, last checkpoint",
                        "machine": {
                            "cores": os.cpu_count(),
                            "torch_threads": args.threads,
                            "system": platform.platform(),
                        },
                        "versions": versions(),
                        "summary": summary(rows),
                        "rows": rows,
                    }
                    args.out.parent.mkdir(parents=True, exist_ok=True)
                    args.out.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    for line in summary(rows):
        print(json.dumps(line))


if __name__ == "__main__":
    main()
