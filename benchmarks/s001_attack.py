"""S001's two tables: accuracy and inference-attack success, 10k/20k/30k records by 10/25/50 epochs.

The text (Security and Communication Networks 2022, 1598826) trains a plain CNN and its private
network on MNIST and says that single-sample label inference succeeds 13.14 % of the time, "equal to
random guess". It defines neither the attack nor its chance level nor an interval. Here each cell
holds, with Clopper-Pearson intervals at 95 %:

- accuracy on 10,000 test images, and epsilon (PLD, add/remove, delta 1e-5) where there is one;
- ``gradient``: the label of one record from the gradient that its owner would send for it, read off
  the last layer's bias (iDLG) and weight; for the private network, clipped and noised as in a step.
  Chance is 1 in 10, and the share of the commonest digit for who knows the shares;
- ``model``: the label as the model predicts it, for members and for others. That is accuracy; what
  the training gave away about its own records is the difference;
- ``membership``: the AUC of ``membership.loss``, members against test images, chance 0.5.

    SFUMATO_DATA=... python benchmarks/s001_attack.py    # writes results/s001_attack.json

Scaled down to about 15 minutes on one core: one seed a cell; a training of 50 epochs is looked at
after 10 and 25 (no learning-rate decay in the plain CNN, so that a look is what a shorter training
would have been); the plain CNN is the two convolutions and two dense layers of
``sfumato.learn.architectures`` (26,010 weights), by Adam in batches of 128. The private network is
the text's (60 noisy principal directions, 1,000 ReLU units, lots of 600, clip norm 4). A run that
is interrupted goes on where the result file stops.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from s001 import BOUND, COMPONENTS, DELTA, LOT, MULTIPLIERS, losses
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional

from sfumato.attack.gradients.labels import label_of_bias, label_of_weight
from sfumato.attack.membership.scores import log_odds_of_scores
from sfumato.data import datasets
from sfumato.learn.architectures import build
from sfumato.learn.clipping import Flat
from sfumato.learn.mechanism import DpSgd
from sfumato.learn.noise import STREAM
from sfumato.learn.principal import PrincipalDirections
from sfumato.learn.sampling import PoissonSampling
from sfumato.learn.trainer import PrivateTrainer
from sfumato.measure import intervals
from sfumato.measure.cnn import one_torch_thread
from sfumato.privacy import accounting, events
from sfumato.privacy.neighbours import Neighbours
from sfumato.versions import versions

RESULTS = Path(__file__).parent / "results"
SIZES, EPOCHS, CLASSES = (10_000, 20_000, 30_000), (10, 25, 50), 10
ATTACKED, TARGETS, BATCH, RATE = 1000, 5000, 128, 1e-3
CLAIMED = {"success": 0.1314, "accuracy": 0.9875, "records": 10_000, "epochs": 10}


def plain(inputs: Tensor, labels: Tensor) -> Iterator[tuple[int, nn.Module, dict[str, Any]]]:
    """The CNN, looked at after each number of epochs."""
    module = build({"family": "small-cnn", "shape": [1, 28, 28], "classes": CLASSES}, seed=0)
    optimiser = torch.optim.Adam(module.parameters(), RATE)
    rng = torch.Generator().manual_seed(0)
    for epoch in range(1, EPOCHS[-1] + 1):
        for rows in torch.randperm(len(inputs), generator=rng).split(BATCH):
            optimiser.zero_grad()
            functional.cross_entropy(module(inputs[rows]), labels[rows]).backward()
            optimiser.step()
        if epoch in EPOCHS:
            yield epoch, module, {}


def private(
    multiplier: float,
) -> Callable[[Tensor, Tensor], Iterator[tuple[int, nn.Module, dict[str, Any]]]]:
    """The text's network by DP-SGD with a noise multiplier."""

    def train(inputs: Tensor, labels: Tensor) -> Iterator[tuple[int, nn.Module, dict[str, Any]]]:
        n = len(inputs)
        directions = PrincipalDirections(COMPONENTS, MULTIPLIERS[multiplier])
        found = directions.release(inputs, STREAM)
        torch.manual_seed(0)
        head = nn.Sequential(nn.Linear(COMPONENTS, 1000), nn.ReLU(), nn.Linear(1000, CLASSES))
        first = nn.Linear(784, COMPONENTS, bias=False).requires_grad_(False)
        first.weight.copy_(found.T)
        whole = nn.Sequential(nn.Flatten(), first, head)
        steps = round(n / LOT)  # an epoch
        sampling = PoissonSampling(n, LOT / n)
        mechanism = DpSgd(sampling, Flat(BOUND), multiplier, EPOCHS[-1] * steps, DELTA)
        trainer = PrivateTrainer(
            head,
            losses,
            torch.optim.SGD(head.parameters(), 0.1),
            mechanism,
            (inputs.flatten(1) @ found, labels),
            schedule=lambda step: max(0.52, 1 - 0.48 * step / (10 * steps)),
        )
        done = 0
        for epochs in EPOCHS:
            trainer.fit((epochs - done) * steps)
            done = epochs
            event = events.compose(
                directions.event, events.repeat(sampling.event(multiplier), epochs * steps)
            )
            epsilon = accounting.epsilon(event, DELTA, Neighbours.ADD_REMOVE)
            yield epochs, whole, {"epsilon": round(epsilon, 3)}

    return train


def share(right: Any) -> dict[str, Any]:
    """How often, with its interval, and how far above one in ten on a scale to 1."""
    hits, trials = int(right.sum()), len(right)
    rate, chance = hits / trials, 1 / CLASSES
    return {
        "rate": round(rate, 4),
        "interval": [round(v, 4) for v in intervals.clopper_pearson(hits, trials)],
        "above_chance": round((rate - chance) / (1 - chance), 4),
    }


