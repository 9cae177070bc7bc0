from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from sfumato.data import Categorical, Numeric, Ordinal, Schema, Table

ALPHA = 1e-6
"""False-alarm rate of every statistical test here."""


def people() -> Schema:
    """A little of everything: numbers, levels, order, gaps, a constant."""
    return Schema(
        (
            Numeric("age", 0, 90, 1, integer=True),
            Numeric("wage", 0, 5000, 0.5, missing=True),
            Categorical("job", tuple(f"job {i}" for i in range(30))),
            Ordinal("school", ("none", "some", "much"), missing=True),
            Categorical("country", ("here",)),
            Categorical("sick", ("no", "yes")),
        ),
        target="sick",
    )


def random_table(schema: Schema, rows: int, seed: int) -> Table:
    """Rows drawn uniformly from the declared domain."""
    rng = np.random.default_rng(seed)
    return Table.from_codes({c.name: rng.integers(c.size, size=rows) for c in schema}, schema)


def constant_table(schema: Schema, rows: int, codes: dict[str, int]) -> Table:
    """The same row again and again."""
    return Table.from_codes({n: np.full(rows, codes[n]) for n in schema.names}, schema)


def lower_bound(hits: int, false_hits: int, trials: int, delta: float = 0.0) -> float:
    """A lower bound on epsilon from a two-point audit, wrong with probability at most ALPHA.

    Clopper-Pearson bounds, ALPHA / 2 each, on the rates of one event under two neighbours.
    """
    from scipy.stats import beta

    low = beta.ppf(ALPHA / 2, hits, trials - hits + 1) if hits else 0.0
    high = beta.ppf(1 - ALPHA / 2, false_hits + 1, trials - false_hits)
    return math.log((low - delta) / high) if low > delta else -math.inf


Audit = Callable[[int, int, int], float]


@pytest.fixture
def schema() -> Schema:
    return people()


@pytest.fixture
def make_random() -> Callable[[Schema, int, int], Table]:
    return random_table


@pytest.fixture
def make_constant() -> Callable[[Schema, int, dict[str, int]], Table]:
    return constant_table


@pytest.fixture
def audit() -> Audit:
    return lower_bound
