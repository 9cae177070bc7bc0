"""Von Mises-Fisher against Gaussian noise at equal success of gradient inversion.

    SFUMATO_DATA=... python benchmarks/vmf.py

Three parts, each kept in the results as soon as it is done and not repeated:

- strength: what the attacks find in gradients without noise;
- attack: what they find in one noised gradient, for several strengths of both noises. The label
  by the closed form, the picture by inverting gradients, at the initial weights,
  where it is easiest;
- training: at several kappa, and at the Gaussian sigma with the same attack success, the test
  accuracy of a small network. Gaussian noise is added twice: to each gradient by itself, which is
  where von Mises-Fisher noise is added too, and once to the clipped sum, as private training does
  it. Learning rates are chosen on a hold-out of the MNIST training part.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.attack.gradients.inversion import DeepLeakage, InvertingGradients, gradients_of
from sfumato.attack.gradients.labels import label_of_bias
from sfumato.attack.gradients.likeness import mse, psnr, ssim
from sfumato.data import datasets
from sfumato.learn.clipping import Flat
from sfumato.learn.directional import Directional
from sfumato.learn.engine import Engine
from sfumato.learn.mechanism import DpSgd
from sfumato.learn.noise import STREAM, add_gaussian, standard_gaussian
from sfumato.learn.per_example import PerExample
from sfumato.learn.sampling import PoissonSampling
from sfumato.learn.von_mises_fisher import mean_cosine, perturbed
from sfumato.measure.intervals import clopper_pearson
from sfumato.privacy.neighbours import Neighbours
from sfumato.versions import versions

SHAPE, CLASSES = (1, 28, 28), 10
CLIP = 1.0
TARGETS, LABELLED = 12, 2000  # pictures attacked by search, and by the closed form
ITERATIONS, SMOOTH = 400, (0.01, 0.1)  # the attacker takes the better total-variation weight
KAPPAS = (
    *(30.0, 60.0, 100.0, 180.0, 300.0, 550.0, 1000.0),
    *(3000.0, 5500.0, 10_000.0, 18_000.0, 30_000.0),
)
PICTURED = 3000.0  # below this kappa, and above the same Gaussian noise, no picture is recovered
STEPS, BATCH, RECORDS, HELD_OUT = 200, 128, 60_000, 5000
TRAINED = (100.0, 300.0, 10_000.0)
RATES = (0.01, 0.03, 0.1, 0.3)
MOMENTUM = 0.9
DELTA = 1e-5
SEEDS = (1, 2, 3)


def losses(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of each example."""
    return F.cross_entropy(outputs, targets, reduction="none")


