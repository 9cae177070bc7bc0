"""Releases that need no method."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sfumato.data import Categorical, Fact, ImageSet, Numeric, Schema, Table
from sfumato.privacy import events
from sfumato.privacy.guarantee import Central, Empirical, Guarantee, Local, Metric
from sfumato.privacy.neighbours import Neighbours
from sfumato.release.card import Card, figures_of
from sfumato.release.release import Artefact, Release
from sfumato.versions import versions

WORST = Central(events.PureDpEvent(1.5, "replace-one"), 0.0, neighbours=Neighbours.REPLACE_ONE)
GUARANTEES: dict[str, Guarantee] = {
    "gaussian": Central(events.GaussianDpEvent(5.0), 1e-5),
    "composed": Central(
        events.compose(
            events.DiscreteGaussianDpEvent(8.0, 1.0, "cell"),
            events.repeat(events.DiscreteLaplaceDpEvent(0.1, 1), 3),
            events.PureDpEvent(0.1, "add-remove"),
        ),
        1e-6,
        "patient",
        Neighbours.ADD_REMOVE,
    ),
    "sampled": Central(
        events.repeat(events.PoissonSampledDpEvent(0.01, events.GaussianDpEvent(2.0)), 10), 1e-6
    ),
    "local": Local(events.RandomizedResponseDpEvent(0.5, 4), 0.0),
    "metric": Metric(0.5, "Euclidean distance", {"same person": 2.0}),
    "metric bounded": Metric(
        0.5,
        "angle",
        {"same person": 2.0},
        worst_case=Central(
            events.PureDpEvent(1.5, "replace-one"), 0.0, neighbours=Neighbours.REPLACE_ONE
        ),
    ),
    "empirical": Empirical(("membership.distance",)),
}


def data_of(kind: str) -> Any:
    rng = np.random.default_rng(0)
    if kind == "images":
        pixels = rng.integers(0, 256, (12, 1, 4, 4)) / 255
        return ImageSet.from_arrays(pixels.astype(np.float32), np.arange(12) % 2, ("a", "b"))
    schema = Schema((Numeric("age", 0, 9, 1), Categorical("ill", ("no", "yes"))), target="ill")
    return Table.from_codes({c.name: rng.integers(0, c.size, 30) for c in schema}, schema)


@pytest.fixture
def make() -> Callable[..., Release]:
    def release(
        kind: str = "table", guarantee: str = "gaussian", tensors: bool = False, **changes: Any
    ) -> Release:
        proven, data = GUARANTEES[guarantee], data_of(kind)
        values: dict[str, Any] = {
            "release_id": "0123456789abcdef" * 2,
            "method": {"name": "m", "settings": {"bins": [1, 2], "weights": None}, "source": "s"},
            "guarantee": proven.to_dict(),
            "figures": figures_of(proven),
            "plan": {"scale": 2.0, "nested": {"a": [0.1]}},
            "facts": (*data.schema.as_facts(), Fact("importance", 0.5, "ledger:" + "a" * 64)),
            "ledger": {"entry": "b" * 64, "sequence": 1},
            "noise": {"source": "os-entropy", "secure": True},
            "artefact": {"kind": kind},
            "versions": versions(),
            "caveats": ("one",),
            "seeds": {"sampling": 2**63},
        }
        weights = {"layer.weight": np.arange(6, dtype=np.float32).reshape(2, 3)}
        return Release(
            Card(**{**values, **changes}),
            Artefact(
                data,
                weights if tensors else {},
                {"layers": [2, 3]} if tensors else {},
                {"sampling": 2**63},
            ),
        )

    return release


@pytest.fixture(params=sorted(GUARANTEES))
def any_guarantee(request: pytest.FixtureRequest) -> str:
    return str(request.param)
