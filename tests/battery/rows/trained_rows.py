"""Rows of table methods that count first and then train a network by noisy gradients."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from battery import data
from battery.accountant import Parts
from battery.data import LAST, PEOPLE
from battery.recorder import STEPS
from battery.row import Array, MethodRow, Row
from battery.rows.common import AUDITED, BUDGET, codes_of, noise_of
from battery.rows.trained import HUGE, RECORDS, first, steps_of, steps_of_plan
from sfumato.data import Table
from sfumato.privacy.budget import Budget
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import NoiseSource
from sfumato.publish.method import Calibrated
from sfumato.publish.tables.augm import TableAugm
from sfumato.publish.tables.gan import TableGan

SMALL: dict[str, Any] = {
    "epochs": 1.0,
    "expected_batch_size": 10,
    "bins": 4,
    "hidden": 4,
    "averaging": 0.5,
    "seed": 1,
    "device": "cpu",
}
ALTERNATIVES: dict[str, Any] = {
    "epochs": 2.0,
    "expected_batch_size": 8,
    "max_grad_norm": 0.5,
    "counting": 0.5,
    "bins": 3,
    "target_bins": 3,
    "binning": "equal",
    "rows": 7,
    "hidden": 3,
    "averaging": 0.0,
    "max_minutes": 1e-9,
    "seed": 2,
    "device": "cuda",
}


def gan(name: str, facts: Any = PEOPLE, **settings: Any) -> MethodRow:
    """``tables.gan``: first counts, a private critic, its generator."""
    # Many rows: of few, weights that differ a little may draw the same.
    sides = {"latent": 2, "critic_steps": 2, "batch": 6, "rows": 400}
    rates = {"generator_rate": 0.1, "critic_rate": 0.1}
    return trained_rows(
        name,
        TableGan,
        SMALL | sides | rates | settings,
        ALTERNATIVES
        | {
            "latent": 3,
            "critic_rate": 0.05,
            "generator_rate": 0.05,
            "critic_steps": 1,
            "generator_steps": 2,
            "batch": 5,
            "temperature": 2.0,
        },
        facts,
    )


def augm(name: str, facts: Any = PEOPLE, **settings: Any) -> MethodRow:
    """``tables.augm``: first counts, a private autoencoder, rows that are sent through it."""
    return trained_rows(
        name,
        TableAugm,
        SMALL | {"code": 3, "learning_rate": 0.1, "rounds": 2} | settings,
        ALTERNATIVES
        | {
            "code": 2,
            "learning_rate": 0.05,
            "spoilt": 0.25,
            "rounds": 1,
            "public_data": public_rows(),
        },
        facts,
        reach=None,  # it moves with the noisy counts that the decoder begins at
    )


@lru_cache
def public_rows() -> str:
    """A file of people whom nobody protects."""
    folder = Path(tempfile.mkdtemp(prefix="battery-augm-"))
    data.people(77, 20).save(folder / "rows")
    return str(folder / "rows" / "data.parquet")


def trained_rows(
    name: str,
    subject: type,
    settings: Mapping[str, Any],
    alternatives: Mapping[str, Any],
    facts: Any,
    **more: Any,
) -> MethodRow:
    """A method that counts and trains on people, under add-remove.

    Args:
        name: Of the row.
        subject: The method.
        settings: Small ones.
        alternatives: For each setting another value.
        facts: The schema.
        more: Fields of the row that are not as here.
    """
    facts = facts.with_records(RECORDS)
    schema = facts.with_records(None)

    @lru_cache  # calibration is a function of public facts
    def make(budget: Budget, facts: Any = facts, **changed: Any) -> Calibrated:
        return subject(**{**settings, **changed}).calibrate(budget, facts)

    def people(seed: int, rows: int = RECORDS) -> Table:
        return data.people(seed, rows, schema)

    def some(table: Table, rows: Array) -> Table:
        return Table.from_codes({n: c[rows] for n, c in table.codes().items()}, schema)

    base = people(0)
    with_it = data.replaced(base, RECORDS - 1, LAST)
    without = some(with_it, np.arange(RECORDS - 1))

    def along(made: Calibrated) -> Array:
        """Where the extremes' first sums differ, noise aside."""
        return first(made, with_it).values - first(made, without).values

    def samples(made: Calibrated, private: Any, runs: int, source: NoiseSource) -> Array:
        way = along(made)
        return np.array(
            [
                sum(float(step.output @ way) for step in steps_of(made, private, source, real=True))
                for _ in range(runs)
            ]
        )

    def one_run(row: Row, included: Array, source: NoiseSource) -> Array:
        canaries = people(5, len(included))
        made = row.make(row.audit_budget, schema.with_records(len(included)))
        present = some(canaries, np.flatnonzero(included))
        noisy = sum(step.output for step in steps_of(made, present, source, real=True))
        alone = (some(canaries, np.array([i])) for i in range(len(included)))
        return np.array([float(first(made, canary).values @ noisy) for canary in alone])

    def norms(made: Calibrated) -> tuple[Array, float]:
        rng = np.random.default_rng(3)
        codes = [data.anyone(rng, schema) for _ in range(12)]
        steps = [first(made, data.alike(code, 1, schema)) for code in codes]
        bound = made.plan["clipping"]["max_grad_norm"]
        return np.array([np.linalg.norm(step.values) for step in steps]), bound

    def identity(made: Calibrated, source: NoiseSource) -> tuple[Array, Array]:
        step = first(made, base, source)
        return step.output, step.values

    def error(made: Calibrated, source: NoiseSource) -> float:
        steps = steps_of(made, base, source)
        assert all(isinstance(step.mechanism, STEPS) for step in steps)
        return float(np.mean([np.abs(step.noise).mean() for step in steps]))

    filled: dict[str, Any] = {
        "name": name,
        "subject": subject,
        "settings": settings,
        "make": make,
        "facts": facts,
        "neighbours": Neighbours.ADD_REMOVE,
        "budget": BUDGET,
        "audit_budget": AUDITED,
        "extremes": (without, with_it),
        "data": people,
        "neighbour": data.add_or_remove,
        "numbers": codes_of,
        "parts": counts_and_steps,
        "alternatives": alternatives,
        "samples": samples,
        "runs": 0,
        "slow_runs": 400,
        "error": error,
        "reach": along,
        "noise": noise_of(base, 200, 3),
        "norms": norms,
        "identity": identity,
        "huge": HUGE,
        "tolerance": 0.12,
        "one_run": one_run,
        "canaries": 40,
        "sampled": True,
    }
    return MethodRow(**{**filled, **more})


def counts_and_steps(plan: Mapping[str, Any], facts: Any) -> Parts:
    """Sampled steps, and one noisy count in each column's table."""
    parts = steps_of_plan(plan, facts)
    return parts.discrete_gaussian(1, plan["counts_stddev"], plan["counted_tables"])
