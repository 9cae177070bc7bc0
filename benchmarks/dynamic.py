"""Noise that changes over the steps: by a schedule, and correlated; against constant noise.

    SFUMATO_DATA=... python benchmarks/dynamic.py

MNIST, Poisson sampling, PLD, secure noise, equal (epsilon, delta). Every row is kept in the results
as soon as it is there, and not repeated.

- ``rates``: the learning rate of each comparison, on 5,000 records held out of the training part;
  for schedules it is chosen with constant noise, and all schedules get it;
- ``schedules``: test accuracy, epsilon and time of ``learn.dynamic``'s schedules;
- ``leakage``: what inverting gradients (Geiping et al. 2020) finds in one clipped gradient under
  the noise of a step, by an attacker who knows all other records of the batch: the initial network,
  where it is easiest. Success is an SSIM of at least 0.5;
- ``correlated``: banded matrix factorisation, with the number of bands that has the least error,
  against DP-SGD, both under zero-out.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.attack.gradients.inversion import InvertingGradients, gradients_of
from sfumato.attack.gradients.likeness import mse, ssim
from sfumato.data import datasets
from sfumato.learn import correlated
from sfumato.learn.accounted import Mechanism
from sfumato.learn.architectures import build
from sfumato.learn.clipping import Flat
from sfumato.learn.correlated import CorrelatedDpSgd
from sfumato.learn.dynamic import DynamicDpSgd
from sfumato.learn.grouped import GroupedSampling
from sfumato.learn.noise import STREAM, standard_gaussian
from sfumato.learn.schedules import KINDS, named
from sfumato.learn.toeplitz import Workload
from sfumato.learn.trainer import PrivateTrainer
from sfumato.measure.intervals import clopper_pearson
from sfumato.privacy.budget import Budget
from sfumato.versions import versions

RESULTS = Path(__file__).parent / "results" / "dynamic.json"
RECORDS, HELD_OUT, DELTA, MOMENTUM = 60_000, 5000, 1e-5, 0.9
CLIP, FALL = 0.1, 15 / 4.85
SEEDS = (1, 2, 3)
SCHEDULED = {"epsilon": 1.0, "batch": 300, "steps": 250}
CORRELATED = {"batch": 600, "steps": 1000}
EPSILONS = (1.0, 3.0, 8.0)
RATES = (1.0, 2.0, 4.0)
TARGETS, ITERATIONS, SMOOTH = 8, (100, 400), 0.1
LADDER = (0.0, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)


def losses(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of each example."""
    return F.cross_entropy(outputs, targets, reduction="none")


def network(kind: str, seed: int) -> nn.Module:
    """The network of a comparison: the small CNN, or one hidden layer of 64."""
    made: dict[str, Any] = {"family": kind, "shape": [1, 28, 28], "classes": 10}
    return build(made | ({"hidden": [64]} if kind == "dense" else {}), seed=seed)


@lru_cache(maxsize=2)
def load(split: str) -> tuple[Tensor, Tensor]:
    """Images (n, 1, 28, 28) and labels (n,)."""
    data = datasets.load("mnist", split)
    return torch.from_numpy(data.images), torch.from_numpy(data.labels).long()


def parts(tuning: bool) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """What is trained on and what is judged on; the test part is not read while tuning."""
    images, labels = load("train")
    if not tuning:
        return (images, labels), load("test")
    cut = RECORDS - HELD_OUT
    return (images[:cut], labels[:cut]), (images[cut:], labels[cut:])


def scheduled(kind: str, records: int) -> DynamicDpSgd:
    """A schedule at the budget."""
    return DynamicDpSgd.calibrate(
        Budget(SCHEDULED["epsilon"], DELTA),
        records=records,
        expected_batch_size=SCHEDULED["batch"],
        steps=int(SCHEDULED["steps"]),
        clipping=Flat(CLIP),
        noise_schedule=named(kind, FALL, 1.0),
    )


def banded(epsilon: float, best: bool, records: int) -> CorrelatedDpSgd:
    """DP-SGD, or the best number of bands, at a budget."""
    batch, steps, workload = CORRELATED["batch"], CORRELATED["steps"], Workload(MOMENTUM)
    if best:
        return correlated.best(
            Budget(epsilon, DELTA),
            records=records,
            expected_batch_size=batch,
            steps=steps,
            clipping=Flat(CLIP),
            workload=workload,
        )
    return CorrelatedDpSgd.calibrate(
        Budget(epsilon, DELTA),
        GroupedSampling.of_batches(records, batch, 1),
        steps=steps,
        clipping=Flat(CLIP),
        workload=workload,
    )


def trained(kind: str, mechanism: Mechanism, rate: float, seed: int, tuning: bool) -> dict:
    """Accuracy, cost and time of one training."""
    (images, labels), (others, truth) = parts(tuning)
    module = network(kind, seed)
    optimizer = torch.optim.SGD(module.parameters(), rate, MOMENTUM)
    trainer = PrivateTrainer(module, losses, optimizer, mechanism, (images, labels))
    wall, cpu = time.perf_counter(), time.process_time()
    trainer.fit()
    seconds = time.perf_counter() - wall, time.process_time() - cpu
    with torch.no_grad():
        right = int((module.eval()(others).argmax(1) == truth).sum())
    interval = clopper_pearson(right, len(truth))
    return {
        "seed": seed,
        "learning_rate": rate,
        "accuracy": right / len(truth),
        "interval": [round(float(end), 4) for end in interval],
        "epsilon_spent": mechanism.epsilon(),
        "seconds": [round(value, 1) for value in seconds],
    }


