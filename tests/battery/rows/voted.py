"""Rows of generators that are taught by many private critics."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from battery import data
from battery.accountant import Parts
from battery.data import PICTURES
from battery.recorder import Draw, Recorder
from battery.row import Array, MethodRow, Row
from battery.rows.common import noise_of
from battery.rows.gradient_trained import generator_of
from sfumato.data import ImageSet
from sfumato.privacy.budget import Budget
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import NoiseSource, SeededSource
from sfumato.publish.generators.datalens import DataLens
from sfumato.publish.generators.gpate import GPate
from sfumato.publish.method import Calibrated, silent

RECORDS = 40
BUDGET = Budget(1.0, 1e-6)
SMALL: dict[str, Any] = {
    "teachers": 2,
    "rounds": 2,
    "batch": 2,
    "crowd": 2,
    "coefficients": 4,
    "bandwidth": 0.02,
    "stride": 0.5,
    "repeats": 1,
    "learning_rate": 0.05,
    "class_prior": "uniform",
    "samples": 12,
    "latent": 4,
    "hidden": 6,
    "width": 4,
    "averaging": 0.5,
    "seed": 1,
    "device": "cpu",
}
ALTERNATIVES: dict[str, Any] = {
    "teachers": 3,
    "rounds": 3,
    "batch": 1,
    "crowd": 3,
    "coefficients": 9,
    "bandwidth": 0.5,
    "stride": 0.2,
    "repeats": 2,
    "learning_rate": 0.01,
    "class_prior": {"a": 0.5, "b": 0.25, "c": 0.25},
    "samples": 9,
    "latent": 3,
    "hidden": 5,
    "width": 2,
    "averaging": 0.0,
    "max_minutes": 1e-9,
    "seed": 2,
    "device": "cuda",
}


def gpate(name: str, **settings: Any) -> MethodRow:
    """Votes, or sums, on a few projected coordinates."""
    own = {"projection": 2, "reach": 0.5, "aggregate": "votes"}
    other = {
        "aggregate": "sums",
        "projection": 3,
        "reach": 2.0,
        "bins": 5,
        "threshold": 0.5,
        "test_ratio": 1.0,
    }
    if settings.get("aggregate") == "sums":
        other |= {"aggregate": "votes"}  # and what is of votes alone is refused
        # Teachers dealt so that no stack of the first round is cut: then the same bits are asked
        # for at every budget, whose grids leave other last digits of what was cut.
        own |= {"seed": 5}
    else:
        own |= {"bins": 4}
    if settings.get("threshold"):
        other |= {"threshold": 0.0}
    alternatives = ALTERNATIVES | other
    if settings.get("aggregate") != "sums":
        del alternatives["bandwidth"]  # a vote under this much noise does not hang on it
    return _voted(name, GPate, {**SMALL, **own, **settings}, alternatives)


def datalens(name: str, **settings: Any) -> MethodRow:
    """The signs of the largest coordinate."""
    own = {"kept": 1, "bound": 0.05, "threshold": 0.0, "follow": "sums"}
    other = {"kept": 2, "bound": 3.0, "threshold": 0.9, "follow": "signs"}
    made = _voted(name, DataLens, {**SMALL, **own, **settings}, ALTERNATIVES | other)
    return replace(made, examples=60)  # a sign hardly ever hangs on one record


def _voted(
    name: str, subject: type, settings: Mapping[str, Any], alternatives: Mapping[str, Any]
) -> MethodRow:
    facts = PICTURES.with_records(RECORDS)
    tested = bool(settings.get("threshold"))
    counted = settings["class_prior"] == "estimated"

    @lru_cache  # calibration is a function of public facts
    def make(budget: Budget, facts: Any = facts, **changed: Any) -> Calibrated:
        return subject(**{**settings, **changed}).calibrate(budget, facts)

    base = data.pictures(0, RECORDS)
    one, other = _extremes(settings["seed"])

    def rounds(
        made: Calibrated, private: ImageSet, source: NoiseSource, enough: int | None = None
    ) -> list[Draw]:
        with Recorder(enough=enough) as recorder:
            made.run(private, source, silent)
        return recorder.draws

    def first(made: Calibrated, private: ImageSet, source: NoiseSource | None = None) -> Draw:
        """What the first class is answered first."""
        return rounds(made, private, source or SeededSource(0), enough=1)[0]

    def along(made: Calibrated) -> Array:
        """Where the extremes' first answers differ, noise aside."""
        return np.ravel(first(made, other).values - first(made, one).values)

    def samples(made: Calibrated, private: ImageSet, runs: int, source: NoiseSource) -> Array:
        way = along(made)
        return np.array([np.ravel(first(made, private, source).output) @ way for _ in range(runs)])

    def one_run(row: Row, included: Array, source: NoiseSource) -> Array:
        """Each canary is there or not, and what it changes is looked for."""
        pool = data.pictures(5, len(included))
        made = row.make(row.audit_budget, pool.schema.with_records(len(included)))
        present = pool.select(np.flatnonzero(included))
        classes = len(pool.schema.classes)

        def answers(private: ImageSet, source: NoiseSource) -> list[Draw]:
            return rounds(made, private, source, enough=classes)

        noisy = answers(present, source)
        whole = answers(pool, SeededSource(0))
        scores = []
        for i in range(len(included)):
            without = answers(pool.select(np.delete(np.arange(len(pool)), i)), SeededSource(0))
            scores.append(
                sum(
                    float(np.sum((w.values - o.values) * n.output))
                    for w, o, n in zip(whole, without, noisy, strict=True)
                )
            )
        return np.array(scores)

    def norms(made: Calibrated) -> tuple[Array, float]:
        return np.array([np.linalg.norm(along(made))]), made.plan["sensitivity"]

    def identity(made: Calibrated, source: NoiseSource) -> tuple[Array, Array]:
        draw = first(made, base, source)
        return np.ravel(draw.output), np.ravel(draw.values)

    def error(made: Calibrated, source: NoiseSource) -> float:
        draws = rounds(made, base, source)
        return float(np.mean([np.abs(draw.noise).mean() for draw in draws]))

    def parts(plan: Mapping[str, Any], facts: Any) -> Parts:
        found = Parts().gaussian(plan["sensitivity"], plan["stddev"], plan["rounds"])
        if "test_stddev" in plan:
            found = found.gaussian(
                plan["sensitivity"] / math.sqrt(2), plan["test_stddev"], plan["rounds"]
            )
        if "class_counts_stddev" in plan:
            found = found.discrete_gaussian(1, plan["class_counts_stddev"])
        return found

    plain = not tested and not counted
    return MethodRow(
        name=name,
        subject=subject,
        settings=settings,
        make=make,
        facts=facts,
        neighbours=Neighbours.ADD_REMOVE,
        budget=BUDGET,
        audit_budget=Budget(4.0, 1e-6),
        extremes=(one, other),
        data=lambda seed: data.pictures(seed, RECORDS),
        neighbour=data.add_or_remove_picture,
        numbers=generator_of,
        parts=parts,
        paid_for=frozenset({"class_prior"}),
        alternatives=alternatives,
        adaptive=True,
        samples=samples,
        runs=300 if plain else 0,
        slow_runs=3000 if plain else 100,
        error=error if plain else None,
        reach=along if plain else None,
        noise=noise_of(base, 200, enough=3) if plain else None,
        norms=norms if plain else None,
        identity=identity if plain else None,
        one_run=one_run if plain else None,
        canaries=40,
        huge=Budget(3e4, 0.02),
        tolerance=0.05,
    )


def _extremes(seed: int) -> tuple[ImageSet, ImageSet]:
    """One picture, and another beside it that its teacher finds nearer, on the other side."""
    import torch

    from sfumato.learn import own_noise
    from sfumato.learn.pate.critics import owners
    from sfumato.publish.seeds import seeds_of

    parts = seeds_of(seed, "parts", "weights", "training", "drawing")["parts"]
    away = np.ones((1, 4, 4), np.float32)
    for value in np.linspace(0.1, 0.15, 50, dtype=np.float32):
        near = np.full((1, 4, 4), value, np.float32)
        both = np.stack([away, near])
        keys = own_noise.keys_of(torch.from_numpy(both))
        first, second = owners(keys, SMALL["teachers"], parts).tolist()
        if first == second:
            pictures = ImageSet.from_arrays(both, np.array([0, 0]), PICTURES.classes)
            return pictures.select(np.array([0])), pictures
    raise AssertionError("no two pictures have one teacher")
