"""Reconstruction attacks at work: known strength without protection, none under DP-SGD's noise.

    SFUMATO_DATA=... python benchmarks/reconstruction.py --peer ART/bin/python

MNIST, Fashion-MNIST, digits, German credit and the census sample; models are trained here, without
privacy, on 1,000 members (German credit: 700; the census sample: 20,000). Every row is kept as soon
as it is there, and not repeated.

- ``gradients``: pictures from single gradients, at fresh and released weights, bare and under the
  noise of a step of DP-SGD;
- ``labels``: the three label games;
- ``inversion``: pictures of classes and of people from a model;
- ``secrets``: attribute inference from a model, against imputation; models that know 2,000 census
  rows by heart, beside models of other people and models trained by DP-SGD;
- ``stealing``: copies of models;
- ``reidentification``: pixelated, noisy pictures;
- ``peer``: the same game with the adversarial robustness toolbox on the same model and records, in
  an environment that has both (``--peer``), scikit-image's SSIM against ours, and inverting
  gradients as its authors wrote it (``--inverting FOLDER``, their sources).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import reconstruction_rote as rote
import torch
from reconstruction_compared import GAMES, GRADIENTS, compared
from reconstruction_targets import SEED, parts, trained, unproven

from sfumato import registry
from sfumato.attack import Evidence
from sfumato.data import ImageSet
from sfumato.release.release import Release
from sfumato.versions import versions

RESULTS = Path(__file__).parent / "results" / "reconstruction.json"
NOISY = {"noise_multiplier": 1.0, "clipping": {"type": "Flat", "max_grad_norm": 0.1}}
IMAGES = ("mnist", "fashion-mnist")
PRIVATELY = "members, privately"


class Results:
    """Rows that are on the disk as soon as they are there.

    Args:
        path: The file.
        seconds: No row is begun later than this after the start.
    """

    def __init__(self, path: Path, seconds: float = float("inf")) -> None:
        self._path = path
        self._until = time.perf_counter() + seconds
        self.values: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def row(self, part: str, key: dict[str, Any], make: Any) -> dict[str, Any]:
        """The row of this key, made if it is missing."""
        rows = self.values.setdefault(part, [])
        for row in rows:
            if all(row.get(name) == value for name, value in key.items()):
                return row
        began = time.perf_counter()
        if began > self._until:
            raise SystemExit("stopped by --seconds; the same command goes on")
        row = key | make()
        row["seconds"] = round(time.perf_counter() - began, 1)
        rows.append(row)
        self.values["machine"] = {
            "platform": platform.platform(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "versions": versions(),
        }
        self._path.parent.mkdir(exist_ok=True)
        self._path.write_text(json.dumps(self.values, indent=1) + "\n")
        print(part, json.dumps(row)[:600], flush=True)
        return row


def attacked(name: str, release: Release, evidence: Evidence, **settings: Any) -> dict[str, Any]:
    """A finding's figures."""
    found = registry.build("attack", name, settings)(release, evidence, seed=SEED)
    kept = ("metric", "value", "interval", "chance", "baseline", "ceiling", "details", "summary")
    row = {key: value for key, value in found.to_dict().items() if key in kept}
    return row | {"beats_baseline": found.better_than_chance}


def gradients(results: Results) -> None:
    """Pictures from gradients."""
    ways = [("auto", (), "cosine", 500, "fresh"), ("auto", (), "cosine", 500, "released")]
    ways += [("auto", (), "idlg", 60, "fresh"), ("auto", (), "dlg", 60, "fresh")]
    ways += [("dense", (64,), "analytic", 1, "fresh"), ("dense", (64,), "analytic", 1, "released")]
    for name in IMAGES:
        for network, hidden, way, iterations, at in ways:
            for sent, plan in (("bare", {}), ("DP-SGD", NOISY)):
                if sent != "bare" and at == "released":
                    continue  # hidden at fresh weights, where it is easiest, it is hidden here
                if sent != "bare" and way in ("dlg", "idlg"):
                    continue
                results.row(
                    "gradients",
                    {"data": name, "way": way, "weights": at, "gradient": sent},
                    lambda n=name, k=network, h=hidden, w=way, i=iterations, a=at, p=plan: attacked(
                        "gradient.inversion",
                        unproven(trained(n, k, h), **p),
                        parts(n),
                        way=w,
                        iterations=i,
                        weights=a,
                        restarts=2 if w == "cosine" else 1,
                        success=0.5,
                    ),
                )


def labels(results: Results) -> None:
    """The three label games."""
    for name in ("mnist", "german-credit"):
        hidden = () if name == "mnist" else (32,)
        for attack, settings in (
            ("label.gradient", {"weights": "released"}),
            ("label.gradient", {"weights": "fresh", "batch": 8}),
            ("label.gradient", {"weights": "fresh", "batch": 32}),
            ("label.update", {"weights": "released"}),
            ("label.posterior", {}),
        ):
            for sent, plan in (("bare", {}), ("DP-SGD", NOISY)):
                if sent != "bare" and ("batch" in settings or attack == "label.posterior"):
                    continue
                results.row(
                    "labels",
                    {"data": name, "attack": attack, "settings": settings, "gradient": sent},
                    lambda n=name, h=hidden, a=attack, s=settings, p=plan: attacked(
                        a, unproven(trained(n, hidden=h), **p), parts(n), **s
                    ),
                )


