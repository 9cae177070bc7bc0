"""What a classifier learns from a release of ``generators.taught`` alone, on real test images.

For each data set, budget and seed: publish the whole training part, train the small CNN of
``sfumato.measure`` on the release, once with its soft labels and once with its hard ones, and judge
the last checkpoint on the real test part, once. Run from the repository's root:

    SFUMATO_DATA=... python benchmarks/taught.py

``--validate`` publishes five sixths of the training part and judges on the sixth held out: what
settings are chosen with. The test part is for the final run. Runs that ``--out`` holds already are
kept and not repeated; each says what it was judged on and with which settings, and only runs alike
in that are summed up together.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from kept_runs import kept

from sfumato.data import ImageSet, datasets
from sfumato.measure.cnn import ARCHITECTURE, CONVOLUTIONAL, classifier
from sfumato.measure.intervals import clopper_pearson
from sfumato.privacy.budget import Budget
from sfumato.privacy.ledger import Ledger
from sfumato.publish.generators.taught import Taught
from sfumato.publish.method import settings
from sfumato.versions import versions

WHAT = "Accuracy on real test images of a classifier that learnt from a release alone."
SPLIT_SEED = 2026
CHOSEN: dict[str, dict[str, Any]] = {
    "mnist": dict(Taught.presets["lines"]),  # what the images are is known: writing
    "fashion-mnist": {"samples": 180_000, "candidates": 4},  # more, and balanced: some are rare
}
JUDGED_ON = {False: "test images", True: "held-out training images"}
SAME = ("judged_on", "data", "epsilon", "delta", "settings")
"""What runs differ in besides their seed."""
GOALS = {
    ("mnist", 1.0): 97.5,
    ("mnist", 10.0): 98.6,
    ("fashion-mnist", 1.0): 86.0,
    ("fashion-mnist", 10.0): 88.5,
}


def parts(name: str, validate: bool) -> tuple[ImageSet, ImageSet]:
    """What is published and what the release is judged on."""
    train, test = (datasets.load(name, split=split) for split in ("train", "test"))
    assert isinstance(train, ImageSet)
    assert isinstance(test, ImageSet)
    return train.split(1 / 6, SPLIT_SEED) if validate else (train, test)


def accuracy(made: ImageSet, labels: Any, judged: ImageSet, seed: int) -> dict[str, Any]:
    """Of a CNN trained on a release, with its exact binomial interval of 95 %."""
    start = time.perf_counter()
    classes = len(judged.schema.classes)
    model = classifier(CONVOLUTIONAL, made.images, labels, classes, seed=seed)
    right = int((model.predict(judged.images).argmax(axis=1) == judged.labels).sum())
    return {
        "accuracy": round(100 * right / len(judged), 2),
        "interval": [round(100 * bound, 2) for bound in clopper_pearson(right, len(judged))],
        "training_seconds": round(time.perf_counter() - start, 1),
    }


def run(data: str, epsilon: float, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """One release and its classifiers."""
    private, judged = parts(data, args.validate)
    chosen = method(args, data, seed)
    wall, cpu = time.perf_counter(), time.process_time()
    calibrated = chosen.calibrate(
        Budget(epsilon, args.delta), private.schema.with_records(len(private))
    )
    made: Any = calibrated(private, ledger=Ledger.in_memory()).data
    row: dict[str, Any] = {
        "data": data,
        "epsilon": epsilon,
        "delta": args.delta,
        "seed": seed,
        "judged_on": JUDGED_ON[args.validate],
        "settings": _settings(args, data),
        "proven": round(calibrated.guarantee.epsilon(), 6),
        "images": len(made),
        "publishing_seconds": {
            "wall": round(time.perf_counter() - wall, 1),
            "cpu": round(time.process_time() - cpu, 1),
        },
        "load": [round(x, 1) for x in os.getloadavg()],
    }
    row["soft"] = accuracy(made, made.soft_labels, judged, seed)
    if not args.soft_only:
        row["hard"] = accuracy(made, made.labels, judged, seed)
    return row


def method(args: argparse.Namespace, data: str, seed: int | None = None) -> Taught:
    chosen = {key: json.loads(value) for key, value in (item.split("=", 1) for item in args.set)}
    return Taught(**{**CHOSEN.get(data, {}), **chosen}, seed=seed)


def _settings(args: argparse.Namespace, data: str) -> dict[str, Any]:
    """The public choices of a run; its seed has a field of its own."""
    return {name: v for name, v in settings(method(args, data)).items() if name != "seed"}


def key_of(row: dict[str, Any]) -> tuple[str, ...]:
    """Runs of one key differ in their seed alone."""
    return tuple(json.dumps(row[name], sort_keys=True) for name in SAME)


def report(args: argparse.Namespace, rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "what": WHAT,
        "command": "python " + " ".join(sys.argv),
        "classifier": f"{CONVOLUTIONAL}: {ARCHITECTURE}; 3 epochs of Adam, last checkpoint",
        "machine": {
            "cores": os.cpu_count(),
            "torch_threads": args.threads,
            "system": platform.platform(),
            "note": args.note,
        },
        "versions": versions(),
        "summary": summary(rows),
        "rows": rows,
    }


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean and standard deviation over seeds, beside the goal."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(key_of(row), []).append(row)
    lines = []
    for some in groups.values():
        for labels in ("soft", "hard"):
            values = [row[labels]["accuracy"] for row in some if labels in row]
            if not values:
                continue
            final = some[0]["judged_on"] == JUDGED_ON[False]
            lines.append(
                {
                    **{name: some[0][name] for name in SAME},
                    "labels": labels,
                    "seeds": len(values),
                    "mean_accuracy": round(statistics.mean(values), 2),
                    "stddev": round(statistics.stdev(values), 2) if len(values) > 1 else None,
                    "goal": GOALS.get((some[0]["data"], some[0]["epsilon"])) if final else None,
                }
            )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=WHAT)
    parser.add_argument("--data", nargs="+", default=["mnist", "fashion-mnist"])
    parser.add_argument("--epsilon", nargs="+", type=float, default=[1.0, 10.0])
    parser.add_argument("--delta", type=float, default=1e-5)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--set", action="append", default=[], metavar="KEY=JSON")
    parser.add_argument("--validate", action="store_true", help="judge on held-out training images")
    parser.add_argument("--soft-only", action="store_true", help="no classifier on hard labels")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--note", default="", help="written beside the machine")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/taught.json"))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows = kept(args.out, SAME)
    known = {(*key_of(row), row["seed"]) for row in rows}
    for seed in args.seeds:
        for epsilon in args.epsilon:
            for data in args.data:
                alike = {
                    "judged_on": JUDGED_ON[args.validate],
                    "data": data,
                    "epsilon": epsilon,
                    "delta": args.delta,
                    "settings": _settings(args, data),
                }
                if (*key_of(alike), seed) in known:
                    continue
                rows.append(run(data, epsilon, seed, args))
                print(json.dumps(rows[-1]), flush=True)
                args.out.parent.mkdir(parents=True, exist_ok=True)
                args.out.write_text(json.dumps(report(args, rows), indent=1) + "\n", "utf-8")
    for line in summary(rows):
        print(json.dumps(line))


if __name__ == "__main__":
    main()
