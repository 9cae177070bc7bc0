"""What each layer's gradients tell, on five data sets, bare and under DP-SGD's noise.

    SFUMATO_DATA=... python benchmarks/gradient_leakage.py

Single gradients of 1,000 records, at fresh weights and after training without privacy on them. The
attribute is none that the model is asked for: whether a picture has more ink than the median, of
the census the sex, of German credit personal status and sex. Rows are kept as they come.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from reconstruction import Results

from sfumato.attack.gradients.exposure import Exposure
from sfumato.data import datasets
from sfumato.learn.architectures import build
from sfumato.learn.examples import labelled
from sfumato.measure.gradient_leakage import gradient_leakage
from sfumato.publish.models.network import architecture

RESULTS = Path(__file__).parent / "results" / "gradient_leakage.json"
RECORDS, SEED = 1000, 1
SETS = {
    "digits": ("dense", (32,), None),
    "mnist": ("small-cnn", (), None),
    "fashion-mnist": ("small-cnn", (), None),
    "census-sample": ("table-dense", (32,), "sex"),
    "german-credit": ("table-dense", (32,), "personal_status_and_sex"),
}


def prepared(name: str) -> tuple[Any, torch.Tensor, torch.Tensor, np.ndarray]:
    """The architecture, inputs, labels and attribute of the first records."""
    network, hidden, column = SETS[name]
    data: Any = datasets.load(name, "train")
    made = architecture(data.schema, network, hidden)
    inputs, labels = labelled(data)
    inputs, labels = inputs[:RECORDS], labels[:RECORDS]
    if column is None:
        ink = inputs.sum(dim=(1, 2, 3)).numpy()
        return made, inputs, labels, (ink > np.median(ink)).astype(np.int64)
    at = [c.name for c in data.schema.features].index(column)
    return made, inputs, labels, inputs[:, at].numpy().astype(np.int64)


def measured(name: str, trained: bool, exposure: Exposure | None) -> dict[str, Any]:
    """The figures of every layer."""
    made, inputs, labels, attribute = prepared(name)
    module = build(made, seed=SEED)
    optimizer = torch.optim.Adam(module.parameters(), 2e-3)
    random = torch.Generator().manual_seed(SEED)
    for _ in range(20 if trained else 0):
        for rows in torch.randperm(len(labels), generator=random).split(64):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(module(inputs[rows]), labels[rows]).backward()
            optimizer.step()
    layers = gradient_leakage(
        module.eval(), inputs, labels, attribute, exposure=exposure, seed=SEED
    )
    return {"layers": [layer.to_dict() for layer in layers]}


def main() -> None:
    """Runs what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="Then stop.")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    results = Results(asked.results, asked.seconds)
    for name in SETS:
        for weights in ("fresh", "trained"):
            for sent, exposure in (("bare", None), ("DP-SGD", Exposure(0.1, 1.0))):
                if sent == "DP-SGD" and weights == "trained":
                    continue
                results.row(
                    "leakage",
                    {"data": name, "weights": weights, "gradient": sent},
                    lambda n=name, w=weights, e=exposure: measured(n, w == "trained", e),
                )


if __name__ == "__main__":
    main()
