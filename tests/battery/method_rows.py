"""Rows of the registered methods: how to run each one in its different ways."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from battery import audit, data
from battery.accountant import Parts
from battery.data import PEOPLE, PICTURES
from battery.recorder import Recorder
from battery.row import Array, MethodRow, Row
from sfumato.data import Categorical, ImageSet, Schema, Table
from sfumato.privacy.budget import Budget
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import NoiseSource, SeededSource
from sfumato.publish.generators.merf import Merf
from sfumato.publish.method import Calibrated, silent
from sfumato.publish.tables.adaptive import Adaptive
from sfumato.publish.tables.independent import Independent
from sfumato.release.release import Artefact

ADD = Neighbours.ADD_REMOVE
REPLACE = Neighbours.REPLACE_ONE
BUDGET = Budget(1.0, 1e-6)
FIRST = dict.fromkeys(PEOPLE.names, 0)
_RECORDS = 60
_PICTURES = 30


def matrix(table: Table) -> Array:
    """(n, columns) codes."""
    codes = table.codes()
    return np.stack([codes[name] for name in table.schema.names], axis=1)


def _codes(artefact: Artefact) -> dict[str, Array]:
    return dict(artefact.data.codes())


def _noise(row_data: Any, runs: int) -> Any:
    """Everything that was added in each of some runs, draw after draw, (runs, coordinates)."""

    def noise(made: Calibrated, source: NoiseSource) -> Array:
        drawn = []
        for _ in range(runs):
            with Recorder() as recorder:
                made.run(row_data, source, silent)
            # Noise of different scale is made comparable; a draw's scale is public.
            drawn.append(np.concatenate([np.ravel(draw.noise) for draw in recorder.draws]))
        return np.array(drawn)

    return noise


# -- tables.adaptive ---------------------------------------------------------------------------


def adaptive(name: str, budget: Budget = BUDGET, **settings: Any) -> MethodRow:
    """``tables.adaptive``: local reports, or with paid importance a central release."""
    paid = settings.get("importance") == "paid"
    # Extreme public weights, so that how they are used shows.
    public = {} if paid else {"weights": {"age": 0.5, "income": 0.3, "city": 0.05}}
    settings = public | settings
    facts = PEOPLE.with_records(_RECORDS) if paid else PEOPLE
    gaussian = settings.get("noise") == "gaussian"

    @lru_cache  # calibration is a function of public facts
    def make(budget: Budget, facts: Schema = facts) -> Calibrated:
        if not paid and not gaussian:
            budget = Budget(budget.epsilon)
        return Adaptive(**settings).calibrate(budget, facts)

    def reports(made: Calibrated, records: Array, source: NoiseSource) -> Array:
        table = Table.from_codes(dict(zip(PEOPLE.names, records.T, strict=True)), PEOPLE)
        return matrix(made.run(table, source, silent).data)

    def one_run(row: Row, included: Array, source: NoiseSource) -> Array:
        made = row.make(row.budget, facts.with_records(len(included)) if paid else facts)
        table = data.alike(FIRST, len(included)).codes()
        for column, code in data.TOP.items():
            table[column][included] = code
        released = matrix(made.run(Table.from_codes(table, PEOPLE), source, silent).data)
        # What reports on either record look like, from a release of made-up records.
        half = len(included) // 2
        table = {n: np.repeat([FIRST[n], data.TOP[n]], half) for n in PEOPLE.names}
        trial = matrix(made.run(Table.from_codes(table, PEOPLE), source, silent).data)
        return audit.learn_ratio(trial[half:], trial[:half])(released)

    def samples(made: Calibrated, table: Any, runs: int, source: NoiseSource) -> Array:
        if not paid:  # rows are reported one by one: a table of equal rows is as many runs
            record = {name: int(codes[0]) for name, codes in table.codes().items()}
            return matrix(made.run(data.alike(record, runs), source, silent).data)
        released = []
        for _ in range(runs):
            released.append(matrix(made.run(table, source, silent).data)[0])
        return np.array(released)

    def batched(made: Calibrated, source: NoiseSource) -> Array:
        n, batch = 3000, 1000
        table = data.Batched(data.alike(data.TOP | {"age": 7, "rank": 2}, n), batch)
        return matrix(made.run(table, source, silent).data).reshape(n // batch, batch, -1)

    base = data.people(0)
    records = matrix(base)
    one, other = (data.replaced(base, 0, code) for code in (FIRST, data.TOP))
    alternatives: dict[str, Any] = {
        "allocation": "uniform",
        "noise": "laplace" if gaussian else "gaussian",
        "label_share": 0.3,
        "wide": "k-rr" if settings.get("wide") == "oue" else "oue",
    }
    if paid:
        alternatives |= {"model_share": 0.3, "importance_share": 0.2}
    else:
        alternatives |= {"weights": {"rank": 1.0}, "importance": "paid"}
    return MethodRow(
        name=name,
        subject=Adaptive,
        settings=settings,
        make=make,
        facts=facts,
        neighbours=REPLACE,
        budget=budget if gaussian or paid else Budget(budget.epsilon),
        extremes=(one, other),
        data=lambda seed: _under(data.people(seed, _RECORDS), facts),
        neighbour=data.replace_somebody,
        numbers=_codes,
        parts=_adaptive_parts,
        paid_for=frozenset({"attributes", "label"}) if paid else frozenset(),
        alternatives=alternatives,
        samples=samples,
        runs=0 if paid else 20_000,
        slow_runs=1000 if paid else 0,
        error=lambda made, source: _share_changed(made, source),
        # With Gaussian noise on numbers, too, the paid release has no other draws.
        noise=_report_noise if not paid else None if gaussian else _noise(base, 200),
        reports=None if paid else reports,
        records=records,
        stretch=lambda codes, i: _with_row(codes, i, [data.LAST[n] for n in PEOPLE.names]),
        identity=None if settings.get("wide") == "oue" or paid else _adaptive_identity,
        huge=Budget(500.0, 0.5),
        one_run=one_run,
        batched=batched,
    )


def _under(table: Table, schema: Schema) -> Table:
    """The same codes under facts that also state the number of rows."""
    return Table.from_codes(table.codes(), schema)


def _adaptive_parts(plan: Mapping[str, Any], facts: Schema) -> Parts:
    """Epsilon from the *noise* that is printed, not from the epsilons beside it."""
    parts = Parts()
    for entry in (*plan["attributes"], plan["label"]):
        column = facts[entry["name"]]
        if "presence_truth_probability" in entry:
            parts = parts.response(2 * (1 - entry["presence_truth_probability"]), 2)
        if "noise_over_range" in entry:
            diameter = column.cardinality - 1
            noise = entry["noise_over_range"] * diameter
            kind = parts.discrete_gaussian if "mu" in entry else parts.discrete_laplace
            parts = kind(diameter, noise)
        elif "truth_probability" in entry:
            k = column.size
            parts = parts.response((1 - entry["truth_probability"]) * k / (k - 1), k)
        else:  # unary encoding has no other parameter
            parts = parts.bounded(entry["epsilon"])
    if "model" in plan:
        model = plan["model"]
        parts = parts.gaussian(2, model["noise_multiplier"], model["steps"])
        scale = plan["importance"]["noise_scale_of_the_mean"]
        parts = parts.laplace(2 / facts.records, scale)
    return parts


def _share_changed(made: Calibrated, source: NoiseSource) -> float:
    table = data.people(5, 3000)
    if made.facts.records is not None:
        made = made.method.calibrate(made.budget, made.facts.with_records(3000))
    released = made.run(table, source, silent).data
    return float((matrix(released) != matrix(table)).mean())


def _report_noise(made: Calibrated, source: NoiseSource) -> Array:
    table = data.alike(data.TOP | {"age": 7, "city": 5, "rank": 2}, 4000)
    released = matrix(made.run(table, source, silent).data)
    # Rows side by side: eight reports of five columns each.
    return released.reshape(500, -1)


def _adaptive_identity(made: Calibrated, source: NoiseSource) -> tuple[Array, Array]:
    # By default no more is spent on the label than makes it right in 95 of 100 rows.
    made = replace(made.method, label_share=0.3).calibrate(made.budget, made.facts)
    table = data.people(1, _RECORDS)
    return matrix(made.run(table, source, silent).data), matrix(table)


def _with_row(codes: Array, i: int, values: list[int]) -> Array:
    changed = codes.copy()
    changed[i] = values
    return changed


# -- tables.independent ------------------------------------------------------------------------


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

    # Nobody has a highest code, so that the added record is alone in its cells.
    rng = np.random.default_rng(0)
    codes = {c.name: rng.integers(0, c.size - 1, 25) for c in facts}
    alone = Table.from_codes(codes, facts)
    joined = Table.from_codes({n: np.append(c, data.LAST[n]) for n, c in codes.items()}, facts)

    def samples(made: Calibrated, table: Table, runs: int, source: NoiseSource) -> Array:
        released = []
        for _ in range(runs):
            rows = made.run(table, source, silent).data.codes()
            same = {n: rows[n] == data.LAST[n] for n in facts.names}
            target = same[facts.target or ""]
            counts = [(same[c.name] & target).sum() for c in facts.features]
            released.append([len(target), target.sum(), *counts])
        return np.array(released)

    def one_run(row: Row, included: Array, source: NoiseSource) -> Array:
        m = len(included)
        names = tuple(f"v{i}" for i in range(m))
        wide = Schema((Categorical("first", names), Categorical("second", names)))
        present = np.flatnonzero(included)
        table = Table.from_codes({"first": present, "second": present}, wide)
        released = row.make(row.budget, wide).run(table, source, silent).data.codes()
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

    alternatives: dict[str, Any] = {"bins": 2, "binning": "log", "rows": 10, "seed": 2}
    if facts.target == "age":
        alternatives["target_bins"] = 4
    return MethodRow(
        name=name,
        subject=Independent,
        settings=settings,
        make=make,
        facts=facts,
        neighbours=ADD,
        budget=budget,
        pure=pure,
        extremes=(alone, joined),
        data=lambda seed: data.people(seed, 40 + 11 * seed, facts),
        neighbour=data.add_or_remove,
        numbers=_codes,
        parts=_independent_parts,
        paid_for=frozenset({"noisy_records", "rows"}),
        alternatives=alternatives,
        samples=samples,
        runs=600,
        slow_runs=6000,
        error=lambda made, source: float(np.abs(_noise(alone, 20)(made, source)).mean()),
        noise=_noise(alone, 400),
        identity=identity,
        # Systematic sampling gives each cell its count to within one.
        tolerance=0.02,
        one_run=one_run,
    )


def _independent_parts(plan: Mapping[str, Any], facts: Schema) -> Parts:
    if "scale" in plan:
        return Parts().discrete_laplace(1, plan["scale"], plan["tables"])
    return Parts().discrete_gaussian(1, plan["stddev"], plan["tables"])


# -- generators.merf ---------------------------------------------------------------------------

SMALL_MERF: dict[str, Any] = {
    "features": 40,
    "steps": 2,
    "batch": 6,
    "frequencies_per_step": 10,
    "latent": 2,
    "hidden": 4,
    "width": 4,
    "samples": 6,
    "seed": 1,
    "device": "cpu",
}


def merf(name: str, **settings: Any) -> MethodRow:
    """``generators.merf``: one noisy mean of random features."""
    settings = SMALL_MERF | settings
    facts = PICTURES.with_records(_PICTURES)

    @lru_cache  # calibration is a function of public facts
    def make(budget: Budget, facts: Any = facts, **more: Any) -> Calibrated:
        return Merf(**settings | more).calibrate(budget, facts)

    def sums(made: Calibrated, private: ImageSet, source: NoiseSource) -> tuple[Array, Array]:
        with Recorder() as recorder:
            made.run(private, source, silent)
        return recorder.draws[0].values, recorder.draws[0].output

    base = data.pictures(0, _PICTURES)
    one, other = _extreme_pictures(base)

    def samples(made: Calibrated, private: ImageSet, runs: int, source: NoiseSource) -> Array:
        quiet = SeededSource(0)
        along = sums(made, other, quiet)[0] - sums(made, one, quiet)[0]
        return np.array([np.sum(sums(made, private, source)[1] * along) for _ in range(runs)])

    def one_run(row: Row, included: Array, source: NoiseSource) -> Array:
        # Each canary is one of two pictures; many features keep the canaries apart.
        m = len(included)
        rng = np.random.default_rng(9)
        images = rng.integers(0, 2, (2, m, 1, 4, 4)).astype(np.float32)
        labels = rng.integers(0, 3, (2, m))
        chosen = (included.astype(np.int64), np.arange(m))
        private = ImageSet.from_arrays(images[chosen], labels[chosen], PICTURES.classes)
        made = row.make(row.budget, private.schema.with_records(m), features=4000)
        with Recorder() as recorder:
            artefact = made.run(private, source, silent)
        noisy = recorder.draws[0].output
        features = made.method.feature_map(private.schema, artefact.seeds["features"])
        scores = np.empty(m)
        for i in range(m):
            off, on = (
                features.sums([(images[k, i : i + 1], labels[k, i : i + 1])]) for k in (0, 1)
            )
            scores[i] = np.sum(noisy * (on - off))
        return scores

    def identity(made: Calibrated, source: NoiseSource) -> tuple[Array, Array]:
        truth, noisy = sums(made, base, source)
        return noisy, truth

    return MethodRow(
        name=name,
        subject=Merf,
        settings=settings,
        make=make,
        facts=facts,
        neighbours=REPLACE,
        budget=BUDGET,
        extremes=(one, other),
        data=lambda seed: data.pictures(seed, _PICTURES),
        neighbour=data.replace_picture,
        numbers=lambda artefact: {
            **artefact.tensors,
            "images": artefact.data.images,
            "labels": artefact.data.labels,
        },
        parts=lambda plan, facts: Parts().gaussian(plan["mean_sensitivity"], plan["mean_stddev"]),
        paid_for=frozenset({"class_prior"}),
        alternatives={
            "features": 60,
            "bandwidth": 0.3,
            "smoothing": 9.0,
            "count_share": 0.2,
            "class_prior": "uniform",
            "samples": 7,
            "steps": 3,
            "batch": 9,
            "learning_rate": 0.1,
            "frequencies_per_step": 5,
            "latent": 3,
            "hidden": 5,
            "width": 6,
            "seed": 2,
            "device": "cuda",
        },
        samples=samples,
        runs=0,
        slow_runs=2000,
        error=lambda made, source: float(np.abs(_noise(base, 1)(made, source)).mean()),
        reach=lambda made: sums(made, other, SeededSource(7))[1]
        - sums(made, one, SeededSource(7))[1],
        noise=_noise(base, 200),
        identity=identity,
        huge=Budget(5e3, 0.03),
        tolerance=0.03,
        one_run=one_run,
        canaries=200,
    )


def _extreme_pictures(base: ImageSet) -> tuple[ImageSet, ImageSet]:
    """Neighbours whose first picture is of one class or another."""
    both = []
    for label in (0, 1):
        images, labels = base.images, base.labels.copy()
        images[0], labels[0] = float(label), label
        both.append(ImageSet.from_arrays(images, labels, PICTURES.classes))
    return both[0], both[1]
