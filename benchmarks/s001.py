"""S001's curves: train and test accuracy against epochs and epsilon, for three noise multipliers.

The network is the one its text describes, after Abadi et al. 2016: inputs projected to 60 noisy
principal directions, 1,000 ReLU units, lots of 600, clip norm 4, noise multiplier 8, 4 and 2 (16, 7
and 4 for the directions), learning rate 0.1 falling to 0.052 over ten epochs. Here records are
sampled as accounted, the directions are paid for, and epsilon is that of both together (privacy
loss distributions, add-remove, delta 1e-5). The text says that epsilon is 0.5 throughout: the last
part of the result says after how many epochs that holds.

    SFUMATO_DATA=... python benchmarks/s001.py    # writes results/s001.json and s001.png

Nothing was tuned. A run that is interrupted goes on where the result file stops.
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

import torch
from torch import Tensor, nn
from torch.nn import functional

from sfumato.data import datasets
from sfumato.learn.clipping import Flat
from sfumato.learn.mechanism import DpSgd
from sfumato.learn.principal import PrincipalDirections
from sfumato.learn.sampling import PoissonSampling
from sfumato.learn.trainer import PrivateTrainer
from sfumato.privacy import accounting, events
from sfumato.privacy.neighbours import Neighbours
from sfumato.versions import versions

RESULTS = Path(__file__).parent / "results"
RECORDS, LOT, BOUND, DELTA, COMPONENTS = 60_000, 600, 4.0, 1e-5, 60
MULTIPLIERS = {8.0: 16.0, 4.0: 7.0, 2.0: 4.0}  # of the steps, of the directions
AT = (1, 2, 3, 5, 7, 10, 15, 20, 30, 40, 50)  # epochs at which accuracy is measured
SEEDS = 3
STEPS = RECORDS // LOT
CLAIMED = 0.5


def losses(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of each example."""
    return functional.cross_entropy(outputs, targets, reduction="none")


def rate(step: int) -> float:
    """The factor on a learning rate of 0.1: falling to 0.52 over ten epochs."""
    return max(0.52, 1 - 0.48 * step / (10 * STEPS))


def epsilon(multiplier: float, epochs: float) -> float:
    """Of the directions and the steps of so many epochs."""
    step = PoissonSampling(RECORDS, LOT / RECORDS).event(multiplier)
    directions = PrincipalDirections(COMPONENTS, MULTIPLIERS[multiplier]).event
    event = events.compose(directions, events.repeat(step, max(1, round(epochs * STEPS))))
    return accounting.epsilon(event, DELTA, Neighbours.ADD_REMOVE)


def run(multiplier: float, seed: int, train: Any, test: Any) -> list[dict[str, Any]]:
    """One training, measured along the way."""
    directions = PrincipalDirections(COMPONENTS, MULTIPLIERS[multiplier])
    from sfumato.learn.noise import STREAM

    found = directions.release(train[0], STREAM)
    inputs, others = (part[0].flatten(1) @ found for part in (train, test))
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(COMPONENTS, 1000), nn.ReLU(), nn.Linear(1000, 10))
    mechanism = DpSgd(
        PoissonSampling(RECORDS, LOT / RECORDS),
        Flat(BOUND),
        multiplier,
        AT[-1] * STEPS,
        DELTA,
    )
    trainer = PrivateTrainer(
        module,
        losses,
        torch.optim.SGD(module.parameters(), 0.1),
        mechanism,
        (inputs, train[1]),
        schedule=rate,
    )
    rows, done = [], 0
    for epochs in AT:
        trainer.fit((epochs - done) * STEPS)
        done = epochs
        with torch.no_grad():
            right = [
                float((module(x).argmax(dim=1) == y).float().mean())
                for x, y in ((inputs, train[1]), (others, test[1]))
            ]
        rows.append(
            {
                "noise_multiplier": multiplier,
                "seed": seed,
                "epochs": epochs,
                "epsilon": round(epsilon(multiplier, epochs), 4),
                "train_accuracy": round(right[0], 4),
                "test_accuracy": round(right[1], 4),
            }
        )
    return rows


def epochs_of(multiplier: float, target: float) -> float:
    """After how many epochs epsilon reaches a target; 0 if the directions alone cost more."""
    if epsilon(multiplier, 1 / STEPS) > target:
        return 0.0
    low, high = 1 / STEPS, 1.0
    while epsilon(multiplier, high) < target:
        low, high = high, 2 * high
    while high - low > 0.05:
        middle = (low + high) / 2
        low, high = (middle, high) if epsilon(multiplier, middle) < target else (low, middle)
    return round(low, 1)


def draw(rows: list[dict[str, Any]], file: Path) -> None:
    """Accuracy against epochs and against epsilon, a line a noise multiplier."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4), sharey=True)
    colours = dict(zip(MULTIPLIERS, ("#1f4e79", "#b04a00", "#2f6b3c"), strict=True))
    for axis, key, label, ticks in (
        (axes[0], "epochs", "epochs", (1, 2, 5, 10, 20, 50)),
        (axes[1], "epsilon", "ε (δ = 1e-5, add-remove)", (0.2, 0.3, 0.5, 1, 2)),
    ):
        for multiplier, colour in colours.items():
            for part, style in (("train", "--"), ("test", "-")):
                points: dict[float, list[float]] = {}
                for row in rows:
                    if row["noise_multiplier"] == multiplier:
                        points.setdefault(row[key], []).append(row[f"{part}_accuracy"])
                x = sorted(points)
                y = [100 * statistics.mean(points[at]) for at in x]
                name = f"σ = {multiplier:g}, {part}"
                axis.plot(
                    x, y, style, color=colour, marker="." if part == "test" else "", label=name
                )
        axis.set_xscale("log")
        axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.minorticks_off()
        axis.set_xlabel(label)
        axis.grid(alpha=0.3)
    axes[1].axvline(CLAIMED, color="grey", lw=1)
    axes[1].annotate("ε = 0.5, as the text says", (1.03 * CLAIMED, 80), rotation=90, fontsize=8)
    axes[0].set_ylabel("accuracy, %")
    axes[0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(file, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=RESULTS / "s001.json")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    if options.out.exists():
        rows = json.loads(options.out.read_text())["rows"]
    parts = []
    for split in ("train", "test"):
        data = datasets.load("mnist", split)
        parts.append((torch.from_numpy(data.images), torch.from_numpy(data.labels).long()))
    for seed in range(options.seeds):
        for multiplier in MULTIPLIERS:
            if any(r["seed"] == seed and r["noise_multiplier"] == multiplier for r in rows):
                continue
            began = time.process_time()
            rows += run(multiplier, seed, *parts)
            print(f"σ = {multiplier:g}, seed {seed}: {time.process_time() - began:.0f} CPU s")
            options.out.write_text(json.dumps(_result(rows), indent=1) + "\n")
    draw(rows, options.out.with_suffix(".png"))


def _result(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "command": "python benchmarks/s001.py",
        "machine": {"cores": os.cpu_count(), "system": platform.platform()},
        "versions": versions(),
        "delta": DELTA,
        "epochs_until_epsilon_is_half": {f"{m:g}": epochs_of(m, CLAIMED) for m in MULTIPLIERS},
        "rows": rows,
    }


if __name__ == "__main__":
    main()
