"""Membership inference on an overfitted model, and what training its shadow models costs.

    SFUMATO_DATA=... python benchmarks/membership.py --cache FOLDER [--minutes 10] [--workers 2]
        [--peer PYTHON --advanced-mia FILE --rmia FILE]

The first 10,000 training images of Fashion-MNIST; the attacked model is the small CNN of
``sfumato.measure.cnn`` trained without privacy on a random half of them, the other half are the
non-members. Auxiliary records are the next 12,000 images. Shadow models are of the same family and
have the same number of passes. ``timing`` compares ways of training a step of the shadow models, by
processor time in one run; ``clock`` compares what is used, a worker a core, with a loop over the
models as one writes it (torch's layout, float32, torch's threads), by the clock and in turn, on a
machine that does nothing else; ``attacks`` are the findings; ``shadows`` is how the online attacks
depend on the number of shadow models, on several attacked models (the last eight of the bank, each
in turn).
``peers`` are the same attacks in other tools (``membership_peer.py``, in the environment of
``--peer``). A run that is interrupted goes on where the cache and the result file stop.

``--records 4000 --epochs 25 --only loss ... --out FILE`` attacks a model that is overfitted on
purpose, with shadow models like it, by the attacks that are named; nothing is timed then.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from membership_timing import EPOCHS, clock, timing
from torch import nn

from sfumato import registry
from sfumato.attack import Evidence, roc
from sfumato.attack.membership import lira, rmia
from sfumato.attack.shadows import Bank, Job, Recipe, halves
from sfumato.data import datasets
from sfumato.measure import cnn, intervals
from sfumato.privacy.guarantee import Empirical
from sfumato.versions import versions

OUT = Path(__file__).parent / "results" / "membership.json"
RECORDS, AUXILIARY, SHADOWS, SEED = 10_000, 12_000, 64, 0
POPULATION = 2000
DATA = "fashion-mnist"
ATTACKS: dict[str, tuple[str, dict[str, Any]]] = {
    "loss": ("loss", {}),
    "gap": ("gap", {}),
    "entropy": ("entropy", {}),
    "quantile": ("quantile", {}),
    "label_only": ("label_only", {}),
    "gradient_norm": ("gradient_norm", {}),
    "lira, online, each": ("lira", {"shadows": SHADOWS, "variance": "each"}),
    "lira, online, global": ("lira", {"shadows": SHADOWS, "variance": "global"}),
    "lira, online, 5 queries": ("lira", {"shadows": SHADOWS, "queries": 5}),
    "rmia, online": ("rmia", {"shadows": SHADOWS, "mode": "online"}),
    "lira, offline": ("lira", {"shadows": 16, "mode": "offline"}),
    "shadow": ("shadow", {"shadows": 16}),
    "rmia, offline, 4 shadows": ("rmia", {"shadows": 4}),
}


class Plain:
    """A model known by its predictions, and by its network for attacks that look inside."""

    kind = "model"

    def __init__(self, schema: Any, module: nn.Module) -> None:
        self.schema, self.module, self.takes = schema, module, "images"

    def probabilities_from(self, inputs: Any) -> Any:
        """Softmax of the network's scores."""
        with torch.no_grad():
            parts = torch.from_numpy(inputs).split(1000)
            return torch.cat([self.module(p).double().softmax(1) for p in parts]).numpy()


def target(train: Any, epochs: int, folder: Path | None) -> tuple[Any, Any, Bank]:
    """The first half's rows, the second's, and the model of the first."""
    inside, outside = halves(len(train), 2, SEED + 1000)
    recipe, seed = Recipe(epochs=epochs), SEED + 1000
    job = Job(train.images, labels(train), 10, inside[None], recipe, seed, folder)
    return inside, outside, job.train()


def labels(data: Any) -> Any:
    return np.asarray(data.labels, np.int64)