def gradients(module: nn.Module, inputs: Tensor, labels: Tensor, multiplier: float | None) -> Any:
    """What the gradients of single records say of their labels."""
    weights = {k: v.detach() for k, v in module.named_parameters() if v.requires_grad}
    fixed = {k: v.detach() for k, v in module.named_parameters() if not v.requires_grad}

    def loss(weights: dict[str, Tensor], record: Tensor, label: Tensor) -> Tensor:
        scores = functional_call(module, {**weights, **fixed}, (record[None],))
        return functional.cross_entropy(scores, label[None])

    names = [name for name in weights if name.endswith("bias")][-1].removesuffix("bias")
    rng = torch.Generator().manual_seed(1)
    found: dict[str, list[Tensor]] = {"bias": [], "weight": []}
    for rows in torch.arange(len(inputs)).split(50):
        each = vmap(grad(loss), in_dims=(None, 0, 0))(weights, inputs[rows], labels[rows])
        bias, weight = each[f"{names}bias"], each[f"{names}weight"]
        if multiplier is not None:
            norms = sum(g.flatten(1).square().sum(1) for g in each.values())
            factor = (BOUND / torch.as_tensor(norms).sqrt()).clamp(max=1)
            bias, weight = bias * factor[:, None], weight * factor[:, None, None]
            bias = bias + multiplier * BOUND * torch.randn(bias.shape, generator=rng)
            weight = weight + multiplier * BOUND * torch.randn(weight.shape, generator=rng)
        found["bias"].append(label_of_bias(bias) == labels[rows])
        found["weight"].append(label_of_weight(weight) == labels[rows])
    return {name: share(torch.cat(parts)) for name, parts in found.items()}


@torch.no_grad()
def scored(module: nn.Module, inputs: Tensor) -> Tensor:
    """(n, K) scores."""
    return torch.cat([module(part) for part in inputs.split(1000)])


def cell(module: nn.Module, train: Any, test: Any, multiplier: float | None) -> dict[str, Any]:
    """A model's accuracy and what the attacks get out of it."""
    inside, outside = scored(module, train[0][:TARGETS]), scored(module, test[0])
    right = outside.argmax(1) == test[1]
    known = inside.argmax(1) == train[1][:TARGETS]
    odds = [
        log_odds_of_scores(s.double().numpy(), y[: len(s)].numpy())
        for s, y in ((inside, train[1]), (outside[:TARGETS], test[1]))
    ]
    area, interval = intervals.auc(*odds)
    gap = intervals.difference(int(known.sum()), len(known), int(right.sum()), len(right))
    return {
        "test_accuracy": share(right),
        "gradient": gradients(module, train[0][:ATTACKED], train[1][:ATTACKED], multiplier),
        "model": {
            "members": round(float(known.float().mean()), 4),
            "others": round(float(right.float().mean()), 4),
            "difference_interval": [round(v, 4) for v in gap],
        },
        "membership": {"auc": round(area, 4), "interval": [round(v, 4) for v in interval]},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=RESULTS / "s001_attack.json")
    parser.add_argument("--minutes", type=float, default=float("inf"))
    options = parser.parse_args()
    began = time.monotonic()
    rows: list[dict[str, Any]] = []
    if options.out.exists():
        rows = json.loads(options.out.read_text())["rows"]
    parts = []
    for split in ("train", "test"):
        data = datasets.load("mnist", split)
        parts.append((torch.from_numpy(data.images), torch.from_numpy(data.labels).long()))
    everything, test = parts
    ways: dict[str, tuple[Any, float | None]] = {"CNN": (plain, None)}
    for multiplier in (4.0, 2.0, 8.0):
        ways[f"DP, noise multiplier {multiplier:g}"] = (private(multiplier), multiplier)
    for size in SIZES:
        for name, (way, multiplier) in ways.items():
            if any(row["records"] == size and row["network"] == name for row in rows):
                continue
            if time.monotonic() - began > 60 * options.minutes:
                print("out of time; run again to go on")
                return
            train = everything[0][:size], everything[1][:size]
            start, found = time.process_time(), []
            with one_torch_thread():
                for epochs, module, more in way(*train):
                    facts = {"network": name, "records": size, "epochs": epochs, **more}
                    found.append({**facts, **cell(module, train, test, multiplier)})
            rows += found
            print(f"{name}, {size}: {time.process_time() - start:.0f} CPU s", flush=True)
            options.out.write_text(
                json.dumps(_result(rows, test[1], everything[1]), indent=1) + "\n"
            )


def _result(rows: list[dict[str, Any]], test: Tensor, train: Tensor) -> dict[str, Any]:
    labels = train[:ATTACKED].numpy()
    commonest = np.bincount(labels).max() / len(labels)
    trials = CLAIMED["records"]
    error = (0.1 * 0.9 / trials) ** 0.5
    return {
        "command": "python benchmarks/s001_attack.py",
        "machine": {"cores": os.cpu_count(), "system": platform.platform()},
        "versions": versions(),
        "chance": {"label": 1 / CLASSES, "commonest_label": round(float(commonest), 4), "auc": 0.5},
        "claimed": {
            **CLAIMED,
            "above_chance": round((CLAIMED["success"] - 0.1) / 0.9, 4),
            "standard_errors_above_chance_if_all_records": round(
                (CLAIMED["success"] - 0.1) / error, 1
            ),
        },
        "delta": DELTA,
        "attacked": {"gradient": ATTACKED, "membership": TARGETS},
        "rows": rows,
    }


if __name__ == "__main__":
    main()
