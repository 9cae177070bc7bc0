"""Rows of ``learn.pate``."""

from __future__ import annotations

import math
import tempfile
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from battery import data
from battery.accountant import Parts
from battery.data import PICTURES
from battery.row import Array, MethodRow
from battery.rows.common import AUDITED, BUDGET
from sfumato.data import ImageSet
from sfumato.privacy.budget import Budget
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import NoiseSource, SeededSource
from sfumato.publish.method import Calibrated, silent
from sfumato.publish.models.pate import PateMethod

_RECORDS = 30
_QUERIES = 8
_DISTANCE = math.sqrt(2 * _QUERIES)
"""Of two records of votes that differ in one teacher's."""


@lru_cache
def public_records() -> str:
    """A file of pictures that nobody protects."""
    pool = data.pictures(77, 200)
    file = Path(tempfile.mkdtemp(prefix="battery-pate-")) / "public.npz"
    np.savez(file, images=pool.images, labels=pool.labels, classes=np.array(PICTURES.classes))
    return str(file)


def pate(name: str, budget: Budget = BUDGET, **settings: Any) -> MethodRow:
    """``learn.pate``: six teachers, eight queries."""
    settings = {
        "public_data": public_records(),
        "teachers": 6,
        "queries": _QUERIES,
        "components": 3,
        "seed": 1,
        **settings,
    }
    voting = settings.get("voting", "gnmax")
    whole = voting != "confident"
    relation = Neighbours(settings.get("neighbours", "add-remove"))
    facts = PICTURES.with_records(_RECORDS)

    @lru_cache  # calibration is a function of public facts
    def make(budget: Budget, facts: Any = facts, **more: Any) -> Calibrated:
        return PateMethod(**settings | more).calibrate(budget, facts)

    # A teacher without records says the first class to everything.
    one = _pictures((1.0,), (1,))
    if relation is Neighbours.ADD_REMOVE:
        extremes, neighbour = (one, one.select(np.zeros(0, np.int64))), add_or_remove_last
    else:
        extremes, neighbour = (one, _pictures((1.0,), (2,))), data.replace_picture

    def votes(made: Calibrated, private: ImageSet) -> Array:
        """What teachers say, before any noise; the run ends there."""
        run = replace(made.run, ready=replace(made.run.ready, voting=_Listener()))
        try:
            run(private, SeededSource(7), silent)
        except _Heard as heard:
            return heard.votes
        raise AssertionError("nobody voted")

    def elections(
        made: Calibrated, private: ImageSet, runs: int, source: NoiseSource
    ) -> tuple[Array, Array]:
        """The votes, and (runs, queries, classes) noisy counts of as many elections on them."""
        said, ready = votes(made, private), made.run.ready
        return said, np.array(
            [ready.voting.answer(said, relation, source).counts for _ in range(runs)]
        )

    def samples(made: Calibrated, private: ImageSet, runs: int, source: NoiseSource) -> Array:
        if not whole:  # how many queries passed the test
            said, voting = votes(made, private), made.run.ready.voting
            held = (voting.answer(said, relation, source) for _ in range(runs))
            return np.array([len(answers.queries) for answers in held])
        counts = elections(made, private, runs, source)[1]
        return (counts[:, :, 1] - counts[:, :, [0, 2]].sum(axis=2)).sum(axis=1)

    def noise(made: Calibrated, source: NoiseSource, runs: int = 400) -> Array:
        said, counts = elections(made, data.pictures(0, _RECORDS), runs, source)
        return (counts - said).reshape(runs, -1)

    def identity(made: Calibrated, source: NoiseSource) -> tuple[Array, Array]:
        said, counts = elections(made, data.pictures(0, _RECORDS), 1, source)
        return counts[0], said

    def reach(made: Calibrated) -> Array:
        return votes(made, extremes[1]) - votes(made, extremes[0])

    def one_run(row: Any, included: Array, source: NoiseSource) -> Array:
        # A canary changes the teacher that it falls to; what that changes is looked for.
        pool = data.pictures(5, len(included))
        others = data.pictures(6, len(included)) if relation is Neighbours.REPLACE_ONE else None
        made = row.make(row.audit_budget, pool.schema.with_records(len(included)))
        counts = elections(made, _mixed(pool, others, included), 1, source)[1][0]
        everyone = np.ones(len(included), dtype=bool)
        whole = votes(made, pool)
        scores = []
        for i in range(len(included)):
            without = everyone.copy()
            without[i] = False
            scores.append(np.sum((whole - votes(made, _mixed(pool, others, without))) * counts))
        return np.array(scores)

    def parts(plan: Any, facts: Any) -> Parts:
        noise, queries = plan["votes_noise"], plan["queries"]
        if voting == "lnmax":
            return Parts().discrete_laplace(1, noise, 2 * queries)
        if voting == "gnmax":
            return Parts().gaussian(np.sqrt(2), noise, queries)
        tests = Parts().gaussian(1, plan["test_stddev"], queries)
        return tests.gaussian(np.sqrt(2), noise, plan["answers"])

    confident: dict[str, Any] = {"answers": 4, "threshold": 0.4, "test_ratio": 2.0}
    return MethodRow(
        name=name,
        subject=PateMethod,
        settings=settings,
        make=make,
        facts=facts,
        neighbours=relation,
        budget=budget,
        audit_budget=Budget(AUDITED.epsilon, budget.delta),
        pure=budget.delta == 0,
        extremes=extremes,
        data=lambda seed: data.pictures(seed, _RECORDS),
        # Eight answers of three classes are the same in one pair of runs out of some 300.
        telling={"queries": 60} | ({} if whole else {"answers": 40}),
        neighbour=neighbour,
        numbers=lambda artefact: dict(artefact.content.tensors),
        parts=parts,
        paid_for=frozenset({"asked", "answered"}),
        alternatives={
            "public_records": 40,
            "teachers": 5,
            "queries": 7,
            "components": 2,
            "features": "scattering",
            "voting": "lnmax" if voting == "gnmax" else "gnmax",
            "neighbours": "zero-out",
            "public_data": "nowhere",
            "seed": 2,
            **({} if whole else confident),
        },
        samples=samples,
        runs=3000,
        error=(lambda made, source: float(np.abs(noise(made, source, 20)).mean()))
        if whole
        else None,
        reach=reach if whole else None,
        noise=noise if whole else None,
        norms=(lambda made: (np.array([np.linalg.norm(reach(made))]), _DISTANCE))
        if whole
        else None,
        identity=identity if whole else None,
        one_run=one_run if whole else None,
        canaries=40,
        huge=Budget(2e4, 0.0 if budget.delta == 0 else 0.03),
        tolerance=0.05,
    )


