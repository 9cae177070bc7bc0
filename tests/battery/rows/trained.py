"""Rows of methods that train a network by noisy gradients: what they all share.

A row needs little: the method, tiny settings, and how many numbers a canary's gradient has. What
is scored in audits are the noisy sums themselves, which everything published follows from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from battery import data
from battery.accountant import Parts
from battery.data import PICTURES
from battery.recorder import STEPS, Draw, Recorder
from battery.row import Array, MethodRow, Row
from battery.rows.common import noise_of
from sfumato.data import ImageSet
from sfumato.privacy.budget import Budget
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import NoiseSource, SeededSource
from sfumato.publish.method import Calibrated, silent
from sfumato.release.release import Artefact

RECORDS = 40
BUDGET = Budget(1.0, 1e-6)
AUDITED = Budget(4.0, 1e-6)
HUGE = Budget(300.0, 0.02)


def trained(
    name: str,
    subject: type,
    settings: Mapping[str, Any],
    alternatives: Mapping[str, Any],
    *,
    parts: Callable[[Mapping[str, Any], Any], Parts] | None = None,
    bound: Callable[[Mapping[str, Any]], float] = lambda plan: plan["clipping"]["max_grad_norm"],
    pictures: Callable[[int, int], ImageSet] = data.pictures,
    facts: Any = None,
    neighbours: Neighbours = Neighbours.ADD_REMOVE,
    tolerance: float = 0.05,
    **more: Any,
) -> MethodRow:
    """A method that trains on pictures, under add-remove or replace-one.

    Args:
        name: Of the row.
        subject: The method.
        settings: Small ones.
        alternatives: For each setting another value.
        parts: What the plan's noise comes to; by default that of sampled steps.
        bound: The bound on one record's gradient, from the plan.
        pictures: Private data by seed and number.
        facts: Their public facts; None for those of the battery's pictures.
        neighbours: The relation of the claim.
        tolerance: How near the noisy sums are to the true ones at a huge budget.
        more: Further fields of the row.
    """

    facts = facts or PICTURES.with_records(RECORDS)

    @lru_cache  # calibration is a function of public facts
    def make(budget: Budget, facts: Any = facts, **changed: Any) -> Calibrated:
        return subject(**{**settings, **changed}).calibrate(budget, facts)

    base = pictures(0, RECORDS)
    one, other = _extremes(base, neighbours)

    def along(made: Calibrated) -> Array:
        """Where the extremes' first sums differ, noise aside."""
        return first(made, other).values - first(made, one).values

    def samples(made: Calibrated, private: Any, runs: int, source: NoiseSource) -> Array:
        way = along(made)
        return np.array(
            [
                float(_sum(steps_of(made, private, source, real=True), way) @ way)
                for _ in range(runs)
            ]
        )

    def one_run(row: Row, included: Array, source: NoiseSource) -> Array:
        count = len(included)
        canaries = pictures(5, count)
        public = canaries.schema.with_records(count)
        made = row.make(row.audit_budget, public)
        if neighbours is Neighbours.REPLACE_ONE:
            return one_of_two(made, canaries, included, source)
        present = canaries.select(np.flatnonzero(included))
        alone = [first(made, canaries.select(np.array([i]))).values for i in range(count)]
        noisy = _sum(steps_of(made, present, source, real=True), alone[0])
        return np.array([float(canary @ noisy) for canary in alone])

    def one_of_two(
        made: Calibrated, canaries: ImageSet, included: Array, source: NoiseSource
    ) -> Array:
        """Each canary is one of two pictures, beside the same others."""
        both = [canaries, pictures(6, len(canaries))]
        chosen = (included.astype(np.int64), np.arange(len(canaries)))
        images = np.stack([side.images for side in both])
        labels = np.stack([side.labels for side in both])
        classes = canaries.schema.classes
        private = ImageSet.from_arrays(images[chosen], labels[chosen], classes)
        none = first(made, ImageSet.from_arrays(images[0], labels[0], classes)).values
        noisy = _sum(steps_of(made, private, source, real=True), none)
        scores = []
        for i in range(len(canaries)):
            swapped = np.array([1 if j == i else 0 for j in range(len(canaries))])
            at = (swapped, np.arange(len(canaries)))
            with_it = ImageSet.from_arrays(images[at], labels[at], classes)
            scores.append(float((first(made, with_it).values - none) @ noisy))
        return np.array(scores)

    def norms(made: Calibrated) -> tuple[Array, float]:
        rng = np.random.default_rng(3)
        shape = (1, *facts.shape)
        images = [rng.random(shape) ** power for power in np.geomspace(0.01, 100, 12)]
        images += [np.full(shape, value) for value in (0.0, 0.5, 1.0)]
        alone = [
            ImageSet.from_arrays(x, np.array([i % 3]), facts.classes) for i, x in enumerate(images)
        ]
        steps = [first(made, record) for record in alone]
        return np.array([np.linalg.norm(step.values) for step in steps]), bound(made.plan)

    def identity(made: Calibrated, source: NoiseSource) -> tuple[Array, Array]:
        step = first(made, base, source)
        return step.output, step.values

    def error(made: Calibrated, source: NoiseSource) -> float:
        return float(np.mean([np.abs(step.noise).mean() for step in steps_of(made, base, source)]))

    filled: dict[str, Any] = {
        "name": name,
        "subject": subject,
        "settings": settings,
        "make": make,
        "facts": facts,
        "neighbours": neighbours,
        "budget": BUDGET,
        "audit_budget": AUDITED,
        "extremes": (one, other),
        "data": lambda seed: pictures(seed, RECORDS),
        "neighbour": data.replace_picture
        if neighbours is Neighbours.REPLACE_ONE
        else data.add_or_remove_picture,
        "numbers": weights_of,
        "parts": parts or steps_of_plan,
        "alternatives": alternatives,
        "samples": samples,
        "runs": 0,
        "slow_runs": 2000,
        "error": error,
        "reach": along,
        "noise": noise_of(base, 200, 3),
        "norms": norms,
        "identity": identity,
        "huge": HUGE,
        "tolerance": tolerance,
        "one_run": one_run,
        "canaries": 100,
        "sampled": True,
    }
    return MethodRow(**{**filled, **more})


