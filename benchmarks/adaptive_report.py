"""What `benchmarks/adaptive.py` found, as figures with intervals over seeds, and as plots."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

AGAINST = "uniform"
COLOURS = {
    "uniform": "#888888",
    "proportional": "#c0392b",
    "sqrt": "#2980b9",
    "cube-root": "#16a085",
    "split": "#8e44ad",
    "paid": "#d68910",
    "free, invalid": "#000000",
}


def read(work: Path) -> list[dict[str, Any]]:
    """The finished runs; a line that was cut off is no run."""
    runs = []
    for line in work.read_text(encoding="utf-8").splitlines() if work.exists() else []:
        try:
            runs.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return runs


def interval(values: list[float]) -> dict[str, Any]:
    """Mean and 95 % t-interval over seeds."""
    n, mean = len(values), float(np.mean(values))
    reach = float(stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / math.sqrt(n)) if n > 1 else 0
    return {"mean": round(mean, 4), "reach": round(reach, 4), "seeds": n}


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Utility, differences from the uniform allocation within each seed, and attacks."""
    scores: dict[tuple[Any, ...], dict[int, float]] = defaultdict(dict)
    for run in runs:
        for family, found in run["models"].items():
            for metric, value in found.items():
                key = (run["data"], run["method"], run["epsilon"], family, metric)
                scores[key][run["seed"]] = value
    names = ("data", "method", "epsilon", "model", "metric")
    utility = [
        {**dict(zip(names, key, strict=True)), **interval(list(by_seed.values()))}
        for key, by_seed in scores.items()
    ]
    gains = []
    for (data, method, epsilon, family, metric), by_seed in scores.items():
        base = scores.get((data, AGAINST, epsilon, family, metric), {})
        both = sorted(by_seed.keys() & base.keys())
        if method == AGAINST or metric != "AUROC" or len(both) < 2:
            continue
        gain = interval([by_seed[s] - base[s] for s in both])
        key = (data, method, epsilon, family, metric)
        gains.append({**dict(zip(names, key, strict=True)), **gain})
    attacks = defaultdict(list)
    for run in runs:
        for attack, found in run.get("attacks", {}).items():
            attacks[run["data"], run["method"], run["epsilon"], attack, found["metric"]].append(
                found
            )
    names = ("data", "method", "epsilon", "attack", "metric")
    return {
        "utility": utility,
        "gain over uniform": gains,
        "pooled gain over uniform": pooled(gains_by_seed(scores)),
        "attacks": [
            {
                **dict(zip(names, key, strict=True)),
                **interval([f["value"] for f in found]),
                "chance": found[0]["chance"],
                "ceiling": found[0]["ceiling"],
            }
            for key, found in attacks.items()
        ],
        "runs": len(runs),
        "seconds": round(sum(run.get("seconds", 0) for run in runs)),
    }