def _mixed(pool: ImageSet, others: ImageSet | None, included: Array) -> ImageSet:
    """The pictures that are included; the others left out, or replaced by those given."""
    if others is None:
        return pool.select(np.flatnonzero(included))
    which = np.where(included, 0, 1)
    at = np.arange(len(pool))
    images = np.stack([pool.images, others.images])[which, at]
    labels = np.stack([pool.labels, others.labels])[which, at]
    return ImageSet.from_arrays(images, labels, pool.schema.classes)


class _Heard(BaseException):
    """Ends a run at its votes."""

    def __init__(self, votes: Array) -> None:
        super().__init__()
        self.votes = votes


class _Listener:
    """An election that is never held."""

    def answer(self, votes: Array, *_: Any) -> Any:
        raise _Heard(votes)


def add_or_remove_last(pictures: ImageSet, rng: np.random.Generator) -> ImageSet:
    """A neighbour under add/remove whose other records keep their places.

    Each record's teacher is drawn for itself; under one seed they are drawn by place.
    """
    n = len(pictures.labels)
    if rng.random() < 0.5:
        return pictures.select(np.arange(n - 1))
    images = np.concatenate([pictures.images, np.full((1, 1, 4, 4), rng.random(), np.float32)])
    labels = np.append(pictures.labels, rng.integers(3))
    return ImageSet.from_arrays(images, labels, PICTURES.classes)


def _pictures(values: tuple[float, ...], labels: tuple[int, ...]) -> ImageSet:
    images = np.stack([np.full((1, 4, 4), value, np.float32) for value in values])
    return ImageSet.from_arrays(images, np.array(labels), PICTURES.classes)