def weights_of(artefact: Artefact) -> dict[str, Array]:
    """The weights of a released model."""
    return dict(artefact.content.tensors)


def steps_of_plan(plan: Mapping[str, Any], facts: Any) -> Parts:
    """What the printed noise of sampled steps comes to, the noise divided by the bound."""
    rate = plan["sampling"]["rate"]
    return Parts().sampled(rate, 1.0, plan["noise_multiplier"], plan["steps"])


def first(made: Calibrated, private: Any, source: NoiseSource | None = None) -> Draw:
    """The first step of a run, on all records."""
    return steps_of(made, private, source or SeededSource(0), enough=True)[0]


def steps_of(
    made: Calibrated,
    private: Any,
    source: NoiseSource,
    *,
    enough: bool = False,
    real: bool = False,
) -> list[Draw]:
    """The steps of a run: the first alone (``enough``), of real samples or of all records."""
    with Recorder(enough=None, everyone=not real) as recorder:
        if enough:
            recorder.stop_after(STEPS)
        made.run(private, source, silent)
    return [draw for draw in recorder.draws if isinstance(draw.mechanism, STEPS) and draw.lot]


def _sum(steps: list[Draw], like: Array) -> Array:
    """What the steps that train the same weights as ``like`` come to."""
    same = [step.output for step in steps if step.output.shape == like.shape]
    return np.sum(same, axis=0) if same else np.zeros(like.shape)


def _extremes(base: ImageSet, neighbours: Neighbours) -> tuple[ImageSet, ImageSet]:
    """Neighbours whose last picture is there or not, or of one class or another."""
    images, labels = base.images, base.labels.copy()
    images[-1], labels[-1] = 1.0, 0
    one = ImageSet.from_arrays(images, labels, base.schema.classes)
    if neighbours is not Neighbours.REPLACE_ONE:
        return one.select(np.arange(len(one) - 1)), one
    labels = labels.copy()
    labels[-1] = 1
    return one, ImageSet.from_arrays(images, labels, base.schema.classes)
