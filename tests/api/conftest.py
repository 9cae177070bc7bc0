"""A small table of people whose outcome follows from two of their attributes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sfumato.data import Schema, Table
from sfumato.data.columns import Categorical, Numeric

ROWS = 400


@pytest.fixture(autouse=True)
def _own_ledgers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SFUMATO_HOME", str(tmp_path / "home"))


@pytest.fixture
def people() -> Table:
    rng = np.random.default_rng(1)
    age = rng.integers(0, 60, ROWS)
    colour = rng.integers(0, 3, ROWS)
    outcome = ((age > 30).astype(int) + (colour == 1) + (rng.random(ROWS) < 0.1)) > 1
    schema = Schema(
        (
            Numeric("age", 0, 59, 1, integer=True),
            Categorical("colour", ("red", "green", "blue")),
            Categorical("outcome", ("no", "yes")),
        ),
        target="outcome",
    )
    codes = {"age": age, "colour": colour, "outcome": outcome.astype(int)}
    return Table.from_codes(codes, schema)


@pytest.fixture
def people_file(people: Table, tmp_path: Path) -> Path:
    """The same people as a Parquet file with its schema beside it."""
    file = tmp_path / "people.parquet"
    people.to_pandas().to_parquet(file)
    people.schema.save(tmp_path / "people.schema.yaml")
    return file
