"""The public-feature baseline on MNIST and Fashion-MNIST: test accuracy, cost and time.

    SFUMATO_DATA=... python benchmarks/recipe.py

Poisson sampling, add/remove, PLD, secure noise. The settings below were chosen on the last 10,000
records of the training parts, held out, before a test part was read: ``--holdout`` judges there,
with ``--set KEY=VALUE`` for others than these, and writes nothing. The features of a data set are
computed once and shared by its runs; their seconds, and those of the whitening, are reported beside
each training's. Rows of data sets that are not asked for stay in the file as they were.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from sfumato.data import datasets
from sfumato.learn.recipe import ScatterLinear
from sfumato.privacy.budget import Budget
from sfumato.versions import versions

DELTA = 1e-5
HELD_OUT = 10_000
METHOD = ScatterLinear(classes=10)
REPORTED = (
    *("sample_rate", "steps", "max_grad_norm", "learning_rate", "momentum", "averaged"),
    *("centre_share", "smooth_weight", "drawings", "ridge", "upright"),
)
SETTINGS: dict[tuple[str, float], dict[str, Any]] = {
    ("mnist", 1.0): {"learning_rate": 5.0, "upright": True},
    ("mnist", 3.0): {"learning_rate": 8.0, "upright": True},
    ("fashion-mnist", 1.0): {"learning_rate": 8.0},
    ("fashion-mnist", 2.7): {
        "learning_rate": 25.0,
        "sample_rate": 0.25,
        "steps": 160,
        "drawings": 6000,
    },
}
TARGETS = {
    ("mnist", 1.0): 98.4,
    ("mnist", 3.0): 98.8,
    ("fashion-mnist", 1.0): 88.5,
    ("fashion-mnist", 2.7): 90.0,
}


class Clock:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        """Of the wall and of all cores together."""
        wall, cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu
        return {"wall": round(wall, 1), "cpu": round(cpu, 1)}


def features(method: ScatterLinear, name: str, split: str) -> tuple[Tensor, Tensor, dict]:
    """Features (n, d), labels (n,) and the seconds that the features took."""
    data = datasets.load(name, split)
    clock = Clock()
    paths, height, width = method.scattering.shape(*data.schema.shape)
    found = torch.empty(len(data), paths * height * width)
    start = 0
    for images, _ in data.batches(2000):
        found[start : start + len(images)] = method.features(torch.from_numpy(images))
        start += len(images)
    return found, torch.from_numpy(data.labels), clock.read()


def measured(name: str, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The rows of a data set, one by one."""
    changed = dict(yaml.safe_load(item.replace("=", ": ", 1)).popitem() for item in args.set)
    methods = {
        epsilon: ScatterLinear(classes=10, **{**SETTINGS[name, epsilon], **changed})
        for epsilon in args.epsilon
        if (name, epsilon) in SETTINGS
    }
    (shaped,) = {replace(METHOD, upright=method.upright) for method in methods.values()}
    inputs, labels, seconds = features(shaped, name, "train")
    if args.holdout:
        judged, truth = inputs[-HELD_OUT:], labels[-HELD_OUT:]
        inputs, labels = inputs[:-HELD_OUT], labels[:-HELD_OUT]
    else:
        judged, truth, _ = features(shaped, name, "test")
    for epsilon, method in methods.items():
        calibrated = method.calibrate(Budget(epsilon, DELTA), records=len(labels))
        clock = Clock()
        whitening = method.whitening((1, 28, 28))
        row: dict[str, Any] = {
            "data": name,
            "epsilon": epsilon,
            "delta": DELTA,
            "proven": calibrated.guarantee().epsilon(),
            "noise_multiplier": calibrated.dp_sgd.noise_multiplier,
            "mean_multiplier": calibrated.mean_multiplier,
            "settings": {key: getattr(method, key) for key in REPORTED},
            "feature_seconds": seconds,
            "whitening_seconds": clock.read(),
            "training_seconds": [],
            "accuracy": [],
            "versions": versions(),
        }
        for _ in range(args.runs):
            clock = Clock()
            model = calibrated.fit_features(inputs, labels, whitening=whitening)
            row["training_seconds"].append(clock.read())
            found = (judged @ model.weight.T + model.bias).argmax(dim=1)
            row["accuracy"].append(round(100 * float((found == truth).double().mean()), 2))
            print(name, epsilon, row["accuracy"][-1], row["training_seconds"][-1], flush=True)
        row["mean"] = round(statistics.fmean(row["accuracy"]), 2)
        row["target"] = TARGETS[name, epsilon]
        row["met"] = row["mean"] >= row["target"]
        row["load"] = os.getloadavg()
        yield row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="+", default=["mnist", "fashion-mnist"])
    parser.add_argument("--epsilon", nargs="+", type=float, default=[1.0, 2.7, 3.0])
    parser.add_argument("--runs", type=int, default=3, help="trainings of each setting")
    parser.add_argument("--holdout", action="store_true", help="judge on held-out records")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/recipe.json"))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for name in args.data:
        for row in measured(name, args):
            if args.holdout:
                print(json.dumps(row, indent=1), flush=True)
            else:
                keep(args.out, {**row, "threads": args.threads})


def keep(file: Path, row: dict[str, Any]) -> None:
    """Puts a row into the report, in place of that of the same data and epsilon."""
    report = json.loads(file.read_text()) if file.exists() else {"runs": []}
    rows = {(row["data"], row["epsilon"]): row for row in [*report["runs"], row]}
    report = {
        "command": "python benchmarks/recipe.py",
        "machine": {"cores": os.cpu_count(), "system": platform.platform()},
        "seeds": "none: sampling and noise come from the operating system's entropy in every run",
        "tuned_on": "the last 10,000 records of each training part, trained on the first 50,000",
        "runs": [rows[key] for key in SETTINGS if key in rows],
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