def network(seed: int) -> nn.Module:
    """Two strided convolutions and a linear layer with tanh: 5,746 parameters."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 8, 5, stride=2, padding=2), nn.Tanh(),
        nn.Conv2d(8, 8, 5, stride=2, padding=2), nn.Tanh(),
        nn.Flatten(), nn.Linear(392, CLASSES),
    )  # fmt: skip


SIZE = sum(p.numel() for p in network(0).parameters())


@lru_cache(maxsize=4)
def load(name: str, split: str) -> tuple[Tensor, Tensor]:
    """Images (n, 1, 28, 28) in [0, 1] and labels (n,)."""
    data = datasets.load(name, split)
    images = np.concatenate([part for part, _ in data.batches(5000)])
    return torch.from_numpy(images).float(), torch.from_numpy(data.labels).long()


def clipped(gradients: Tensor) -> Tensor:
    """(n, d) gradients of length at most ``CLIP``."""
    return gradients * (CLIP / gradients.norm(dim=1, keepdim=True)).clamp(max=1)


def noised(gradients: Tensor, noise: str, strength: float) -> Tensor:
    """(n, d) gradients, each with noise of its own."""
    if noise == "von Mises-Fisher":
        return perturbed(gradients, strength).float()
    drawn = standard_gaussian(gradients.numel()).view(gradients.shape).float()
    return clipped(gradients) + CLIP * strength * drawn


def attacked(name: str, noise: str, strength: float) -> dict[str, Any]:
    """What is found in one noised gradient of each picture."""
    images, labels = load(name, "train")
    module = network(0)
    gradients = torch.cat(
        [
            gradients_of(module, losses, images[i : i + 250], labels[i : i + 250]).detach()
            for i in range(0, LABELLED, 250)
        ]
    )
    seen = noised(gradients, noise, strength)
    right = int((label_of_bias(seen[:, -CLASSES:]) == labels[:LABELLED]).sum())
    row: dict[str, Any] = {
        "data": name,
        "noise": noise,
        "strength": strength,
        "label_accuracy": right / LABELLED,
        "label_interval": list(clopper_pearson(right, LABELLED)),
    }
    if (strength if noise == "von Mises-Fisher" else math.sqrt(SIZE) / strength) >= 0.99 * PICTURED:
        known = labels[:TARGETS]
        found = [
            InvertingGradients(ITERATIONS, tv=tv)(module, losses, seen[:TARGETS], known, SHAPE)
            for tv in SMOOTH
        ]
        alike = [ssim(one.pictures.numpy(), images[:TARGETS].numpy()) for one in found]
        best = max(range(len(SMOOTH)), key=lambda i: float(alike[i].mean()))
        pictures, truth = found[best].pictures.numpy(), images[:TARGETS].numpy()
        row |= {
            "tv": SMOOTH[best],
            "iterations": ITERATIONS,
            "ssim": float(alike[best].mean()),
            "ssim_stderr": float(alike[best].std(ddof=1) / math.sqrt(TARGETS)),
            "recovered": float((alike[best] >= 0.5).mean()),
            "mse": float(mse(pictures, truth).mean()),
            "psnr": float(psnr(pictures, truth).mean()),
        }
    return row


def strength(name: str) -> dict[str, Any]:
    """The attacks on gradients without noise."""
    images, labels = load(name, "train")
    module = network(0)
    truth = images[:TARGETS]
    seen = gradients_of(module, losses, images[:LABELLED], labels[:LABELLED]).detach()
    right = float((label_of_bias(seen[:, -CLASSES:]) == labels[:LABELLED]).double().mean())
    row: dict[str, Any] = {"data": name, "pictures": LABELLED, "label_accuracy": right}
    clock = time.process_time()
    found = InvertingGradients(1200)(module, losses, seen[:TARGETS], labels[:TARGETS], SHAPE)
    row["inverting_gradients"] = summary(found.pictures, truth, time.process_time() - clock)
    clock = time.process_time()
    attack = DeepLeakage(iterations=150, guesses=2)
    deep = attack(module, losses, seen[:4], None, SHAPE, classes=CLASSES)
    row["deep_leakage"] = summary(deep.pictures, truth[:4], time.process_time() - clock)
    row["deep_leakage"]["label_accuracy"] = float((deep.labels == labels[:4]).double().mean())
    return row


def summary(pictures: Tensor, truth: Tensor, seconds: float) -> dict[str, Any]:
    """How alike the pictures are."""
    found, real = pictures.numpy(), truth.numpy()
    return {
        "pictures": len(found),
        "ssim": [round(float(value), 3) for value in ssim(found, real)],
        "psnr": round(float(psnr(found, real).mean()), 1),
        "mse": float(mse(found, real).mean()),
        "cpu_seconds": round(seconds, 1),
    }


def matched(rows: list[dict[str, Any]], name: str, kappa: float) -> dict[str, Any]:
    """The Gaussian sigma with the same attack success, by interpolation in its logarithm."""
    mine = [row for row in rows if row["data"] == name]
    vmf = next(r for r in mine if r["noise"] == "von Mises-Fisher" and r["strength"] == kappa)
    # Where the picture can be partly recovered it is the measure; elsewhere the label is.
    measure = "ssim" if kappa >= PICTURED else "label_accuracy"
    gaussian = sorted(
        (r["strength"], r[measure]) for r in mine if r["noise"] == "Gaussian" and measure in r
    )
    sigmas, success = np.log([s for s, _ in gaussian]), np.array([value for _, value in gaussian])
    # Success falls with sigma; what the draws of the curve disagree about is smoothed.
    falling = np.minimum.accumulate(success)
    sigma = float(np.exp(np.interp(-vmf[measure], -falling, sigmas)))
    return {
        "kappa": kappa,
        "matched_by": measure,
        "success": vmf[measure],
        "sigma": sigma,
        "sigma_by_geometry": math.sqrt((1 / mean_cosine(kappa, SIZE) ** 2 - 1) / SIZE),
    }


def trained(
    name: str, arm: str, value: float, rate: float, seed: int, held_out: bool
) -> dict[str, Any]:
    """Test (or hold-out) accuracy in percent after ``STEPS`` steps."""
    images, labels = load(name, "train")
    if held_out:
        test = images[-HELD_OUT:], labels[-HELD_OUT:]
        images, labels = images[:-HELD_OUT], labels[:-HELD_OUT]
    else:
        test = load(name, "test")
    clock, module = time.process_time(), network(seed)
    step = stepper(module, arm, value, PoissonSampling.of_batches(len(labels), BATCH))
    optimizer = torch.optim.SGD(module.parameters(), lr=rate, momentum=MOMENTUM)
    for _ in range(STEPS):
        for parameter, gradient in zip(module.parameters(), step(images, labels), strict=True):
            parameter.grad = gradient
        optimizer.step()
    with torch.no_grad():
        right = float((module(test[0]).argmax(1) == test[1]).double().mean())
    seconds = round(time.process_time() - clock, 1)
    return {"value": value, "rate": rate, "accuracy": round(100 * right, 2), "cpu_seconds": seconds}


def stepper(
    module: nn.Module, arm: str, value: float, sampling: PoissonSampling
) -> Callable[[Tensor, Tensor], list[Tensor]]:
    """One step of an arm: the gradients by parameter."""
    if arm in ("von Mises-Fisher", "normalised, no noise"):
        per_example = PerExample(module, losses)
        noise = Directional(sampling, value or 1e12, STEPS, SIZE)

        def directional(images: Tensor, labels: Tensor) -> list[Tensor]:
            rows = torch.from_numpy(sampling.draw(len(labels), STREAM))
            blocks = per_example.blocks(images[rows], labels[rows])
            mean = noise.noisy_mean(blocks)
            return list(per_example.named(mean).values())

        return directional
    engine = Engine(module, losses, Flat(CLIP))

    def gaussian(images: Tensor, labels: Tensor) -> list[Tensor]:
        rows = torch.from_numpy(sampling.draw(len(labels), STREAM))
        sums = list(engine.clipped_sum(images[rows], labels[rows]).gradients.values())
        if value == 0:
            return [total / BATCH for total in sums]
        # Noise on each of n gradients is, in their sum, one draw of sqrt(n) times the size.
        times = math.sqrt(max(1, len(rows))) if arm == "Gaussian, each gradient" else 1.0
        return add_gaussian(sums, [value * times * CLIP] * len(sums), divisor=BATCH)

    return gaussian


class Results:
    """A JSON file that is written after every row, and rows that are not made twice."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.parts: dict[str, list[dict[str, Any]]] = {}
        if path.exists():
            self.parts = json.loads(path.read_text())["parts"]

    def row(self, part: str, key: dict[str, Any], make: Callable[[], dict[str, Any]]) -> Any:
        """The row with this key, made if it is missing."""
        rows = self.parts.setdefault(part, [])
        for found in rows:
            if all(found.get(name) == value for name, value in key.items()):
                return found
        rows.append(key | make())
        report = {
            "command": "python benchmarks/vmf.py",
            "machine": {"cores": os.cpu_count(), "system": platform.platform()},
            "versions": versions(),
            "settings": {
                "parameters": SIZE, "clip": CLIP, "steps": STEPS, "expected_batch_size": BATCH,
                "momentum": MOMENTUM, "rates": list(RATES), "seeds": list(SEEDS),
            },
            "parts": self.parts,
        }  # fmt: skip
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(report, indent=1) + "\n")
        print(part, rows[-1], flush=True)
        return rows[-1]


