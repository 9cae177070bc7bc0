"""Rows of ``tables.marginals``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from itertools import islice
from typing import Any

import numpy as np

from battery import data
from battery.accountant import Parts
from battery.data import PEOPLE
from battery.recorder import Recorder
from battery.row import Array, MethodRow, Row
from battery.rows.common import BUDGET, codes_of
from sfumato.data import Categorical, Schema, Table
from sfumato.privacy.budget import Budget
from sfumato.privacy.mechanisms import NoisyMax
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import NoiseSource
from sfumato.publish.method import Calibrated, silent
from sfumato.publish.tables.marginal_trees import Marginals, _Run

MANY = 3000
"""Rows of which pairs stand out of the noise."""


def linked(seed: int, rows: int, schema: Schema = PEOPLE) -> Table:
    """People whose columns go together: each copies the one before it, more often than not."""
    rng = np.random.default_rng(seed)
    codes = data.people(seed, rows, schema).codes()
    before = None
    for column in schema.features:
        if before is not None:
            copied = rng.random(rows) < 0.7
            codes[column.name] = np.where(copied, before % column.size, codes[column.name])
        before = codes[column.name]
    return Table.from_codes(codes, schema)


class TreeAlone(_Run):
    """A run with cycles whose estimate is the tree.

    The estimate comes after the noise, and compiling the library's for each draw takes seconds;
    ``test_graphical.py`` tests it. All that is drawn from private rows is drawn here as it is.
    """

    def _estimated(self, tree: Any, measured: Any) -> Any:
        return tree


def marginals(
    name: str, budget: Budget = BUDGET, facts: Schema = PEOPLE, many: bool = False, **settings: Any
) -> MethodRow:
    """``tables.marginals``: features and chosen pairs of features by the target.

    Args:
        name: Of the row.
        budget: At delta 0 the noise is Laplace.
        facts: The schema.
        many: Whether there are rows enough for pairs to be chosen.
        settings: Of the method.
    """
    # So many bins that none holds two numbers: the truth is counted number by number.
    settings = {"seed": 1, "bins": 16 if many else 5} | settings
    pure = budget.delta == 0
    rows = MANY if many else 25

    @lru_cache  # calibration is a function of public facts
    def make(budget: Budget, facts: Schema = facts) -> Calibrated:
        given = Budget(budget.epsilon) if pure else budget
        made = Marginals(**settings).calibrate(given, facts)
        return replace(made, run=TreeAlone(**vars(made.run))) if settings.get("cycles") else made

    # Of a common class, but else all highest codes, which nobody has: alone in its cells.
    joiner = data.LAST | {facts.target or "": 0}
    source_of = linked if many else data.people
    codes = source_of(0, rows, facts).codes()
    codes = {n: np.minimum(c, max(0, facts[n].size - 2)) for n, c in codes.items()}
    codes[facts.target or ""] = np.zeros(rows, np.int64)
    alone = Table.from_codes(codes, facts)
    joined = Table.from_codes({n: np.append(c, joiner[n]) for n, c in codes.items()}, facts)

    def samples(made: Calibrated, table: Table, runs: int, source: NoiseSource) -> Array:
        released = []
        for _ in range(runs):
            drawn = made.run(table, source, silent).data.codes()
            same = {n: drawn[n] == joiner[n] for n in facts.names}
            released.append(
                [(same[c.name] & same[facts.target or ""]).sum() for c in facts.features]
            )
        return np.array(released)

    def one_run(row: Row, included: Array, source: NoiseSource) -> Array:
        m = len(included)
        names = tuple(f"v{i}" for i in range(m))
        # Gaussian noise pays off from a few columns on.
        wide = Schema(tuple(Categorical(f"c{j}", names) for j in range(2 if pure else 4)))
        table = Table.from_codes(dict.fromkeys(wide.names, np.flatnonzero(included)), wide)
        released = row.make(row.audit_budget, wide).run(table, source, silent).data.codes()
        return sum(np.bincount(released[n], minlength=m) for n in wide.names) * 1.0

    def identity(made: Calibrated, source: NoiseSource) -> tuple[Array, Array]:
        # What it keeps is what it measures: features, and the pairs it chose, by the target.
        table = linked(2, MANY, facts)
        artefact = made.run(table, source, silent)
        by = [facts.target or ""]
        asked = [[c.name, *by] for c in facts.features]
        asked += [[*pair, *by] for pair in artefact.notes["pairs"]]
        assert len(asked) == 2 * len(facts.features) - 1, "pairs that go together are not chosen"
        both = [
            np.concatenate([t.ravel() for t in private.many_counts(asked)])
            for private in (artefact.data, table)
        ]
        return both[0], both[1]

    def noise(made: Calibrated, source: NoiseSource) -> Array:
        # Which tables follow the first ones is drawn; of each, the noise of its first counts.
        drawn = []
        for _ in range(400):
            with Recorder() as recorder:
                made.run(alone, source, silent)
            tables = [d for d in recorder.draws if not isinstance(d.mechanism, NoisyMax)]
            drawn.append(np.concatenate([np.ravel(d.noise)[:2] for d in tables]))
        return np.array(drawn)

    def error(made: Calibrated, source: NoiseSource) -> float:
        off = []
        for _ in range(20):
            with Recorder() as recorder:
                made.run(alone, source, silent)
            tables = [d for d in recorder.draws if not isinstance(d.mechanism, NoisyMax)]
            off += [np.abs(d.noise).mean() for d in islice(tables, len(facts.features))]
        return float(np.mean(off))

    alternatives: dict[str, Any] = {
        "bins": 2,
        "binning": "log",
        "pairs": 0.3,
        "choosing": 0.2,
        "rows": 17,
        "seed": 2,
    }
    if many:
        alternatives["groups"] = 3
    if "cycles" in settings:  # the other settings are those of the row without
        alternatives = {"cycles": 1}
    if facts.target == "age":
        alternatives["target_bins"] = 4
    return MethodRow(
        name=name,
        subject=Marginals,
        settings=settings,
        make=make,
        facts=facts,
        neighbours=Neighbours.ADD_REMOVE,
        budget=budget,
        audit_budget=Budget(2.0, budget.delta),
        pure=pure,
        extremes=(alone, joined),
        data=lambda seed: source_of(seed, rows + 15 + 11 * seed, facts),
        neighbour=data.add_or_remove,
        numbers=codes_of,
        parts=_parts,
        paid_for=frozenset({"noisy_records", "rows", "pairs", "groups"}),
        adaptive=True,
        alternatives=alternatives,
        samples=samples,
        runs=0 if many or facts.target == "age" else 400,
        slow_runs=400 if facts.target == "age" else 3000,
        error=error,
        noise=None if many else noise,
        identity=identity if many and "cycles" not in settings else None,
        # Levels that are merged, and margins that are fitted to, cost a little.
        tolerance=0.03,
        one_run=None if many else one_run,
    )


def _parts(plan: Mapping[str, Any], facts: Schema) -> Parts:
    parts = Parts()
    rounds = plan["rounds"]
    if "scale_of_features" in plan:
        parts = parts.discrete_laplace(1, plan["scale_of_features"], plan["tables"])
        parts = parts.discrete_laplace(1, plan["scale_of_rounds"], rounds)
    else:
        parts = parts.discrete_gaussian(1, plan["stddev_of_features"], plan["tables"])
        parts = parts.discrete_gaussian(1, plan["stddev_of_rounds"], rounds)
    return parts.bounded(plan["epsilon_of_a_choice"], rounds)
