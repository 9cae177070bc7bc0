"""Releases and evaluations that a report can be made of, without any method or attack."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sfumato.attack.finding import Finding
from sfumato.data import Categorical, Fact, ImageSet, Numeric, Ordinal, Schema, Table
from sfumato.measure.distributions import distributions
from sfumato.measure.evaluation import Evaluation
from sfumato.measure.fidelity import Fidelity
from sfumato.measure.marginals import MarginalError
from sfumato.measure.score import Score, Utility
from sfumato.privacy import events
from sfumato.privacy.guarantee import Central, Empirical, Guarantee, Local, Metric
from sfumato.privacy.neighbours import Neighbours
from sfumato.release.card import Card, figures_of
from sfumato.release.release import Artefact, Release

WORST = Central(events.PureDpEvent(1.5, "replace-one"), 0.0, neighbours=Neighbours.REPLACE_ONE)
GUARANTEES: dict[str, Guarantee] = {
    "central": Central(events.GaussianDpEvent(5.0), 1e-5),
    "local": Local(events.PureDpEvent(1.0, "replace-one"), 0.0),
    "metric": Metric(0.5, "Euclidean distance of pixels", {"same person": 2.0}),
    "metric bounded": Metric(
        0.5,
        "angle",
        worst_case=Central(
            events.PureDpEvent(1.5, "replace-one"), 0.0, neighbours=Neighbours.REPLACE_ONE
        ),
    ),
    "empirical": Empirical(("membership.distance",)),
}
RELEASE_ID = "0123456789abcdef0123456789abcdef"


def card(guarantee: Guarantee, kind: str, **changes: Any) -> Card:
    values: dict[str, Any] = {
        "release_id": RELEASE_ID,
        "method": {
            "name": "tables.example",
            "settings": {"bins": 20, "weights": None, "clip": 2.5},
            "source": "Somebody 2020",
        },
        "guarantee": guarantee.to_dict(),
        "figures": figures_of(guarantee),
        "plan": {
            "scale": 2.0,
            "budgets": {f"column {i}": 0.1 for i in range(9)},
            "clips": [1.0, 2.0],
            "layers": [{"name": "first", "clip": 1.0}],
            "empty": {},
            "nothing": [],
        },
        "facts": (
            Fact("target", "ill"),
            Fact("records", 400),
            Fact("bounds of age", {"lower": 0, "upper": 99, "granularity": 1, "missing": False}),
            Fact("scale of pixels", [0.0, 1.0], "public: the camera's manual"),
            Fact("importance", {"age": 0.7, "ward": 0.3}, "ledger:" + "ab" * 32),
        ),
        "caveats": ("The paper claims more than it proves.",),
        "ledger": {"entry": "cd" * 32, "sequence": 7},
        "noise": {"source": "os-entropy", "secure": True},
        "seeds": {"sampling": 11},
        "artefact": {
            "kind": kind,
            "files": [{"name": "data.parquet", "sha256": "ef" * 32, "bytes": 4096}],
        },
        "versions": {"python": "3.11.0", "sfumato": "0.1.0"},
        "created": "2030-01-02T03:04:05+00:00",
    }
    return Card(**{**values, **changes})


def table(seed: int = 0, rows: int = 400, name: str = "ward") -> Table:
    schema = Schema(
        (
            Numeric("age", 0, 99, 1, integer=True, missing=True),
            Categorical(name, tuple(f"ward {i}" for i in range(15))),
            Ordinal("stage", ("early", "middle", "late")),
            Ordinal("score", tuple(f"grade {i}" for i in range(12)), missing=True),
            Categorical("ill", ("no", "yes")),
        ),
        target="ill",
    )
    rng = np.random.default_rng(seed)
    codes = {column.name: rng.integers(0, column.size, rows) for column in schema}
    return Table.from_codes(codes, schema)


def images(seed: int = 0, rows: int = 240, channels: int = 1) -> ImageSet:
    rng = np.random.default_rng(seed)
    labels = np.arange(rows) % 3
    # What save() keeps: eight bits, so that a picture in a page can be compared exactly.
    pixels = rng.integers(0, 256, (rows, channels, 6, 5)) / 255
    return ImageSet.from_arrays(pixels.astype(np.float32), labels, ("none", "mild", "severe"))


@pytest.fixture(scope="session")
def make_release() -> Callable[..., Release]:
    def make(kind: str = "table", guarantee: str = "central", **changes: Any) -> Release:
        data = changes.pop("data", None) or (table() if kind == "table" else images())
        return Release(card(GUARANTEES[guarantee], kind, **changes), Artefact(data))

    return make


def finding(attack: str = "membership.distance", **changes: Any) -> Finding:
    values: dict[str, Any] = {
        "metric": "AUC",
        "value": 0.5034,
        "interval": (0.4817, 0.5259),
        "confidence": 0.95,
        "chance": 0.5,
        "baseline": 0.5021,
        "ceiling": 0.5567,
        "roc": ((0.0, 0.0), (0.004, 0.006), (0.3, 0.32), (1.0, 1.0)),
        "summary": "A sentence that only the custodian reads.",
    }
    return Finding(attack, **{**values, **changes})


def utility(**changes: Any) -> Utility:
    scores = [
        Score(model, setting, metric, value, (value - 0.012, value + 0.011))
        for model, lift in (("logistic regression", 0.0), ("random forest", 0.0213))
        for metric, base in (("accuracy", 0.7717), ("AUROC", 0.8113))
        for setting, value in (
            ("p1", base + lift),
            ("p2", base + lift - 0.0531),
            ("p3", base - 0.1),
            ("p4", base - 0.09),
        )
    ]
    values: dict[str, Any] = {
        "task": "classification",
        "target": "ill",
        "scores": tuple(scores),
        "majority": {"accuracy": 0.6143, "AUROC": 0.5},
        "records": {"train": 400, "released": 380, "test": 97},
        "notes": ("A note about a rare class.",),
    }
    return Utility(**{**values, **changes})


@pytest.fixture(scope="session")
def make_finding() -> Callable[..., Finding]:
    return finding


@pytest.fixture(scope="session")
def make_utility() -> Callable[..., Utility]:
    return utility


@pytest.fixture(scope="session")
def make_evaluation() -> Callable[..., Evaluation]:
    def make(release: Release, real: Any = None, **changes: Any) -> Evaluation:
        private = real or (table(1) if release.data.kind == "table" else images(1))
        values: dict[str, Any] = {
            "findings": (
                finding(),
                finding(
                    "linkage.nearest",
                    metric="rank-1 rate",
                    value=0.00037,
                    interval=(0.0001, 0.0021),
                    chance=0.0025,
                    baseline=None,
                    ceiling=None,
                    roc=(),
                    summary="",
                ),
            ),
            "utility": utility(),
            "marginals": MarginalError(
                {"age": 0.0417, "ward": 0.1173, "stage": 0.0031},
                0.0719,
                0.2931,
                ("age", "ward"),
                3,
                3,
                16,
                {"age": 0.0123},
                0.0457,
            )
            if release.data.kind == "table"
            else None,
            "fidelity": None
            if release.data.kind == "table"
            else Fidelity(45.25, 0.875, 0.625, 0.75, 0.375, 0.8125, "scattering, v1", 1200),
            "distributions": distributions(release.data, private),
            "release_id": release.card.release_id,
        }
        return Evaluation(**{**values, **changes})

    return make
