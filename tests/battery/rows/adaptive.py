"""Rows of ``tables.adaptive``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any
from unittest.mock import patch

import numpy as np

from battery import data
from battery.accountant import Parts
from battery.data import PEOPLE
from battery.row import Array, MethodRow, Row
from battery.rows.common import AUDITED, BUDGET, codes_of, matrix, step_noise
from sfumato.data import Schema, Table
from sfumato.measure import audit
from sfumato.privacy.budget import Budget
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import NoiseSource
from sfumato.publish.method import Calibrated, silent
from sfumato.publish.tables import network as networks
from sfumato.publish.tables.adaptive import Adaptive

FIRST = dict.fromkeys(PEOPLE.names, 0)
_RECORDS = 60
DELTA = BUDGET.delta
_STEPS = 40
"""Of a network's training; the method itself takes more of the same kind."""


def adaptive(name: str, budget: Budget = BUDGET, **settings: Any) -> MethodRow:
    """``tables.adaptive``: local reports, or with learnt importance a central release."""
    paid = settings.get("importance", "public") != "public"
    split = settings.get("importance") == "split"
    sampled = settings.get("sampled") is not None
    network = settings.get("attribution", "squared") != "squared"
    # Extreme public weights, so that how they are used shows.
    public = {} if paid else {"weights": {"age": 0.5, "income": 0.3, "city": 0.05}}
    settings = public | settings
    facts = PEOPLE.with_records(_RECORDS) if paid else PEOPLE
    gaussian = settings.get("noise") == "gaussian"

    @lru_cache  # calibration is a function of public facts
    def make(budget: Budget, facts: Schema = facts) -> Calibrated:
        if not paid and not gaussian:
            budget = Budget(budget.epsilon)
        with patch.object(networks, "STEPS", _STEPS):
            return Adaptive(**settings).calibrate(budget, facts)

    def reports(made: Calibrated, records: Array, source: NoiseSource) -> Array:
        table = Table.from_codes(dict(zip(PEOPLE.names, records.T, strict=True)), PEOPLE)
        return matrix(made.run(table, source, silent).data)

    def one_run(row: Row, included: Array, source: NoiseSource) -> Array:
        made = row.make(row.audit_budget, facts.with_records(len(included)) if paid else facts)
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
    if sampled:
        alternatives = {"sampled": 3, "seed": 4, "label_share": 0.3, "noise": "piecewise"}
    elif split:
        alternatives = {"held_out": 0.4, "seed": 4, "importance": "paid", "model_share": 0.3}
    elif network:
        alternatives = {"attribution": "squared"}
    elif settings.get("noise") in ("piecewise", "duchi"):
        alternatives = {"noise": "laplace", "sampled": 2}
    elif paid and gaussian:
        alternatives = {"noise": "laplace"}  # the others are those of the row without
    elif paid:
        alternatives |= {"model_share": 0.3, "importance_share": 0.2}
    else:
        alternatives |= {"weights": {"rank": 1.0}, "importance": "paid"}
    rough = paid or gaussian or sampled or settings.get("noise") == "duchi"
    exact = not rough and settings.get("wide") != "oue"
    return MethodRow(
        name=name,
        subject=Adaptive,
        settings=settings,
        make=make,
        facts=facts,
        neighbours=Neighbours.REPLACE_ONE,
        budget=budget,
        audit_budget=AUDITED,
        extremes=(one, other),
        data=lambda seed: _under(data.people(seed, _RECORDS), facts),
        neighbour=data.replace_somebody,
        numbers=codes_of,
        parts=_adaptive_parts,
        paid_for=frozenset({"attributes", "label"}) if paid else frozenset(),
        alternatives=alternatives,
        samples=samples,
        runs=0 if paid else 20_000,
        slow_runs=600 if paid else 0,
        error=lambda made, source: _share_changed(made, source),
        # With Gaussian noise on numbers, too, the paid release has no other draws; a network's
        # steps are those of learn.dpsgd.
        noise=_report_noise if not paid else None if gaussian or network else step_noise(base, 20),
        reports=None if paid else reports,
        records=records,
        stretch=lambda codes, i: _with_row(codes, i, [data.LAST[n] for n in PEOPLE.names]),
        # Unary encoding and Duchi's report are never exact, nor is what is not reported; Gaussian
        # noise has a row of its own.
        identity=_adaptive_identity if exact else None,
        huge=Budget(500.0, 0.5),
        # A part of the rows is not released, and a network's sampling wants the declared number.
        one_run=None if split else one_run,
        batched=None if split or network else batched,
    )


