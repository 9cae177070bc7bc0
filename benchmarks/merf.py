"""What a classifier learns from a release of ``generators.merf`` alone, on real test images.

For each data set, budget and seed: publish the whole training part, train the small CNN of
``sfumato.measure`` on the release, and judge it on the real test part. Beside it the same CNN
trained on the real images, and the majority class. Run from the repository's root:

    SFUMATO_DATA=... python benchmarks/merf.py --out benchmarks/results/merf.json

``--validate`` publishes five sixths of the training part and judges on the sixth held out: what the
defaults were chosen with. The test part is for the final run.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import platform
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from sfumato.data import ImageSet, datasets
from sfumato.measure.cnn import ARCHITECTURE, CONVOLUTIONAL, classifier
from sfumato.measure.intervals import clopper_pearson
from sfumato.privacy.budget import Budget
from sfumato.privacy.ledger import Ledger
from sfumato.publish.generators.merf import Merf
from sfumato.publish.method import settings
from sfumato.versions import versions

WHAT = "Accuracy on real test images of a classifier that learnt from a release alone."
SPLIT_SEED = 2026


def parts(name: str, validate: bool) -> tuple[ImageSet, ImageSet]:
    """What is published and what the release is judged on."""
    train = images(name, "train")
    return train.split(1 / 6, SPLIT_SEED) if validate else (train, images(name, "test"))


def images(name: str, split: str) -> ImageSet:
    data = datasets.load(name, split=split)
    assert isinstance(data, ImageSet)
    return data


def accuracy(train: ImageSet, judged: ImageSet, seed: int) -> dict[str, Any]:
    """Of a CNN trained on one set, on another, with its exact binomial interval of 95 %."""
    start = time.perf_counter()
    classes = len(judged.schema.classes)
    model = classifier(CONVOLUTIONAL, train.images, train.labels, classes, seed=seed)
    right = int((model.predict(judged.images).argmax(axis=1) == judged.labels).sum())
    return {
        "accuracy": round(right / len(judged), 4),
        "interval": [round(bound, 4) for bound in clopper_pearson(right, len(judged))],
        "training_seconds": round(time.perf_counter() - start, 1),
    }


def released(chosen: Merf, data: ImageSet, budget: Budget) -> tuple[ImageSet, float, float]:
    """The release's images, its seconds, and the epsilon its event gives."""
    start = time.perf_counter()
    calibrated = chosen.calibrate(budget, data.schema.with_records(len(data)))
    release = calibrated(data, ledger=Ledger.in_memory())
    assert isinstance(release.data, ImageSet)
    return release.data, time.perf_counter() - start, calibrated.guarantee.epsilon()


def row(job: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """One training set and one classifier."""
    import torch

    torch.set_num_threads(args.threads)
    private, judged = parts(job["data"], args.validate)
    if job["trained_on"] == "majority class":
        return {**job, "accuracy": majority(judged)}
    data, made = private, {}
    if job["trained_on"] == "release":
        budget = Budget(job["epsilon"], args.delta)
        data, seconds, spent = released(method(args, job["seed"]), private, budget)
        made = {"delta": args.delta, "epsilon_spent": round(spent, 6), "images": len(data)}
        made["publishing_seconds"] = round(seconds, 1)
    return {**job, **made, **accuracy(data, judged, job["seed"])}


def jobs(args: argparse.Namespace) -> list[dict[str, Any]]:
    """What is to be run, the budgets in the order they were given."""
    todo: list[dict[str, Any]] = [
        {"data": name, "trained_on": "majority class"} for name in args.data
    ]
    for epsilon in args.epsilon:
        todo += [
            {"data": name, "trained_on": "release", "epsilon": epsilon, "seed": seed}
            for name in args.data
            for seed in args.seeds
        ]
    if not args.validate:
        todo += [
            {"data": name, "trained_on": "real images", "seed": seed}
            for name in args.data
            for seed in args.seeds
        ]
    return todo


def method(args: argparse.Namespace, seed: int | None = None) -> Merf:
    chosen = {key: json.loads(value) for key, value in (item.split("=", 1) for item in args.set)}
    return Merf.paper(**chosen, seed=seed) if args.paper else Merf(**chosen, seed=seed)


def run(args: argparse.Namespace) -> list[dict[str, Any]]:
    """All rows; what there is so far is written after each."""
    found = []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(args.processes, mp_context=context) as pool:
        for result in pool.map(row, jobs(args), itertools.repeat(args)):
            print(json.dumps(result), flush=True)
            found.append(result)
            if args.out is not None:
                args.out.parent.mkdir(parents=True, exist_ok=True)
                args.out.write_text(json.dumps(report(args, found), indent=1) + "\n", "utf-8")
    return found


def report(args: argparse.Namespace, found: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "what": WHAT,
        "command": "python " + " ".join(sys.argv),
        "judged_on": "held-out training images" if args.validate else "test images",
        "settings": settings(method(args)),
        "classifier": f"{CONVOLUTIONAL}: {ARCHITECTURE}; 3 epochs of Adam, last checkpoint",
        "machine": {
            "processor": processor(),
            "cores": os.cpu_count(),
            "processes": args.processes,
            "torch_threads": args.threads,
            "system": platform.platform(),
            "note": args.note,
        },
        "versions": versions(),
        "summary": summary(found),
        "rows": found,
    }


def majority(judged: ImageSet) -> float:
    return round(float(np.bincount(judged.labels).max() / len(judged)), 4)


def summary(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean and standard deviation over seeds."""
    groups: dict[tuple[Any, ...], list[float]] = {}
    for one in found:
        key = (one["data"], one["trained_on"], one.get("epsilon"))
        groups.setdefault(key, []).append(one["accuracy"])
    return [
        {
            "data": data,
            "trained_on": source,
            "epsilon": epsilon,
            "seeds": len(values),
            "mean_accuracy": round(statistics.mean(values), 4),
            "stddev": round(statistics.stdev(values), 4) if len(values) > 1 else None,
        }
        for (data, source, epsilon), values in groups.items()
    ]


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")), "")


def main() -> None:
    parser = argparse.ArgumentParser(description=WHAT)
    parser.add_argument("--data", nargs="+", default=["mnist", "fashion-mnist"])
    parser.add_argument("--epsilon", nargs="+", type=float, default=[1.0, 10.0, 0.2])
    parser.add_argument("--delta", type=float, default=1e-5)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--set", action="append", default=[], metavar="KEY=JSON")
    parser.add_argument("--paper", action="store_true", help="the published hyper-parameters")
    parser.add_argument("--validate", action="store_true", help="judge on held-out training images")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--note", default="", help="written beside the machine")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    for line in summary(run(args)):
        print(json.dumps(line))


if __name__ == "__main__":
    main()
