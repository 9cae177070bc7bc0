"""Rows of ``tables.independent``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from battery import data
from battery.accountant import Parts
from battery.data import PEOPLE
from battery.recorder import Recorder
from battery.row import Array, MethodRow, Row
from battery.rows.common import BUDGET, codes_of, noise_of
from sfumato.data import Categorical, Schema, Table
from sfumato.privacy.budget import Budget
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import NoiseSource
from sfumato.publish.method import Calibrated, silent
from sfumato.publish.tables.independent import Independent


def independent(
    name: str, budget: Budget = BUDGET, facts: Schema = PEOPLE, **settings: Any
) -> MethodRow:
    """``tables.independent``: noisy histograms of each feature by the target."""
    settings = {"seed": 1, "bins": 5} | settings
    pure = budget.delta == 0

    @lru_cache  # calibration is a function of public facts
    def make(budget: Budget, facts: Schema = facts) -> Calibrated:
        given = Budget(budget.epsilon) if pure else budget
        return Independent(**settings).calibrate(given, facts)

    # Of a common class, but else all highest codes, which nobody has: alone in its cells.
    joiner = data.LAST | {facts.target or "": 0}
    rng = np.random.default_rng(0)
    codes = {c.name: rng.integers(0, max(1, c.size - 1), 25) for c in facts}
    codes[facts.target or ""] = np.zeros(25, np.int64)
    alone = Table.from_codes(codes, facts)
    joined = Table.from_codes({n: np.append(c, joiner[n]) for n, c in codes.items()}, facts)

    def samples(made: Calibrated, table: Table, runs: int, source: NoiseSource) -> Array:
        released = []
        for _ in range(runs):
            rows = made.run(table, source, silent).data.codes()
            same = {n: rows[n] == joiner[n] for n in facts.names}
            released.append(
                [(same[c.name] & same[facts.target or ""]).sum() for c in facts.features]
            )
        return np.array(released)

    def one_run(row: Row, included: Array, source: NoiseSource) -> Array:
        m = len(included)
        names = tuple(f"v{i}" for i in range(m))
        # Gaussian noise pays off from a few columns on.
        wide = Schema(tuple(Categorical(f"c{j}", names) for j in range(2 if pure else 4)))
        present = np.flatnonzero(included)
        table = Table.from_codes(dict.fromkeys(wide.names, present), wide)
        released = row.make(row.audit_budget, wide).run(table, source, silent).data.codes()
        return sum(np.bincount(released[n], minlength=m) for n in wide.names) * 1.0

    def identity(made: Calibrated, source: NoiseSource) -> tuple[Array, Array]:
        # What it keeps is what it measures: the counts of each feature by the target.
        table = data.people(2, 200, facts)
        counted = []
        for private in (made.run(table, source, silent).data, table):
            with Recorder() as recorder:
                made.run(private, source, silent)
            counted.append(np.concatenate([np.ravel(draw.values) for draw in recorder.draws]))
        return counted[0], counted[1]

    alternatives: dict[str, Any] = {"bins": 2, "binning": "log", "rows": 17, "seed": 2}
    if facts.target == "age":
        alternatives["target_bins"] = 4
    return MethodRow(
        name=name,
        subject=Independent,
        settings=settings,
        make=make,
        facts=facts,
        neighbours=Neighbours.ADD_REMOVE,
        budget=budget,
        audit_budget=Budget(2.0, budget.delta),
        pure=pure,
        extremes=(alone, joined),
        data=lambda seed: data.people(seed, 40 + 11 * seed, facts),
        neighbour=data.add_or_remove,
        numbers=codes_of,
        parts=_independent_parts,
        paid_for=frozenset({"noisy_records", "rows"}),
        alternatives=alternatives,
        samples=samples,
        runs=0 if facts.target == "age" else 800,
        slow_runs=6000,
        error=lambda made, source: float(np.abs(noise_of(alone, 20)(made, source)).mean()),
        noise=noise_of(alone, 400),
        identity=identity,
        # Systematic sampling gives each cell its count to within one.
        tolerance=0.02,
        one_run=one_run,
    )


def _independent_parts(plan: Mapping[str, Any], facts: Schema) -> Parts:
    if "scale" in plan:
        return Parts().discrete_laplace(1, plan["scale"], plan["tables"])
    return Parts().discrete_gaussian(1, plan["stddev"], plan["tables"])
