"""Rows of the perturbation points that are not gradients: output, objective, input."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from battery import data
from battery.accountant import Parts
from battery.data import PICTURES
from battery.row import Array, MethodRow, Row
from battery.rows.trained import weights_of
from sfumato.data import ImageSet
from sfumato.learn import convex
from sfumato.privacy.budget import Budget
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import NoiseSource, SeededSource
from sfumato.publish.method import Calibrated
from sfumato.publish.models.input import InputMethod
from sfumato.publish.models.objective import ObjectiveMethod
from sfumato.publish.models.output import OutputMethod

RECORDS = 40
FACTS = PICTURES.with_records(RECORDS)
CONVEX: dict[str, Any] = {"regularisation": 1.0, "max_norm": 2.0}
OTHERS: dict[str, Any] = {
    "network": "table-dense",
    "hidden": (4,),
    "max_norm": 1.0,
    "regularisation": 2.0,
}
HUGE = Budget(300.0, 0.02)


def output(name: str) -> MethodRow:
    """The noisy minimiser."""

    def released(made: Calibrated, private: Any, runs: int, source: NoiseSource) -> Array:
        ready = made.run.perturbation
        reached = ready.reached(made.run.problem(private))
        return np.array([ready.noise.release(reached, source) for _ in range(runs)])

    def noise(made: Calibrated, source: NoiseSource) -> Array:
        base = data.pictures(0, RECORDS)
        reached = made.run.perturbation.reached(made.run.problem(base))
        return (released(made, base, 300, source) - reached).reshape(300, -1)

    return _convex(
        name,
        OutputMethod,
        released,
        noise,
        parts=lambda plan, facts: Parts().gaussian(plan["sensitivity"], plan["stddev"]),
        runs=2000,
        audit_budget=Budget(4.0, 1e-6),
    )


def objective(name: str) -> MethodRow:
    """The minimiser of a noisy objective."""

    def released(made: Calibrated, private: Any, runs: int, source: NoiseSource) -> Array:
        problem = made.run.problem(private)
        return np.array([made.run.perturbation.release(problem, source) for _ in range(runs)])

    def noise(made: Calibrated, source: NoiseSource) -> Array:
        """The linear terms, as the minimisers show them."""
        problem, ready = made.run.problem(data.pictures(0, RECORDS)), made.run.perturbation
        found = (ready.minimise(problem, source) for _ in range(300))
        return np.array([np.ravel(-RECORDS * problem.value(at)[1]) for at in found])

    def parts(plan: Any, facts: Any) -> Parts:
        ratio = 2 * convex.GRADIENT / plan["linear_stddev"]
        linear = Parts().tilted(ratio, plan["determinants"], plan["dimensions"])
        return linear.gaussian(plan["closing_distance"], plan["closing_stddev"])

    return _convex(
        name,
        ObjectiveMethod,
        released,
        noise,
        parts=parts,
        runs=150,
        slow_runs=2000,
        audit_budget=Budget(4.0, 1e-6),
    )


def _convex(
    name: str,
    subject: type,
    released: Any,
    noise: Any,
    **more: Any,
) -> MethodRow:
    @lru_cache  # calibration is a function of public facts
    def make(budget: Budget, facts: Any = FACTS, **changed: Any) -> Calibrated:
        return subject(**{**CONVEX, **changed}).calibrate(budget, facts)

    one, other = _extremes()

    def exact(made: Calibrated, private: Any) -> Array:
        """The minimiser without any noise."""
        return convex.minimise(made.run.problem(private), 1e-9)

    def along(made: Calibrated) -> Array:
        return exact(made, other) - exact(made, one)

    def samples(made: Calibrated, private: Any, runs: int, source: NoiseSource) -> Array:
        return np.tensordot(released(made, private, runs, source), along(made), 2)

    def one_run(row: Row, included: Array, source: NoiseSource) -> Array:
        """Each canary has one of two labels."""
        count = len(included)
        images = data.pictures(5, count).images
        labels = np.random.default_rng(3).integers(0, 3, count)
        swapped = np.where(included, labels, (labels + 1) % 3)
        facts = PICTURES.with_records(count)
        made = row.make(row.audit_budget, facts)
        private = ImageSet.from_arrays(images, swapped, PICTURES.classes)
        found = released(made, private, 1, source)[0]
        rows = made.run.problem(private).rows
        # What a label adds to the minimiser, but for the curvature that all share.
        seen = rows @ found
        at = np.arange(count)
        return seen[at, labels] - seen[at, (labels + 1) % 3]

    def norms(made: Calibrated) -> tuple[Array, float]:
        rng = np.random.default_rng(3)
        found = []
        for size in (0.0, 1.0, 1e3):
            for value in (0.0, 0.3, 1.0):
                for label in range(3):
                    images = np.full((1, *PICTURES.shape), value, np.float32)
                    record = ImageSet.from_arrays(images, np.array([label]), PICTURES.classes)
                    problem = made.run.problem(record)
                    at = size * rng.standard_normal(problem.shape)
                    found.append(np.linalg.norm(problem.gradient_sum(at)))
        return np.array(found), convex.GRADIENT

    def error(made: Calibrated, source: NoiseSource) -> float:
        base = data.pictures(0, RECORDS)
        return float(np.abs(released(made, base, 60, source) - exact(made, base)).mean())

    def identity(made: Calibrated, source: NoiseSource) -> tuple[Array, Array]:
        base = data.pictures(0, RECORDS)
        return released(made, base, 1, source)[0], exact(made, base)

    filled: dict[str, Any] = {
        "name": name,
        "subject": subject,
        "settings": CONVEX,
        "make": make,
        "facts": FACTS,
        "neighbours": Neighbours.REPLACE_ONE,
        "extremes": (one, other),
        "data": lambda seed: data.pictures(seed, RECORDS),
        "neighbour": data.replace_picture,
        "numbers": weights_of,
        "alternatives": OTHERS,
        "samples": samples,
        "noise": noise,
        "error": error,
        "reach": along,
        "norms": norms,
        "identity": identity,
        "huge": HUGE,
        "tolerance": 0.2,
        "one_run": one_run,
        "canaries": 200,
        # The bound is for any data and any weights; at weights near 0 no record moves them so far.
        "least": 0.25,
    }
    return MethodRow(**{**filled, **more})


def reports(name: str) -> MethodRow:
    """Noisy reports of single records."""
    settings: dict[str, Any] = {
        "network": "auto",
        "max_norm": 2.0,
        "epochs": 2,
        "batch_size": 8,
        "seed": 1,
        "device": "cpu",
    }

    @lru_cache  # calibration is a function of public facts
    def make(budget: Budget, facts: Any = FACTS, **changed: Any) -> Calibrated:
        return InputMethod(**{**settings, **changed}).calibrate(budget, facts)

    one, other = _extremes()

    def given(
        made: Calibrated, images: Array, labels: Array, source: NoiseSource
    ) -> tuple[Array, Array]:
        return made.run.ready.release(np.reshape(images, (len(images), -1)), labels, source)

    def told(made: Calibrated, picture: Any, runs: int, source: NoiseSource) -> Array:
        """How much reports of the last record look like the second extreme."""
        images = np.repeat(picture.images[-1:], runs, axis=0)
        values, labels = given(made, images, np.repeat(picture.labels[-1:], runs), source)
        ready = made.run.ready
        truth = ready.response.truth_probability
        far = (1 - truth) / (ready.response.levels - 1)
        # The logarithm of the ratio of densities, of features (0 or all there is) and label.
        end = np.full(values.shape[1], ready.vector.clip_norm / np.sqrt(values.shape[1]))
        middle = values @ end - np.sum(end**2) / 2
        label = np.log(truth / far) * ((labels == 1) * 1.0 - (labels == 0))
        return middle / ready.vector.stddev**2 + label

    def one_run(row: Row, included: Array, source: NoiseSource) -> Array:
        made = row.make(row.audit_budget)
        scores = np.empty(len(included))
        for side, picture in ((False, one), (True, other)):
            scores[included == side] = told(made, picture, int(np.sum(included == side)), source)
        return scores

    def noise(made: Calibrated, source: NoiseSource) -> Array:
        images = np.zeros((500, *PICTURES.shape), np.float32)
        return given(made, images, np.zeros(500, np.int64), source)[0]

    def norms(made: Calibrated) -> tuple[Array, float]:
        rows = np.random.default_rng(0).standard_normal((200, 16)) * 10.0 ** np.arange(200)[:, None]
        rows = np.minimum(rows, 1e300)
        vector = made.run.ready.vector
        both = (vector.release(values, SeededSource(3)) for values in (rows, rows * 0))
        moved = next(both) - next(both)
        return np.linalg.norm(moved, axis=1), made.plan["max_norm"]

    def stretch(records: Array, i: int) -> Array:
        changed = records.copy()
        changed[i] *= 1000
        return changed

    def identity(made: Calibrated, source: NoiseSource) -> tuple[Array, Array]:
        values = np.eye(16) * made.plan["max_norm"]
        labels = np.arange(16) % 3
        seen = given(made, values, labels, source)
        return np.concatenate([seen[0].ravel(), seen[1]]), np.concatenate([values.ravel(), labels])

    return MethodRow(
        name=name,
        subject=InputMethod,
        settings=settings,
        make=make,
        facts=FACTS,
        neighbours=Neighbours.REPLACE_ONE,
        audit_budget=Budget(4.0, 1e-6),
        extremes=(one, other),
        data=lambda seed: data.pictures(seed, RECORDS),
        neighbour=data.replace_picture,
        numbers=weights_of,
        parts=lambda plan, facts: (
            Parts()
            .gaussian(2 * plan["max_norm"], plan["stddev"])
            .response(plan["label_noise_probability"], 3)
        ),
        alternatives={
            "network": "small-cnn",
            "hidden": (3,),
            "max_norm": 1.0,
            "label_share": 0.5,
            "epochs": 3,
            "batch_size": 5,
            "learning_rate": 0.01,
            "weight_decay": 0.5,
            "seed": 2,
            "device": "cuda",
        },
        samples=told,
        runs=5000,
        error=lambda made, source: float(np.abs(noise(made, source)).mean()),
        noise=noise,
        reports=lambda made, records, source: given(
            made, records, np.zeros(len(records), np.int64), source
        )[0],
        records=np.random.default_rng(1).random((50, 16)) / 4,
        stretch=stretch,
        norms=norms,
        identity=identity,
        huge=Budget(1e4, 0.02),
        tolerance=0.2,
        one_run=one_run,
        canaries=1000,
        least=0.25,  # pictures have no negative pixels: none lies opposite another
    )


def _extremes() -> tuple[ImageSet, ImageSet]:
    """Neighbours whose last picture is black and of one class, or white and of another."""
    base = data.pictures(0, RECORDS)
    images, labels = base.images.copy(), base.labels.copy()
    images[-1], labels[-1] = 0.0, 0
    one = ImageSet.from_arrays(images.copy(), labels.copy(), PICTURES.classes)
    images[-1], labels[-1] = 1.0, 1
    return one, ImageSet.from_arrays(images, labels, PICTURES.classes)