class Results:
    """Rows that are on the disk as soon as they are there.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.values: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def row(self, part: str, key: dict[str, Any], make: Any) -> dict[str, Any]:
        """The row of this key, made if it is missing."""
        rows = self.values.setdefault(part, [])
        for row in rows:
            if all(row.get(name) == value for name, value in key.items()):
                return row
        row = key | make()
        rows.append(row)
        self.values["machine"] = {
            "platform": platform.platform(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "versions": versions(),
        }
        self._path.write_text(json.dumps(self.values, indent=1) + "\n")
        print(part, json.dumps(row), flush=True)
        return row


def chosen_rate(results: Results, comparison: str, **key: Any) -> float:
    """The rate with the best accuracy on the hold-out, one seed."""
    cut = RECORDS - HELD_OUT
    dense = comparison == "correlated"
    mechanism = banded(**key, records=cut) if dense else scheduled("constant", cut)
    kind = "dense" if dense else "small-cnn"
    rows = [
        results.row(
            "rates",
            {"comparison": comparison, **key, "learning_rate": rate},
            lambda rate=rate: trained(kind, mechanism, rate, 0, True),
        )
        for rate in RATES
    ]
    return float(max(rows, key=lambda row: row["accuracy"])["learning_rate"])


def schedules(results: Results) -> None:
    """Each schedule, with the rate of constant noise."""
    rate = chosen_rate(results, "schedules")
    for seed in SEEDS:
        for kind in KINDS:
            mechanism = scheduled(kind, RECORDS)
            ends = {
                "first": mechanism.multiplier_at(0),
                "last": mechanism.multiplier_at(mechanism.steps - 1),
            }
            results.row(
                "schedules",
                {"schedule": kind, "seed": seed},
                lambda m=mechanism, s=seed, e=ends: e | trained("small-cnn", m, rate, s, False),
            )


def leakage(results: Results) -> None:
    """Inversion under a ladder of noise, and under the first and last noise of each schedule."""
    for multiplier in LADDER:
        results.row(
            "leakage", {"noise": f"multiplier {multiplier:g}"}, lambda m=multiplier: attacked(m)
        )
    for kind in KINDS:
        mechanism = scheduled(kind, RECORDS)
        for name, step in (("first", 0), ("last", mechanism.steps - 1)):
            if kind != "constant" or name == "first":
                multiplier = mechanism.multiplier_at(step)
                results.row(
                    "leakage",
                    {"noise": f"{kind}, {name} step"},
                    lambda m=multiplier: attacked(m),
                )
    results.row("leakage", {"noise": "no gradient at all"}, lambda: attacked(float("inf")))


def attacked(multiplier: float) -> dict[str, Any]:
    """What is found in one gradient of each target, clipped and noised; labels are known."""
    images, labels = (part[:TARGETS] for part in load("train"))
    module = network("small-cnn", 0)
    gradients = gradients_of(module, losses, images, labels).detach()
    sent = gradients * (CLIP / gradients.norm(dim=1, keepdim=True)).clamp(max=1)
    noise = standard_gaussian(sent.numel(), STREAM).view(sent.shape).float()
    blind = multiplier == float("inf")
    seen = noise if blind else sent + multiplier * CLIP * noise
    truth, found = images.numpy(), []
    began = time.perf_counter()
    for iterations in ITERATIONS:
        attack = InvertingGradients(iterations, tv=SMOOTH)
        pictures = attack(module, losses, seen, labels, (1, 28, 28)).pictures.numpy()
        found.append((iterations, ssim(pictures, truth), mse(pictures, truth)))
    _, alike, apart = max(found, key=lambda one: float(one[1].mean()))
    enough = [n for n, likeness, _ in found if (likeness >= 0.5).mean() >= 0.5]
    recovered = int((alike >= 0.5).sum())
    return {
        "multiplier": None if blind else multiplier,
        "success": recovered / TARGETS,
        "interval": [round(float(end), 3) for end in clopper_pearson(recovered, TARGETS)],
        "ssim": float(alike.mean()),
        "mse": float(np.mean(apart)),
        "iterations_for_half": min(enough) if enough else None,
        "seconds": round(time.perf_counter() - began, 1),
    }


def factorised(results: Results) -> None:
    """The best number of bands against one, each with its own learning rate."""
    for epsilon in EPSILONS:
        for best in (False, True):
            rate = chosen_rate(results, "correlated", epsilon=epsilon, best=best)
            mechanism = banded(epsilon, best, RECORDS)
            about = {
                "bands": len(mechanism.coefficients),
                "noise_multiplier": mechanism.noise_multiplier,
                "error_of_sums": mechanism.error(Workload(MOMENTUM)),
            }
            for seed in SEEDS:
                results.row(
                    "correlated",
                    {"epsilon": epsilon, "best": best, "seed": seed},
                    lambda s=seed, m=mechanism, r=rate, a=about: (
                        a | trained("dense", m, r, s, False)
                    ),
                )


def main() -> None:
    """Runs what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    every = {"leakage": leakage, "correlated": factorised, "schedules": schedules}
    parser.add_argument("--part", choices=every, action="append")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--results", type=Path, default=RESULTS)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    results = Results(asked.results)
    for part in asked.part or every:
        every[part](results)


if __name__ == "__main__":
    main()