def _under(table: Table, schema: Schema) -> Table:
    """The same codes under facts that also state the number of rows."""
    return Table.from_codes(table.codes(), schema)


def _adaptive_parts(plan: Mapping[str, Any], facts: Schema) -> Parts:
    """Epsilon from the *noise* that is printed, not from the epsilons beside it."""
    parts = Parts()
    if "reported_attributes" in plan:  # whichever they are
        each = max(_reported(Parts(), entry, facts).pure for entry in plan["attributes"])
        parts = parts.bounded(each, plan["reported_attributes"])
        if "label" in plan:
            parts = _reported(parts, plan["label"], facts)
    else:
        for entry in entries(plan):
            parts = _reported(parts, entry, facts)
    if "held_out_records" in plan:  # two parts of the records: the dearer one counts
        both = parts, _learnt(Parts(), plan, facts)
        return max(both, key=lambda part: part.epsilon(DELTA))
    return _learnt(parts, plan, facts) if "model" in plan else parts


def _learnt(parts: Parts, plan: Mapping[str, Any], facts: Schema) -> Parts:
    """What importance was learnt with."""
    model, records = plan["model"], plan.get("held_out_records", facts.records)
    if "sample_rate" in model:
        rate, noise = model["sample_rate"], model["noise_multiplier"]
        parts = parts.sampled(rate, 1, noise, model["steps"], "replace-one")
    else:
        parts = parts.gaussian(2, model["noise_multiplier"], model["steps"])
    return parts.laplace(2 / records, plan["importance"]["noise_scale_of_the_mean"])


def _reported(parts: Parts, entry: Mapping[str, Any], facts: Schema) -> Parts:
    """What the report of one attribute costs, by its printed noise."""
    column = facts[entry["name"]]
    if "presence_truth_probability" in entry:
        parts = parts.response(2 * (1 - entry["presence_truth_probability"]), 2)
    if "noise_over_range" in entry:
        diameter = column.cardinality - 1
        noise = entry["noise_over_range"] * diameter
        kind = parts.discrete_gaussian if "mu" in entry else parts.discrete_laplace
        return kind(diameter, noise)
    if "end_truth_probability" in entry:
        return parts.response(2 * (1 - entry["end_truth_probability"]), 2)
    if "window" in entry:
        inside, window, cells = (entry[n] for n in ("window_probability", "window", "cells"))
        return parts.bounded(math.log(inside / window / ((1 - inside) / (cells - window))))
    if "truth_probability" in entry:
        k = column.size
        return parts.response((1 - entry["truth_probability"]) * k / (k - 1), k)
    # Unary encoding has no other parameter.
    return parts.bounded(entry.get("epsilon_where_reported", entry["epsilon"]))


def entries(plan: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What a plan says of each attribute, and of the label if there is one."""
    return [*plan["attributes"], *([plan["label"]] if "label" in plan else [])]


def _share_changed(made: Calibrated, source: NoiseSource) -> float:
    table = data.people(5, 3000)
    if made.facts.records is not None:
        made = made.method.calibrate(made.budget, made.facts.with_records(3000))
    released = made.run(table, source, silent).data
    if made.method.importance == "split":
        table, _ = table.split(made.method.held_out, made.method.seed)
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
