"""Rows of ``tables.mcgen``."""

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
from sfumato.publish.tables.mcgen import McGen


def mcgen(name: str, facts: Schema = PEOPLE, **settings: Any) -> MethodRow:
    """``tables.mcgen``: noisy moments of clusters of sets of features."""
    settings = {"seed": 1, "set_size": 2} | settings

    @lru_cache  # calibration is a function of public facts
    def make(budget: Budget, facts: Schema = facts) -> Calibrated:
        return McGen(**settings).calibrate(budget, facts)

    # Somebody whom nobody is like, alone in the corner of the domain.
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
            released.append([(rows[n] == joiner[n]).sum() for n in facts.names])
        return np.array(released)

    def one_run(row: Row, included: Array, source: NoiseSource) -> Array:
        m = len(included)
        names = tuple(f"v{i}" for i in range(m))
        # A class for each canary: its clusters hold nobody else.
        wide = Schema((Categorical("c", ("a", "b")), Categorical("who", names)), target="who")
        present = np.flatnonzero(included)
        table = Table.from_codes({"c": np.ones(len(present), np.int64), "who": present}, wide)
        released = row.make(row.audit_budget, wide).run(table, source, silent).data.codes()
        return np.bincount(released["who"], minlength=m) * 1.0

    def identity(made: Calibrated, source: NoiseSource) -> tuple[Array, Array]:
        # What is kept of a table is what is measured of it.
        table = data.people(2, 200, facts)
        with Recorder() as recorder:
            made.run(table, source, silent)
        measured = np.concatenate([np.ravel(d.output) for d in recorder.draws])
        return measured, np.concatenate([np.ravel(d.values) for d in recorder.draws])

    alternatives: dict[str, Any] = {"set_size": 1, "bits": 2, "rows": 17, "seed": 2}
    alternatives["sets"] = (("age", "city"), ("income",), ("rank",))
    if facts.target == "age":
        alternatives = {"target_bins": 4}
    return MethodRow(
        name=name,
        subject=McGen,
        settings=settings,
        make=make,
        facts=facts,
        neighbours=Neighbours.ADD_REMOVE,
        budget=BUDGET,
        audit_budget=Budget(2.0, BUDGET.delta),
        extremes=(alone, joined),
        data=lambda seed: data.people(seed, 40 + 11 * seed, facts),
        neighbour=data.add_or_remove,
        numbers=codes_of,
        parts=_parts,
        paid_for=frozenset({"noisy_records", "rows"}),
        alternatives=alternatives,
        samples=samples,
        runs=0 if facts.target == "age" else 400,
        slow_runs=4000,
        error=lambda made, source: float(np.abs(noise_of(alone, 20)(made, source)).mean()),
        noise=lambda made, source: noise_of(alone, 220)(made, source)[:, :200],
        identity=identity,
        tolerance=0.05,
        one_run=one_run,
    )


def _parts(plan: Mapping[str, Any], facts: Schema) -> Parts:
    return Parts().gaussian(plan["contribution"], plan["stddev"], plan["sets"])