def gains_by_seed(scores: dict[tuple[Any, ...], dict[int, float]]) -> dict[Any, dict[int, float]]:
    """By data, method and epsilon: a seed's gain in AUROC, in the mean over the three models."""
    found: dict[Any, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for (data, method, epsilon, family, metric), by_seed in scores.items():
        base = scores.get((data, AGAINST, epsilon, family, "AUROC"), {})
        if metric == "AUROC" and method != AGAINST:
            for seed in by_seed.keys() & base.keys():
                found[data, method, epsilon][seed].append(by_seed[seed] - base[seed])
    return {k: {s: float(np.mean(v)) for s, v in seeds.items()} for k, seeds in found.items()}


def pooled(gains: dict[Any, dict[int, float]]) -> list[dict[str, Any]]:
    """The gains of the mean over models, by data, method and epsilon, over seeds.

    Of all tables together: each seed's mean over the tables, for the seeds that all of them have.
    """
    every: dict[Any, list[dict[int, float]]] = defaultdict(list)
    for (_, method, epsilon), by_seed in gains.items():
        every[method, epsilon].append(by_seed)
    whole = {}
    for (method, epsilon), tables in every.items():
        seeds = set.intersection(*(set(t) for t in tables))
        means = {s: float(np.mean([t[s] for t in tables])) for s in seeds}
        whole["all tables", method, epsilon] = means
    return [
        {"data": d, "method": m, "epsilon": e, **interval(list(by_seed.values()))}
        for (d, m, e), by_seed in {**gains, **whole}.items()
        if len(by_seed) > 1
    ]


def plots(report: dict[str, Any], folder: Path) -> None:
    """`adaptive_utility` and `adaptive_attacks`, each as SVG and PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    data = list(dict.fromkeys(row["data"] for row in report["utility"]))
    figure, axes = pyplot.subplots(2, len(data), figsize=(3.6 * len(data), 6.4), squeeze=False)
    for j, name in enumerate(data):
        _curves(axes[0, j], report, name, "AUROC", ("uniform", "proportional", "sqrt", "cube-root"))
        _curves(axes[1, j], report, name, "AUROC", ("cube-root", "split", "paid", "free, invalid"))
        axes[0, j].set_title(name)
    axes[0, 0].set_ylabel("AUROC on real rows\nallocations, public importance")
    axes[1, 0].set_ylabel("AUROC on real rows\nsources of importance, cube root")
    for row in axes:
        row[-1].legend(fontsize=7)
        for axis in row:
            axis.set_xlabel("epsilon of a record")
    _save(figure, folder / "adaptive_utility")
    figure, axes = pyplot.subplots(1, 3, figsize=(11, 3.4))
    for name in data:
        _attack(axes[0], report, name, "linkage.nearest")
        _attack(axes[1], report, name, "attribute.inference")
        _curve(axes[2], report, name, "membership", "cube-root", name)
    axes[0].set_ylabel("rank-1 linkage, times chance")
    axes[0].set_yscale("log")
    axes[1].set_ylabel("attribute inference: advantage")
    axes[2].set_ylabel("membership of the model: AUC")
    for axis in axes:
        axis.set_xscale("log")
        axis.set_xlabel("epsilon (last point: raw rows)")
        axis.legend(fontsize=7)
    _save(figure, folder / "adaptive_attacks")


def _save(figure: Any, stem: Path) -> None:
    figure.tight_layout()
    figure.savefig(stem.with_suffix(".png"), dpi=110)
    figure.savefig(stem.with_suffix(".svg"), metadata={"Date": None})


def _curves(axis: Any, report: dict[str, Any], data: str, metric: str, methods: Any) -> None:
    for method in methods:
        _curve(axis, report, data, metric, method, method, COLOURS[method])
    real = [
        row["mean"]
        for row in report["utility"]
        if (row["data"], row["method"], row["metric"]) == (data, "real rows", metric)
    ]
    if real:
        axis.axhline(float(np.mean(real)), color="black", lw=0.7, ls=":")
    axis.axhline(0.5, color="black", lw=0.5)
    axis.set_xscale("log")
    axis.set_xticks([1, 4, 16, 64], ["1", "4", "16", "64"], minor=False)
    axis.minorticks_off()


def _curve(
    axis: Any,
    report: dict[str, Any],
    data: str,
    metric: str,
    method: str,
    label: str,
    colour: str | None = None,
) -> None:
    points: dict[float, list[tuple[float, float]]] = defaultdict(list)
    for row in report["utility"]:
        if (row["data"], row["metric"]) == (data, metric) and row["method"] in (
            method,
            "nothing in the way" if metric == "membership" else method,
        ):
            points[row["epsilon"]].append((row["mean"], row["reach"]))
    at = sorted(points)
    if not at:
        return
    means = [float(np.mean([m for m, _ in points[e]])) for e in at]
    reaches = [float(np.mean([r for _, r in points[e]])) for e in at]
    axis.errorbar(
        at, means, reaches, label=label, color=colour, capsize=2, lw=1.2, marker="o", ms=3
    )


def _attack(axis: Any, report: dict[str, Any], data: str, attack: str) -> None:
    rows = sorted(
        (row["epsilon"], row["mean"] / (row["chance"] or 1.0), row["reach"] / (row["chance"] or 1))
        for row in report["attacks"]
        if (row["data"], row["attack"]) == (data, attack)
        and row["method"] in ("cube-root", "nothing in the way")
    )
    if rows:
        at, means, reaches = zip(*rows, strict=True)
        axis.errorbar(at, means, reaches, label=data, capsize=2, lw=1.2, marker="o", ms=3)