def inversion(results: Results) -> None:
    """Pictures of classes and of people."""
    for name in IMAGES:
        for attack in ("inversion.ascent", "inversion.prior", "inversion.learned"):
            results.row(
                "inversion",
                {"data": name, "attack": attack},
                lambda n=name, a=attack: attacked(a, unproven(trained(n)), parts(n)),
            )


def secrets(results: Results) -> None:
    """Values of rows from models that know their members by heart, and from those that do not."""
    for name, hidden in (("german-credit", (128,)), ("census-sample", (256,))):
        results.row(
            "secrets",
            {"data": name},
            lambda n=name, h=hidden: attacked(
                "attribute.model", unproven(trained(n, hidden=h)), parts(n), max_secrets=5
            ),
        )
    for kind, columns, hidden in (
        ("network", 12, (512,)),
        ("extra trees", 12, ()),
        ("nearest neighbours", 12, ()),
        ("network", 41, (512, 512)),
        ("extra trees", 41, ()),
    ):
        for saw in ("members", "others", PRIVATELY):
            if saw == PRIVATELY and kind != "network":
                continue
            results.row(
                "secrets",
                {"data": "census-income", "model": kind, "columns": columns, "trained on": saw},
                lambda k=kind, c=columns, h=hidden, s=saw: _by_heart(k, c, h, s),
            )


def _by_heart(kind: str, columns: int, hidden: tuple[int, ...], saw: str) -> dict[str, Any]:
    """What a model tells of these people that knows them or others, and what other rules get."""
    evidence, others = rote.census(columns)
    data: Any = others if saw == "others" else evidence.members
    if saw == PRIVATELY:
        release = rote.privately(data, hidden)
    else:
        release = unproven(rote.by_heart(kind, data, hidden))
    model = release.model
    told = attacked(
        "attribute.model",
        release,
        evidence,
        secrets=rote.SECRETS,
        max_targets=rote.STRANGERS,
    )
    rules = rote.published(model, evidence, rote.SECRETS) if saw == "members" else {}
    return {"labels known": rote.known(model, evidence), "other rules": rules} | told


def stealing(results: Results) -> None:
    """Copies by 1,000 questions."""
    for name, hidden in (("mnist", ()), ("fashion-mnist", ()), ("german-credit", (128,))):
        for answers in ("scores", "labels"):
            results.row(
                "stealing",
                {"data": name, "answers": answers},
                lambda n=name, h=hidden, a=answers: attacked(
                    "stealing.surrogate", unproven(trained(n, hidden=h)), parts(n), answers=a
                ),
            )


def reidentification(results: Results) -> None:
    """Pictures of 7 x 7 blocks with noise on them, of weak and of strong."""
    members: Any = parts("mnist").members
    blocks = members.images.reshape(len(members), 1, 7, 4, 7, 4).mean(axis=(3, 5))
    for noise in (0.1, 0.5, 2.0):
        drawn = np.random.default_rng(SEED).standard_normal(blocks.shape)
        shown = np.clip(blocks + noise * drawn, 0, 1).repeat(4, axis=2).repeat(4, axis=3)
        released = ImageSet.from_arrays(
            shown.astype(np.float32), members.labels, members.schema.classes
        )
        for attack in ("reidentification.siamese", "inversion.learned"):
            results.row(
                "reidentification",
                {"data": "mnist", "blocks": 7, "noise": noise, "attack": attack},
                lambda r=released, a=attack: attacked(a, unproven(r, aligned=True), parts("mnist")),
            )


def peer(results: Results, python: str | None, inverting: str | None) -> None:
    """Other tools' attacks on the same models and records."""
    for game in GAMES if python else ():
        results.row("peer", {"game": game}, lambda g=game: compared(g, python))
    for game in GRADIENTS if inverting else ():
        results.row(
            "peer", {"game": game}, lambda g=game: compared(g, python or sys.executable, inverting)
        )


def main() -> None:
    """Runs what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    every = {
        "gradients": gradients,
        "labels": labels,
        "secrets": secrets,
        "stealing": stealing,
        "inversion": inversion,
        "reidentification": reidentification,
    }
    parser.add_argument("--part", choices=[*every, "peer"], action="append")
    parser.add_argument("--peer", help="Interpreter of an environment with sfumato and ART.")
    parser.add_argument("--inverting", help="Sources of JonasGeiping/invertinggradients.")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="Then stop.")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    results = Results(asked.results, asked.seconds)
    for part in asked.part or every:
        if part != "peer":
            every[part](results)
    if asked.part is None or "peer" in asked.part:
        peer(results, asked.peer, asked.inverting)


if __name__ == "__main__":
    main()