def arms() -> list[tuple[str, float]]:
    """Each arm with its kappa; the Gaussian ones get the sigma that is matched to it."""
    names = ("von Mises-Fisher", "Gaussian, each gradient", "Gaussian, sum")
    plain = [("clipped, no noise", 0.0), ("normalised, no noise", 0.0)]
    return plain + [(name, kappa) for kappa in TRAINED for name in names]


def value_of(results: Results, name: str, arm: str, kappa: float) -> float:
    """The strength of an arm's noise."""
    if kappa == 0 or arm == "von Mises-Fisher":
        return kappa
    return float(matched(results.parts["attack"], name, kappa)["sigma"])


def train_all(results: Results, names: list[str]) -> None:
    """All arms at all strengths, with the learning rate that was best on the hold-out."""
    best = {}
    for arm, kappa in arms():
        value = value_of(results, "mnist", arm, kappa)
        tuned = []
        for rate in RATES:
            key = {"data": "mnist", "arm": arm, "kappa": kappa, "rate": rate}
            make = partial(trained, "mnist", arm, value, rate, 0, True)
            tuned.append((results.row("tuning", key, make)["accuracy"], rate))
        best[arm, kappa] = max(tuned)[1]
    for name in names:
        for arm, kappa in arms():
            value, rate = value_of(results, name, arm, kappa), best[arm, kappa]
            for seed in SEEDS:
                key = {"data": name, "arm": arm, "kappa": kappa, "seed": seed}
                results.row("training", key, partial(trained, name, arm, value, rate, seed, False))


