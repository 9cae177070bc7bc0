"""Attacks of other tools on the same models and records, judged alike."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import reconstruction_rote as rote
from reconstruction_targets import SEED, parts, trained

from sfumato.attack import auxiliary
from sfumato.attack.gradients.likeness import ssim
from sfumato.attack.representatives import asked_classes
from sfumato.measure import cnn
from sfumato.measure.intervals import clopper_pearson
from sfumato.release.model import Model

CENSUS = "secrets, census-income"
GAMES = ("ssim", "secrets, german-credit", CENSUS, "inversion", "stealing")
GRADIENTS = tuple(f"gradients, {name}" for name in ("mnist", "fashion-mnist"))
INVERTED, ITERATIONS, RECOVERED = 20, 500, 0.5
"""Members, steps and SSIM, as for our own attack (``gradients`` in ``reconstruction.py``)."""
WAYS = {"rf": "forest", "gb": "boosted trees", "without": "boosted trees, no model"}
PEER = Path(__file__).parent / "reconstruction_peer.py"


def compared(game: str, python: str, *sources: str) -> dict[str, Any]:
    """Plays one game in the peer's environment and judges it by our measure.

    Args:
        game: One of ``GAMES`` or ``GRADIENTS``.
        python: Interpreter of an environment with sfumato and the toolbox.
        sources: For ``GRADIENTS``, the folder of the authors' sources.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        given, model = _given(game)
        model.save(folder / "model")
        np.savez(folder / "given.npz", **given)
        began = time.perf_counter()
        command = [python, str(PEER), game.partition(",")[0], str(folder), *sources]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = round(time.perf_counter() - began, 1)
        got = dict(np.load(folder / "got.npz"))
        said = json.loads((folder / "said.json").read_text())
    return said | {"peer_seconds": seconds} | _judged(game, model, given, got)


def _given(game: str) -> tuple[dict[str, Any], Model]:
    """What the peer is told: the same as our attack."""
    if game.startswith("secrets"):
        from sfumato.measure import features

        if game == CENSUS:
            evidence, _ = rote.census(len(rote.COLUMNS))
            model = rote.by_heart("network", evidence.members, (512,))
        else:
            evidence, model = parts("german-credit"), trained("german-credit", hidden=(128,))
        _, held = auxiliary.parted(evidence, SEED)
        schema: Any = model.schema
        return {
            "own": features.codes(held),
            "members": features.codes(evidence.members),
            "goal": schema.names.index(schema.target),
            "at": [schema.names.index(name) for name in _secrets(game, schema)],
        }, model
    if game in GRADIENTS:
        name = game.rpartition(" ")[2]
        model = trained(name)
        rng = np.random.default_rng(SEED)
        members = auxiliary.labelled(model, parts(name).members, INVERTED, rng)
        given = {"truth": members.x, "labels": members.y, "seed": SEED, "iterations": ITERATIONS}
        return given, model
    evidence, model = parts("mnist"), trained("mnist")
    own, members, others = (
        part for part in (evidence.auxiliary, evidence.members, evidence.non_members)
    )
    rng = np.random.default_rng(SEED)
    asked = np.sort(rng.choice(len(own), 1000, replace=False))
    return (
        {
            "own": own.images[asked],
            "labels": own.labels[asked],
            "asked": asked_classes(10, 5),
            "truth": members.images[:100],
            "blurred": np.clip(
                members.images[:100] + 0.2 * rng.standard_normal((100, 1, 28, 28)),
                0,
                1,
            ),
            "test": others.images,
            "test_labels": others.labels,
        },
        model,
    )


def _secrets(game: str, schema: Any) -> list[str]:
    """The columns that our attack guesses, in its order."""
    if game == CENSUS:
        return list(rote.SECRETS)
    few = [c for c in schema.features if c.size <= 64]
    few.sort(key=lambda column: bool(column.ordered))
    return [column.name for column in few[:5]]


def _judged(game: str, model: Model, given: Any, got: Any) -> dict[str, Any]:
    """The peer's result by our measure."""
    if game == "ssim":
        ours = ssim(given["blurred"], given["truth"])
        return {"largest_difference": float(np.abs(ours - got["ssim"]).max())}
    if game in GRADIENTS:
        alike, told = (
            ssim(got[name].astype(np.float32), given["truth"])
            for name in ("found", "found, labels told")
        )
        return _rebuilt(alike) | {
            "labels": float(np.mean(got["named"] == given["labels"])),
            "labels told": _rebuilt(told),
        }
    if game == "inversion":
        judge = cnn.classifier(
            cnn.CONVOLUTIONAL, given["test"], given["test_labels"], 10, seed=SEED
        ).predict
        right = int(np.sum(judge(got["found"].astype(np.float32)).argmax(1) == given["asked"]))
        return _share(right, len(given["asked"]))
    if game == "stealing":
        said = model.probabilities_from(given["test"]).argmax(axis=1)
        return {name: _share(int(np.sum(got[name] == said)), len(said)) for name in got}
    found: dict[str, dict[str, Any]] = {}
    for at, name in zip(given["at"], _secrets(game, model.schema), strict=True):
        for way in WAYS:
            right = got[f"{way} {at}"] == given["members"][:, at]
            found.setdefault(name, {})[WAYS[way]] = _share(int(right.sum()), len(right))
    mean = {
        way: float(np.mean([row[way]["value"] for row in found.values()])) for way in WAYS.values()
    }
    return {"secrets": found, "mean": mean}


def _rebuilt(alike: Any) -> dict[str, Any]:
    return _share(int(np.sum(alike >= RECOVERED)), len(alike)) | {
        "ssim": {"mean": float(alike.mean()), "least": float(alike.min())}
    }


def _share(right: int, of: int) -> dict[str, Any]:
    return {"value": right / of, "interval": list(clopper_pearson(right, of))}
