"""PATE on MNIST and Fashion-MNIST: labels at epsilon, and the student that learns them.

    SFUMATO_DATA=... python benchmarks/pate.py --cache FOLDER

Teachers see the first 50,000 training images; the last 10,000, without their labels, are declared
the public pool; the student is judged on the test part. "paper" is the setting of Papernot et al.
2018: 250 teachers on all 60,000, a pool of the first 9,000 test images asked in random order, the
threshold test and the noise they print, and the last 1,000 test images to judge by. "digits" puts
another public set to the vote, the 1,797 small digits that come with scikit-learn.

Epsilon is data-independent (PLD, add/remove), the noise secure. Settings were chosen on training
images held out for it. Each (name, run) can be had alone, and is kept: ``--only mnist-1 --run 0``.
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
import torch
from numpy.typing import NDArray
from torch import Tensor

from sfumato.data import datasets
from sfumato.learn.pate.shards import Shards
from sfumato.learn.pate.student import Layer
from sfumato.learn.pate.teachers import KernelRidge, votes_of
from sfumato.learn.pate.teaching import CalibratedPate, Pate, affordable_queries
from sfumato.learn.pate.voting import Answers
from sfumato.learn.recipe import ScatterLinear
from sfumato.privacy.budget import Budget
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import SECURE
from sfumato.versions import versions

DELTA = 1e-5
PRIVATE = 50_000
TEACHERS = 500  # one for every hundred private records
RUNS = 3
SETTINGS: dict[str, tuple[str, float]] = {
    "mnist-0.3": ("mnist", 0.3),
    "mnist-1": ("mnist", 1.0),
    "mnist-2.5": ("mnist", 2.5),
    "fashion-mnist-1": ("fashion-mnist", 1.0),
    "fashion-mnist-2.5": ("fashion-mnist", 2.5),
    "digits-1": ("mnist", 1.0),
    "paper": ("mnist", 0.0),
}
METHOD = ScatterLinear(classes=10)


class Images:
    """One part of a data set: pixels, labels, and features on demand from a 16-bit file."""

    def __init__(self, name: str, split: str, cache: Path) -> None:
        data = datasets.load(name, split)
        self.pixels = torch.from_numpy(data.images)
        self.labels = torch.from_numpy(data.labels.astype(np.int64))
        file = cache / f"{name}-{split}.npy"
        if not file.exists():
            paths, height, width = METHOD.scattering.shape(*data.schema.shape)
            found = np.empty((len(data), paths * height * width), np.float16)
            for start in range(0, len(data), 2000):
                part = METHOD.features(self.pixels[start : start + 2000])
                found[start : start + len(part)] = part.half().numpy()
            cache.mkdir(parents=True, exist_ok=True)
            np.save(file, found)
        self._features = np.load(file, mmap_mode="r")

    def features(self, rows: NDArray[np.int64]) -> Tensor:
        """(len(rows), d) float32."""
        return torch.from_numpy(self._features[rows]).float()


def digits() -> Tensor:
    """The public 8 x 8 digits of scikit-learn as (1797, 1, 28, 28) images."""
    from sklearn.datasets import load_digits

    small = torch.from_numpy(load_digits().images / 16.0).float()[:, None]
    large = torch.nn.functional.interpolate(small, size=(20, 20), mode="bicubic").clamp(0, 1)
    return torch.nn.functional.pad(large, (4, 4, 4, 4))


def accuracy(layer: Layer, images: Images, rows: NDArray[np.int64]) -> float:
    """In per cent."""
    right = [
        layer.scores(images.features(part)).argmax(dim=1) == images.labels[torch.from_numpy(part)]
        for part in np.array_split(rows, 10)
    ]
    return 100 * float(torch.cat(right).double().mean())


def paper(pate: CalibratedPate, train: Images, pool: Tensor, seed: int) -> Answers:
    """The pool in random order, put to 250 teachers under the noise of the paper."""
    asked = np.random.default_rng(seed).permutation(len(pool))[: pate.method.queries]
    votes = votes_of(
        KernelRidge(10),
        Shards(pate.method.teachers).draw(len(train.labels), SECURE),
        train.features,
        train.labels,
        pool[asked],
    )
    found = pate.voting.answer(votes, pate.neighbours, SECURE)
    return Answers(asked[found.queries], found.counts, found.asked)


def run(name: str, seed: int, cache: Path) -> dict[str, Any]:
    """One training."""
    data, epsilon = SETTINGS[name]
    train, test = Images(data, "train", cache), Images(data, "test", cache)
    began = time.perf_counter(), time.process_time()
    judged, truth = np.arange(10_000), None
    if name == "paper":
        method = Pate(10, teachers=250, queries=600, voting="confident", answers=286, seed=seed)
        calibrated = CalibratedPate(
            method, method.election(40.0), 40.0, DELTA, Neighbours.ADD_REMOVE
        )
        pool, truth, judged = test.features(judged[:9000]), test.labels[:9000], judged[9000:]
        answers = paper(calibrated, train, pool, seed)
    else:
        if name.startswith("digits"):
            pool = METHOD.features(digits())
        else:
            rows = np.arange(PRIVATE, 60_000)
            pool, truth = train.features(rows), train.labels[rows]
        budget = Budget(epsilon, DELTA)
        queries = min(affordable_queries(budget, TEACHERS, "gnmax"), len(pool) // 4)
        method = Pate(10, teachers=TEACHERS, queries=queries, seed=seed)
        calibrated = method.calibrate(budget)
        answers = calibrated.ask(train.features, train.labels[:PRIVATE], pool)
    layer = calibrated.teach(pool, answers)
    seconds = time.perf_counter() - began[0], time.process_time() - began[1]
    found: dict[str, Any] = {
        "epsilon": calibrated.guarantee().epsilon(),
        "teachers": calibrated.method.teachers,
        "noise": calibrated.noise,
        "asked": answers.asked,
        "answered": len(answers.queries),
        "pool": len(pool),
        "student accuracy": accuracy(layer, test, judged),
        "seconds": {"wall": round(seconds[0], 1), "cpu": round(seconds[1], 1)},
    }
    if truth is not None:
        right = answers.labels == truth[answers.queries].numpy()
        found["answers right"] = 100 * float(right.mean())
        spread = calibrated.targets(pool, answers).argmax(axis=1) == truth.numpy()
        found["pool labels right"] = 100 * float(spread.mean())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--run", type=int, nargs="+", default=list(range(RUNS)))
    parser.add_argument("--cache", type=Path, default=Path("features"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/pate.json"))
    args = parser.parse_args()
    for name in args.only:
        for seed in args.run:
            found = run(name, seed, args.cache)
            print(name, seed, json.dumps(found), flush=True)
            keep(args.out, name, seed, found)


def keep(file: Path, name: str, seed: int, found: dict[str, Any]) -> None:
    """Adds one run to the report."""
    report = json.loads(file.read_text()) if file.exists() else {"runs": {}}
    report["command"] = "python benchmarks/pate.py"
    report["machine"] = {"cores": os.cpu_count(), "system": platform.platform()}
    report["versions"] = versions()
    report["runs"].setdefault(name, {})[str(seed)] = found
    report["summary"] = {
        name: {
            key: {
                "mean": round(statistics.fmean(values), 2),
                "least": round(min(values), 2),
                "most": round(max(values), 2),
            }
            for key in (
                "epsilon",
                "answered",
                "answers right",
                "pool labels right",
                "student accuracy",
            )
            if (values := [run[key] for run in runs.values() if key in run])
        }
        | {"runs": len(runs)}
        for name, runs in report["runs"].items()
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