def table(results: Results, names: list[str]) -> None:
    """One line for each strength: what was matched, and the accuracies."""
    results.parts["table"] = []
    for name in names:
        for kappa in TRAINED:
            results.row(
                "table", {"data": name, "kappa": kappa}, partial(line, results, name, kappa)
            )


def line(results: Results, name: str, kappa: float) -> dict[str, Any]:
    """A kappa, the sigma of equal attack success, what each proves, and what each costs."""
    found = matched(results.parts["attack"], name, kappa)
    sampling = PoissonSampling.of_batches(RECORDS, BATCH)
    noise = Directional(sampling, kappa, STEPS, SIZE, DELTA)
    replaced = Neighbours.REPLACE_ONE
    central = DpSgd(sampling, Flat(CLIP), found["sigma"], STEPS, DELTA, replaced)
    accuracies: dict[str, list[float]] = {}
    for row in results.parts["training"]:
        if row["data"] == name and row["kappa"] in (0.0, kappa):
            accuracies.setdefault(row["arm"], []).append(row["accuracy"])
    return found | {
        "mean_cosine": mean_cosine(kappa, SIZE),
        "metric_epsilon": noise.guarantee().epsilon_per_distance,
        "vmf_pure_epsilon": noise.guarantee().epsilon(0.0),
        "vmf_epsilon": noise.guarantee().epsilon(),
        "gaussian_sum_epsilon": finite(central.epsilon()),
        "delta": DELTA,
        "accuracy": {
            arm: {"mean": round(statistics.fmean(v), 2), "stdev": round(statistics.stdev(v), 2)}
            for arm, v in accuracies.items()
        },
    }


def finite(figure: float) -> float | None:
    """The figure, as JSON has no infinity."""
    return figure if math.isfinite(figure) else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="+", default=["mnist", "fashion-mnist"])
    parser.add_argument("--parts", nargs="+", default=["strength", "attack", "training", "table"])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/vmf.json"))
    args = parser.parse_args()
    results = Results(args.out)
    for name in args.data if "strength" in args.parts else ():
        results.row("strength", {"data": name}, partial(strength, name))
    for name in args.data if "attack" in args.parts else ():
        for kappa in KAPPAS:
            for noise, value in (
                ("von Mises-Fisher", kappa),
                ("Gaussian", round(math.sqrt(SIZE) / kappa, 6)),
            ):
                key = {"data": name, "noise": noise, "strength": value}
                results.row("attack", key, partial(attacked, name, noise, value))
    if "training" in args.parts:
        train_all(results, args.data)
    if "table" in args.parts:
        table(results, args.data)


if __name__ == "__main__":
    main()