def by_shadows(bank: Bank, train: Any, auxiliary: Any) -> list[dict[str, Any]]:
    """AUC and true-positive rates of the online attacks against the number of shadow models."""
    n, attacked = len(train), 8
    left = len(bank) - attacked
    odds = bank.log_odds(train.images, labels(train))
    known = rmia.probabilities_of(odds)
    population = auxiliary.head(POPULATION)
    others = rmia.probabilities_of(bank.log_odds(population.images, labels(population)))
    rows = []
    for models in (*(m for m in (4, 8, 16, 32) if m < left), left):
        figures: dict[str, list[list[float]]] = {"loss": [], "lira": [], "rmia": []}
        for t in range(left, len(bank)):
            inside, member = bank.inside[:models], bank.inside[t]
            each = models >= lira.MANY // 2
            ratio = lira.log_ratio(odds[t][None], odds[None, :models], inside, each=each)
            marginal = (
                rmia.mean_over(known[:models], inside) + rmia.mean_over(known[:models], ~inside)
            ) / 2
            a = rmia.tuned(known[:models], inside)
            compared = np.log(others[t] / rmia.without(others[:models].mean(axis=0), a))
            relative = rmia.shares(np.log(known[t] / marginal), compared, 1.0)
            for name, score in (("loss", odds[t]), ("lira", ratio), ("rmia", relative)):
                sides = score[:n][member], score[:n][~member]
                low = roc.at_low_fpr(*sides, (0.01, 0.001), 0.95, None)
                figures[name].append([intervals.auc(*sides)[0], *(p["tpr"] for p in low)])
        for name, found in figures.items():
            table = np.array(found)
            row: dict[str, Any] = {"attack": name, "shadows": models, "attacked": attacked}
            for j, what in enumerate(("auc", "tpr_at_1_percent", "tpr_at_0.1_percent")):
                column = table[:, j]
                row[what] = [round(float(f(column)), 4) for f in (np.mean, np.min, np.max)]
            rows.append(row)
    return rows


