"""S000's chapter 1 on real tables: utility, resistance to attacks, variation with epsilon.

    SFUMATO_DATA=... python benchmarks/adaptive.py         # or: make bench-adaptive

Three experiments on four public tables, over seeds; each seed cuts a table anew into proxy,
private, held-out and test rows:

1. utility: models trained on the released rows, judged on real test rows, for every allocation at
   equal total epsilon, and for every source of importance. "free, invalid" takes importance from
   the private rows for nothing: it is no method of the package, has no guarantee, and is here to
   see what the honest ones cost.
2. resistance: linkage of released rows to their originals, inference of an attribute, and
   membership of the model that was trained on the release.
3. variation: both, over epsilon.

Public importance is that of the proxy rows. Every finished run is a line of a file beside the
result; a run that is interrupted goes on there. Nothing was tuned on the test rows.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import adaptive_data
import adaptive_report
import numpy as np
from adaptive_data import Parts

from sfumato.attack import Evidence, suite
from sfumato.data import Table
from sfumato.learn.logistic import LogisticRegression
from sfumato.measure import features, intervals, metrics, models
from sfumato.measure.task import task_of
from sfumato.privacy.budget import Budget
from sfumato.privacy.guarantee import Empirical
from sfumato.privacy.ledger import Ledger
from sfumato.privacy.noise import SECURE, SeededSource
from sfumato.publish.method import silent
from sfumato.publish.tables import allocation, importance, learning
from sfumato.publish.tables.adaptive import Adaptive
from sfumato.release.release import Artefact
from sfumato.versions import versions

RESULTS = Path(__file__).parent / "results"
EPSILONS = (1.0, 4.0, 16.0, 64.0)
DELTA = 1e-6
RAW = 1024.0
"""Where the rows themselves are drawn in plots: what attacks find with nothing in their way."""
FREE = "free, invalid"

ALLOCATIONS: dict[str, dict[str, Any]] = {
    "uniform": {"allocation": "uniform"},
    "proportional": {"allocation": "proportional"},
    "sqrt": {"allocation": "sqrt"},
    "cube-root": {"allocation": "cube-root"},
}
SOURCES: dict[str, dict[str, Any]] = {
    "split": {"importance": "split", "held_out": 0.2},
    "paid": {"importance": "paid"},
}
NOISES: dict[str, dict[str, Any]] = {
    "cube-root, gaussian": {"noise": "gaussian"},
    "cube-root, piecewise": {"noise": "piecewise"},
    "cube-root, duchi": {"noise": "duchi"},
    "cube-root, sampled": {"sampled": "auto"},
    "paid, integrated gradients": {"importance": "paid", "attribution": "integrated-gradients"},
}
NOTHING, REAL = "nothing in the way", "real rows"
ATTACKED = ("uniform", "cube-root", "paid")
ATTACKED_SEEDS = 3
ATTACKS = ("linkage.nearest", "attribute.inference")


def free_weights(table: Table) -> dict[str, float]:
    """The mean attribution without noise: of proxy rows, or where it is labelled invalid."""
    facts = table.schema
    names = [column.name for column in facts.features]
    codes = table.codes()
    matrix = np.stack([codes[n].astype(np.int32) for n in names], axis=1)
    shape = learning.features(facts)
    labels = codes[facts.target or ""]
    model = LogisticRegression(shape, learning.classes(facts), len(labels), noise_multiplier=1e-9)
    weights = model.fit(lambda: [(matrix, labels)], SeededSource(0))
    units = importance.Attribution(shape, weights).units(matrix).sum(axis=0)
    return dict(zip(names, map(float, units / units.sum()), strict=True))


def wanted(stage: str, parts: Parts, seed: int) -> Iterator[tuple[str, Adaptive | None, float]]:
    """The releases of a stage, with public importance from the proxy rows."""
    if stage == "allocations":
        proxy = free_weights(parts.proxy)
        found = {n: Adaptive(weights=proxy, **more) for n, more in ALLOCATIONS.items()}
        yield REAL, None, 0.0
        yield NOTHING, Adaptive(), RAW
    elif stage == "sources":
        found = {n: Adaptive(**more) for n, more in SOURCES.items()}
        found[FREE] = Adaptive(weights=free_weights(parts.private))
    else:
        proxy = free_weights(parts.proxy)
        found = {
            n: Adaptive(**({} if "importance" in more else {"weights": proxy}) | more)
            for n, more in NOISES.items()
        }
    for name, method in found.items():
        chooses = method.sampled is not None or method.importance == "split"
        for epsilon in EPSILONS:
            yield name, replace(method, seed=seed) if chooses else method, epsilon


def judged(released: Table, parts: Parts, seed: int) -> dict[str, dict[str, Any]]:
    """AUROC and balanced accuracy on real test rows by model, and membership of each model."""
    _, read = task_of(released.schema, "table", seed, 1)
    train, test, inside, outside = (
        read(table, np.arange(len(table), dtype=np.int64))
        for table in (released, parts.test, parts.private, parts.held_out)
    )
    columns = released.schema.features
    size = released.schema[released.schema.target or ""].cardinality
    rng = np.random.default_rng(seed)
    m = min(len(inside.y), len(outside.y))
    found = {}
    for family in (models.LINEAR, models.FOREST, models.BOOSTING):
        fitted = models.classifier(family, columns, train.x, train.y, size, seed)
        scores = metrics.classification(test.y, fitted.predict(test.x))
        odds = []
        for side in (inside, outside):
            rows = rng.permutation(len(side.y))[:m]
            p = fitted.predict(side.x[rows])[np.arange(m), side.y[rows]]
            odds.append(np.log(np.maximum(p, 1e-30)) - np.log(np.maximum(1 - p, 1e-30)))
        area, _ = intervals.auc(odds[0], odds[1], 0.95)
        found[family] = {
            "AUROC": scores["AUROC"][0],
            "balanced accuracy": scores["balanced accuracy"][0],
            "membership": area,
        }
    return found


def attacked(release: Any, parts: Parts, seed: int) -> dict[str, dict[str, Any]]:
    """Findings of the attack suite on the released rows."""
    evidence = Evidence(parts.private, parts.held_out)
    findings = suite.run(release, evidence, attacks=ATTACKS, confidence=0.95, seed=seed)
    return {
        f.attack: {
            "metric": f.metric,
            "value": f.value,
            "interval": list(f.interval),
            "chance": f.chance,
            "ceiling": f.ceiling,
        }
        for f in findings
    }


def one(name: str, method: Adaptive, epsilon: float, parts: Parts, seed: int) -> dict[str, Any]:
    """One release, judged and attacked."""
    started = time.perf_counter()
    budget = Budget(1.0 if name == NOTHING else epsilon, DELTA if method.default_delta else 0.0)
    made = method.calibrate(budget, parts.private.schema)
    if name == NOTHING:  # the private rows as they are: the attacks' positive control
        made = replace(made, guarantee=Empirical(), run=lambda table, *_: Artefact(table))
    guaranteed = name not in (FREE, NOTHING)
    row: dict[str, Any] = {
        "proven": made.guarantee.epsilon() if guaranteed else None,
        "guarantee": made.guarantee.kind if guaranteed else "none",
    }
    if (name in ATTACKED and seed < ATTACKED_SEEDS) or name == NOTHING:
        release = made(parts.private, ledger=Ledger.in_memory())
        released = release.data
        row["attacks"] = attacked(release, parts, seed)
    else:  # the same run, without the card's figures
        released = made.run(parts.private, SECURE, silent).data
    row["models"] = judged(released, parts, seed)
    return {**row, "seconds": round(time.perf_counter() - started, 2)}


def predicted(name: str, seeds: int) -> dict[str, Any]:
    """What theory says before any model is trained: weighted variance over the uniform one's.

    Weights are the private rows' own importance; shares are those of the proxy's, as in the
    releases, and for comparison those of the weights themselves. No release sees the latter.
    """
    found: dict[str, dict[str, list[float]]] = {
        shared: {rule: [] for rule in allocation.RULES} for shared in ("proxy", "own")
    }
    for seed in range(seeds):
        parts = adaptive_data.parts(name, seed)
        own, proxy = (
            allocation.floored(np.array(list(free_weights(table).values())))
            for table in (parts.private, parts.proxy)
        )
        for shared, weights in (("proxy", proxy), ("own", own)):
            uniform = allocation.weighted_variance(own, allocation.shares(weights, "uniform"))
            for rule, values in found[shared].items():
                shares = allocation.shares(weights, rule)
                values.append(allocation.weighted_variance(own, shares) / uniform)
    return {
        shared: {rule: adaptive_report.interval(values) for rule, values in by_rule.items()}
        for shared, by_rule in found.items()
    }


def jobs(seeds: int, more: int) -> Iterator[tuple[str, int, str]]:
    """What matters most comes first; small tables, whose releases differ more, get more seeds."""
    small = [name for name in adaptive_data.names() if name != "census-income"]
    for stage in ("allocations", "sources"):
        yield from ((stage, s, name) for s in range(seeds) for name in adaptive_data.names())
    yield from (("allocations", s, name) for s in range(seeds, more) for name in small)
    yield from (("noises", s, name) for s in range(seeds) for name in small)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--more-seeds", type=int, default=20)
    parser.add_argument("--data", nargs="+", default=list(adaptive_data.names()))
    parser.add_argument("--stages", nargs="+", default=["allocations", "sources", "noises"])
    parser.add_argument("--out", type=Path, default=RESULTS / "adaptive.json")
    parser.add_argument("--work", type=Path, default=Path("adaptive-runs.jsonl"))
    parser.add_argument("--report", action="store_true", help="summarise what has been run")
    args = parser.parse_args()
    done = adaptive_report.read(args.work)
    seen = {(r["seed"], r["data"], r["method"], r["epsilon"]) for r in done}
    for stage, seed, data in () if args.report else jobs(args.seeds, args.more_seeds):
        if data not in args.data or stage not in args.stages:
            continue
        parts = adaptive_data.parts(data, seed)
        for name, method, epsilon in wanted(stage, parts, seed):
            if (seed, data, name, epsilon) in seen:
                continue
            row = {"seed": seed, "data": data, "method": name, "epsilon": epsilon}
            if method is None:
                done.append(row | {"models": judged(parts.private, parts, seed)})
            else:
                done.append(row | one(name, method, epsilon, parts, seed))
            with args.work.open("a", encoding="utf-8") as file:
                file.write(json.dumps(done[-1]) + "\n")
        print(stage, seed, data, len(done), flush=True)
    report = {
        "command": "python benchmarks/adaptive.py",
        "machine": {"cores": os.cpu_count(), "system": platform.platform()},
        "versions": versions(),
        "records": {n: features.size(adaptive_data.parts(n, 0).private) for n in args.data},
        "weighted variance over uniform": {n: predicted(n, args.seeds) for n in args.data},
        **adaptive_report.summary(done),
    }
    args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    adaptive_report.plots(report, args.out.parent)


if __name__ == "__main__":
    main()
