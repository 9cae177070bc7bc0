from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sfumato.data import Categorical, ImageSet, Numeric, Ordinal, Schema, Table
from sfumato.privacy import events
from sfumato.privacy.guarantee import Central
from sfumato.release.card import Card
from sfumato.release.release import Artefact, Release

SCHEMA = Schema(
    (
        Numeric("age", 0, 99, 1, integer=True),
        Numeric("income", 0, 50_000, 10, missing=True, integer=True),
        Categorical("town", tuple(f"town-{i}" for i in range(12))),
        Categorical("job", tuple(f"job-{i}" for i in range(8)), missing=True),
        Ordinal("degree", ("none", "school", "college", "doctor")),
        Categorical("owner", ("no", "yes")),
    ),
    target="owner",
)


def people(rows: int, seed: int) -> Table:
    """Rows whose target depends on other columns, as in real tables."""
    rng = np.random.default_rng(seed)
    degree = rng.integers(0, 4, rows)
    age = np.clip(rng.normal(30 + 8 * degree, 15, rows), 0, 99).astype(np.int64)
    income = np.clip(rng.normal(1000 + 700 * degree, 400, rows), 0, 5000).astype(np.int64)
    income[rng.random(rows) < 0.1] = SCHEMA["income"].cardinality
    town = rng.integers(0, 12, rows)
    owner = (rng.random(rows) < 1 / (1 + np.exp(-(age - 45) / 8))).astype(np.int64)
    job = np.where(rng.random(rows) < 0.5, 2 * degree, rng.integers(0, 9, rows))
    columns = {"age": age, "income": income, "town": town, "job": job}
    return Table.from_codes({**columns, "degree": degree, "owner": owner}, SCHEMA)


def pictures(count: int, seed: int) -> ImageSet:
    """Noisy 1x8x8 pictures of three classes: a bar at the left, in the middle, at the right."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    images = rng.random((count, 1, 8, 8), dtype=np.float32) * 0.6
    for row, label in enumerate(labels):
        images[row, :, :, 1 + 2 * label : 3 + 2 * label] += 0.4
    return ImageSet.from_arrays(images, labels, ("left", "middle", "right"))


def released(data: Any) -> Release:
    """A release that holds ``data``."""
    proven = Central(events.GaussianDpEvent(4.0), 1e-6)
    card = Card(
        release_id="0" * 32,
        method={"name": "test"},
        guarantee=proven.to_dict(),
        figures={},
        plan={},
        facts=(),
        ledger={},
        noise={},
        artefact={"kind": data.kind},
        versions={},
    )
    return Release(card=card, artefact=Artefact(data))


@pytest.fixture(scope="session")
def make_people() -> Callable[[int, int], Table]:
    return people


@pytest.fixture(scope="session")
def make_pictures() -> Callable[[int, int], ImageSet]:
    return pictures


@pytest.fixture(scope="session")
def make_release() -> Callable[..., Release]:
    return released
