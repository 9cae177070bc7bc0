"""Training on inputs scaled by private relevance, beside plain DP-SGD at the same budget.

    SFUMATO_DATA=... python benchmarks/adlm.py

Both train the same network from the same first weights for as many steps at the same sampling rate
and bound; "adlm" pays for one noisy mean of relevances out of the same epsilon. Learning rates were
chosen for each by itself, on training records held out for
it. Poisson sampling, add/remove, PLD, secure noise. ``--holdout RATE ...`` is that choice.
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
from sklearn.metrics import roc_auc_score
from torch import Tensor

from sfumato.data import datasets
from sfumato.learn.adlm import AdLm
from sfumato.learn.architectures import build
from sfumato.learn.architectures.scaled import ScaledNet
from sfumato.learn.clipping import Flat
from sfumato.learn.examples import input_values, labelled
from sfumato.learn.mechanism import DpSgd
from sfumato.learn.trainer import PrivateTrainer
from sfumato.privacy.budget import Budget
from sfumato.versions import versions

RUNS = 3
BUDGET = Budget(1.0, 1e-5)
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "mnist, dense": ("mnist", {"family": "dense", "hidden": [128]}),
    "census-sample, dense": ("census-sample", {"family": "table-dense", "hidden": [32]}),
}
STEPS = {"mnist": 300, "census-sample": 300}
RATES: dict[tuple[str, str], float] = {
    ("mnist, dense", "plain"): 4.0,
    ("mnist, dense", "adlm"): 4.0,
    ("census-sample, dense", "plain"): 2.0,
    ("census-sample, dense", "adlm"): 1.0,
}
SAMPLE_RATE = 0.02
BOUND = 0.1
AVERAGING = 0.99
HELD_OUT = {"mnist": 10_000, "census-sample": 4_000}


def records(
    name: str, holdout: bool
) -> tuple[dict[str, Any], tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Input values, private records, and those to judge by."""
    data = datasets.load(name, "train")
    inputs, labels = labelled(data)
    values = input_values(data.schema)
    if not holdout:
        return values, (inputs, labels), labelled(datasets.load(name, "test"))
    kept = len(labels) - HELD_OUT[name]
    return values, (inputs[:kept], labels[:kept]), (inputs[kept:], labels[kept:])


def train(
    kind: str,
    architecture: dict[str, Any],
    data: tuple[Tensor, Tensor],
    steps: int,
    rate: float,
    seed: int,
) -> tuple[torch.nn.Module, float, Tensor | None]:
    """The network, the epsilon of what ran, and the features' weights."""
    count = len(data[1])
    module = build({"family": "scaled", "inner": architecture}, seed=seed)
    assert isinstance(module, ScaledNet)
    if kind == "adlm":
        calibrated = AdLm(
            sample_rate=SAMPLE_RATE,
            steps=steps,
            warmup=steps // 10,
            max_grad_norm=BOUND,
            learning_rate=rate,
            averaging=AVERAGING,
        ).calibrate(BUDGET, records=count)
        beta = calibrated.fit(module, data)
        return module, calibrated.guarantee().epsilon(), beta
    mechanism = DpSgd.calibrate(
        BUDGET,
        records=count,
        expected_batch_size=SAMPLE_RATE * count,
        steps=steps,
        clipping=Flat(BOUND),
    )
    trainer = PrivateTrainer(
        module,
        torch.nn.CrossEntropyLoss(reduction="none"),
        torch.optim.SGD(module.parameters(), rate, momentum=0.9),
        mechanism,
        data,
        averaging=AVERAGING,
    )
    trainer.fit()
    assert trainer.average is not None
    trainer.average.copy_to(module)
    return module, mechanism.epsilon(), None


@torch.no_grad()
def judge(module: torch.nn.Module, data: tuple[Tensor, Tensor]) -> dict[str, float]:
    """Accuracy in per cent, and AUROC where there are two classes."""
    scores = torch.cat([module(part) for part in torch.split(data[0], 1000)])
    right = (scores.argmax(dim=1) == data[1]).double().mean()
    found = {"accuracy": 100 * float(right)}
    if scores.shape[1] == 2:
        found["auroc"] = float(
            roc_auc_score(data[1].numpy(), (scores[:, 1] - scores[:, 0]).numpy())
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--kind", nargs="+", default=["plain", "adlm"])
    parser.add_argument("--run", type=int, nargs="+", default=list(range(RUNS)))
    parser.add_argument("--holdout", type=float, nargs="+", metavar="RATE")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/adlm.json"))
    args = parser.parse_args()
    for name in args.only:
        source, network = NETWORKS[name]
        values, private, judged = records(source, args.holdout is not None)
        architecture = {**network, **values, "classes": int(private[1].max()) + 1}
        for kind in args.kind:
            for seed in args.run:
                for rate in args.holdout or [RATES[name, kind]]:
                    began = time.process_time()
                    module, epsilon, beta = train(
                        kind, architecture, private, STEPS[source], rate, seed
                    )
                    found = {"epsilon": epsilon, "learning_rate": rate} | judge(module, judged)
                    found["cpu_seconds"] = round(time.process_time() - began, 1)
                    if beta is not None:
                        found["largest weight"] = float(beta.max())
                    print(name, kind, seed, json.dumps(found), flush=True)
                    if not args.holdout:
                        keep(args.out, f"{name}: {kind}", seed, found)


def keep(file: Path, name: str, seed: int, found: dict[str, Any]) -> None:
    """Adds one run to the report."""
    report = json.loads(file.read_text()) if file.exists() else {"runs": {}}
    report["command"] = "python benchmarks/adlm.py"
    report["machine"] = {"cores": os.cpu_count(), "system": platform.platform()}
    report["versions"] = versions()
    report["settings"] = {
        "delta": BUDGET.delta,
        "sample_rate": SAMPLE_RATE,
        "steps": STEPS,
        "max_grad_norm": BOUND,
        "averaging": AVERAGING,
    }
    report["runs"].setdefault(name, {})[str(seed)] = found
    report["summary"] = {
        name: {
            key: {
                "mean": round(statistics.fmean(values), 3),
                "least": round(min(values), 3),
                "most": round(max(values), 3),
            }
            for key in ("accuracy", "auroc")
            if (values := [run[key] for run in runs.values() if key in run])
        }
        | {"runs": len(runs)}
        for name, runs in report["runs"].items()
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