def beside(arrays: Any) -> dict[str, Any]:
    """Our scores from the answers that the other tools get, of the same kept shadow models."""
    own, shadows, inside = (arrays[name] for name in ("own", "shadows", "in_shadow"))
    m, known = len(own) // 2, rmia.probabilities_of(shadows)
    outside, a = rmia.mean_over(known, ~inside), rmia.tuned(known, inside)
    marginal = (rmia.mean_over(known, inside) + outside) / 2
    others = rmia.probabilities_of(arrays["shadows_of_others"]).mean(axis=0)
    told = rmia.probabilities_of(own)
    compared = np.log(rmia.probabilities_of(arrays["own_of_others"]) / rmia.without(others, a))
    scored = {
        "loss": own,
        "lira, online, each": lira.log_ratio(own[None], shadows[None], inside, each=True),
        "lira, online, global": lira.log_ratio(own[None], shadows[None], inside, each=False),
        "rmia, online": rmia.shares(np.log(told / marginal), compared, 1.0),
        # By the models without the record, as the offline attack has none with it.
        "rmia, offline": rmia.shares(np.log(told / rmia.without(outside, a)), compared, 1.0),
    }
    found = {}
    for name, score in scored.items():
        low = roc.at_low_fpr(score[:m], score[m:], (0.01, 0.001), 0.95, None)
        found[name] = {"auc": round(intervals.auc(score[:m], score[m:])[0], 4)} | {
            f"tpr_at_{point['fpr_target']:g}": [
                round(float(v), 4) for v in (point["tpr"], *point["tpr_interval"])
            ]
            for point in low
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--shadows", type=int, default=SHADOWS, help="Models of the online bank.")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--peer", help="Interpreter with adversarial-robustness-toolbox.")
    parser.add_argument("--advanced-mia", default="", help="That file of tensorflow-privacy.")
    parser.add_argument("--rmia", default="", help="attacks/rmia.py of Privacy Meter.")
    parser.add_argument("--records", type=int, default=RECORDS, help="Members and others.")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="Passes of every model.")
    parser.add_argument("--only", nargs="+", choices=ATTACKS, default=list(ATTACKS))
    parser.add_argument("--minutes", type=float, default=float("inf"))
    options = parser.parse_args()
    began, records, epochs = time.monotonic(), options.records, options.epochs
    command = "python benchmarks/membership.py"
    usual = (records, epochs) == (RECORDS, EPOCHS)
    if not usual:
        command += f" --records {records} --epochs {epochs}"
    everything = datasets.load(DATA, "train")
    train = everything.head(records)
    auxiliary = everything.select(np.arange(records, records + AUXILIARY))
    result: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {}

    def keep(**parts: Any) -> None:
        result.update(parts)
        result.update(
            command=command,
            machine={"cores": os.cpu_count(), "system": platform.platform()},
            versions=versions(),
            data=f"{DATA}: {records} images, {AUXILIARY} auxiliary",
            shadows_and_target=f"{cnn.CONVOLUTIONAL}, {epochs} passes over {records // 2}",
        )
        options.out.write_text(json.dumps(result, indent=1) + "\n")

    if (result.get("bank"), result.get("command", command)) != (options.shadows, command):
        result = {key: result[key] for key in ("timing", "clock") if key in result}
        result["bank"] = options.shadows
    for part in (timing, clock):
        if usual and part.__name__ not in result:
            keep(**{part.__name__: part(train.images, labels(train))})
    job = Job(
        train.images,
        labels(train),
        10,
        halves(records, options.shadows, SEED),
        Recipe(epochs=epochs),
        SEED,
        options.cache,
        options.workers,
    )

    class Enough(Exception):
        pass

    spent = {"wall": time.perf_counter(), "cpu": time.process_time(), "first": None}

    def told(done: int, total: int, label: str) -> None:
        spent["first"] = done if spent["first"] is None else spent["first"]
        trained = done - spent["first"]
        if trained:
            each = (time.process_time() - spent["cpu"]) / trained
            wall = (time.perf_counter() - spent["wall"]) / trained
            print(f"{label}: {each:.1f} CPU s, {wall:.1f} s each", flush=True)
            keep(
                training={
                    "models": total,
                    "workers": options.workers,
                    "measured_on": trained,
                    "cpu_seconds_each": round(each, 2),
                    "wall_seconds_each": round(wall, 2),
                    "cpu_minutes_all": round(each * total / 60, 2),
                }
            )
        if time.monotonic() - began > 60 * options.minutes:
            raise Enough

    try:
        bank = job.train(told)
    except Enough:
        print("out of time; run again to go on")
        return
    inside, outside, model = target(train, epochs, options.cache)
    plain = Plain(train.schema, model.module(0))
    card = SimpleNamespace(guarantee=Empirical(()).to_dict())
    release: Any = SimpleNamespace(
        model=plain, artefact=SimpleNamespace(content=plain, kind="model"), card=card
    )
    if "shadows" not in result:
        keep(shadows=by_shadows(bank, train, auxiliary))
    if options.peer and "peers" not in result:
        arrays = options.cache / "peer.npz"
        for_peers(arrays, train, auxiliary, inside, outside, model, bank)
        peer = [options.peer, str(Path(__file__).with_name("membership_peer.py")), str(arrays)]
        ran = subprocess.run(
            [*peer, options.advanced_mia, options.rmia], capture_output=True, text=True, check=True
        )
        keep(peers=json.loads(ran.stdout.splitlines()[-1]), beside_peers=beside(np.load(arrays)))
    evidence = Evidence(train.select(inside), train.select(outside), auxiliary)
    rows = result.get("attacks", [])
    for name, (attack, settings) in ATTACKS.items():
        if name not in options.only or any(row["attack"] == name for row in rows):
            continue
        if time.monotonic() - began > 60 * options.minutes:
            print("out of time; run again to go on")
            return
        print(name, flush=True)
        if "shadows" in settings:
            settings = {
                **settings,
                "shadows": min(settings["shadows"], options.shadows),
                "epochs": epochs,
                "cache": str(options.cache),
                "workers": options.workers,
            }
        start = time.process_time()
        built = registry.build(
            "attack", f"membership.{attack}", {**settings, "max_targets": records // 2}
        )
        found = built(release, evidence, seed=SEED)
        rows.append(
            {
                "attack": name,
                "auc": round(found.value, 4),
                "auc_interval": [round(v, 4) for v in found.interval],
                "baseline": round(found.baseline, 4),
                "tpr": [
                    {
                        "fpr": point["fpr_target"],
                        "tpr": round(point["tpr"], 4),
                        "interval": [round(v, 4) for v in point["tpr_interval"]],
                    }
                    for point in found.details["tpr_at_fpr"]
                ],
                "details": {
                    k: v
                    for k, v in found.details.items()
                    if k not in ("tpr_at_fpr", "advantage_ceiling")
                },
                "cpu_seconds": round(time.process_time() - start, 1),
            }
        )
        keep(attacks=rows)
        print(name, rows[-1]["auc"], [point["tpr"] for point in rows[-1]["tpr"]], flush=True)


def for_peers(
    file: Path, train: Any, auxiliary: Any, inside: Any, outside: Any, model: Bank, bank: Bank
) -> None:
    """Writes the attacked model, the targets and what the models say of them and of others."""
    rows = np.concatenate([inside, outside])
    population = auxiliary.head(POPULATION)
    images, truth = train.images[rows], labels(train)[rows]
    group, m = model.groups[0], len(inside)
    np.savez(
        file,
        inside=images[:m],
        outside=images[m:],
        inside_labels=truth[:m],
        outside_labels=truth[m:],
        centre=group.centre.numpy()[0],
        spread=group.spread.numpy()[0],
        own=model.log_odds(images, truth)[0],
        shadows=bank.log_odds(images, truth),
        in_shadow=bank.inside[:, rows],
        own_of_others=model.log_odds(population.images, labels(population))[0],
        shadows_of_others=bank.log_odds(population.images, labels(population)),
        **{f"inner.{name}": w.numpy()[0] for name, w in group.weights.items()},
    )


if __name__ == "__main__":
    main()
